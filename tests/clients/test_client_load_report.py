"""The page of a result, as a browser shows it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from pathlib import Path

import pytest
from browser import Browser, Page, chromium, contrast
from load_results import GENERATOR, SERVER, recorded, result, soak

from vitrine_client.load.recording import Recording
from vitrine_client.load.report import page
from vitrine_client.load.results import Result

HOSTILE = "<script>document.title='taken'</script>\"'&<img src=http://127.0.0.1:1/x onerror=alert(1)>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


def written(folder: Path, found: Result) -> Path:
    path = folder / "report.html"
    path.write_text(page(found.to_json()), encoding="utf-8")
    return path


def shown(browser: Browser, folder: Path, found: Result, **window: object) -> Page:
    """The page in a browser, which has asked for nothing else and has nothing to say against it."""
    path = written(folder, found)
    opened = browser.open(path, **window)
    assert opened.requests == [path.as_uri()]
    assert not opened.problems
    return opened


def full(seconds: int = 60) -> Result:
    """A run with all that a page can tell of."""
    return result(
        soak(seconds),
        seconds,
        warm_up=5,
        slo="p99<1ms,errors<99%",
        offered=25.0,
        server=SERVER,
        settings={"arrivals": "poisson", "stages": "ramp:30s:0-200,steady:5m:200"},
        generator=GENERATOR | {"late_ms_p99": 12.0, "note": "this load generator is short of processor"},
    )


def charts(text: str) -> dict[str, str]:
    """What is said of each drawing to those who do not see it, by the chart's title."""
    labels = re.findall(r'<svg [^>]*role="img" aria-label="([^"]*)"', text)
    return {label.partition(" in ")[0]: label for label in labels}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 1200])
def test_readable_on_every_screen(browser: Browser, tmp_path: Path, width: int, dark: bool):
    opened = shown(browser, tmp_path, full(), width=width, dark=dark)
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    sizes = opened.evaluate(
        "[...document.querySelectorAll('.plot span')].map(x => parseFloat(getComputedStyle(x).fontSize))"
    )
    assert min(sizes) >= 11
    # Labels of an axis stay on the paper and off each other.
    assert opened.evaluate(
        """[...document.querySelectorAll('.plot')].every(plot => ['x', 'y'].every(axis => {
            const boxes = [...plot.querySelectorAll('.' + axis)].map(x => x.getBoundingClientRect())
            const apart = boxes.every((a, i) => boxes.slice(i + 1).every(b =>
                a.right < b.left || b.right < a.left || a.bottom <= b.top || b.bottom <= a.top))
            return boxes.length > 1 && apart && boxes.every(x => x.left >= 0 && x.right <= innerWidth)
        }))"""
    )
    colours = opened.evaluate(
        """[...document.querySelectorAll(
            '.verdict, .note, .kept, .missed, dt, dd, th, td, .plot span, .plot path:not(.grid)'
        )].map(x => [getComputedStyle(x)[x.tagName == 'path' ? 'stroke' : 'color'], x.tagName,
                   getComputedStyle(x.closest('section, dl.figures div') || document.body).backgroundColor])"""
    )
    assert len(colours) > 50
    for front, tag, back in colours:
        first, second = ([float(number) for number in re.findall(r"[\d.]+", colour)] for colour in (front, back))
        assert contrast(first, second) >= (3 if tag == "path" else 4.5), (tag, front, back)
    opened.close()


def test_what_it_tells(browser: Browser, tmp_path: Path):
    opened = shown(browser, tmp_path, full())
    text = opened.evaluate("document.body.innerText")
    assert "1 of 2 objectives missed" in text
    assert re.search(r"p99<1ms\s+[\d.]+ ms\s+✗ missed", text)
    assert re.search(r"errors<99%\s+[\d.]+ %\s+✓ kept", text)
    assert "this load generator is short of processor" in text
    assert "ramp:30s:0-200,steady:5m:200" in text
    assert re.search(r"queue for a batch\s+2\.1\s+1\.5\s+4\.2\s+9\.8", text)
    assert re.search(r"2 to 3\s+120 batches\s+4 to 7\s+80 batches\s+8 to 15\s+6 batches", text)
    assert "10 of them INVALID_ARGUMENT" in text
    opened.close()


def test_charts_are_told_to_those_who_do_not_see_them():
    told = charts(page(full().to_json()))
    assert list(told) == ["Throughput", "Latency", "Errors", "Users"]
    assert re.fullmatch(
        r"Throughput in requests/s over \d+ s: answered [\d.]+ to [\d.]+, offered 25 to 25", told["Throughput"]
    )
    assert all(name in told["Latency"] for name in ("p50", "p90", "p99", "p99.9"))
    assert "Overloaded 0 to" in told["Errors"]


def test_lines_are_drawn_within_their_plot(browser: Browser, tmp_path: Path):
    opened = shown(browser, tmp_path, full())
    outside = opened.evaluate(
        """[...document.querySelectorAll('.plot svg path')].filter(path => {
            const box = path.getBBox()
            return box.x < -1 || box.y < -1 || box.x + box.width > 1001 || box.y + box.height > 201
        }).map(path => path.outerHTML)"""
    )
    assert not outside
    opened.close()


def test_texts_are_texts(browser: Browser, tmp_path: Path):
    recording = Recording()
    recording.add(0.5, "grpc", 0.1, HOSTILE)
    server = SERVER | {"address": HOSTILE, "statuses": {HOSTILE: 3}}
    settings = dict.fromkeys(("model", "pictures", "stages", "sizes", HOSTILE), HOSTILE)
    generator = GENERATOR | {"note": HOSTILE, "workers": HOSTILE}
    found = result(recording, 1, settings=settings, server=server, generator=generator, started=HOSTILE)
    opened = shown(browser, tmp_path, found)
    assert opened.evaluate("document.title") == f"Load on {HOSTILE}"
    assert opened.evaluate("document.querySelectorAll('script, img').length") == 0
    assert opened.evaluate("document.body.innerText").count(HOSTILE) >= 7
    opened.close()
    assert escape(HOSTILE) in page(result(recording, 1, server_note=HOSTILE).to_json())


def test_a_long_run_is_small_and_hides_no_worst_second():
    """One bad second in two hours, and one in which all was slow; users and rates are means."""
    recording = recorded(7200, answers=2)
    recording.add(3000.5, "grpc", 7.5)
    recording.add(5000.5, "grpc", 0.1, "Overloaded")
    text = page(result(recording, 7200).to_json())
    assert len(text) < 60_000
    longest = max(path.count("L") + path.count("M") for path in re.findall(r' d="(M[^"]*)"', text))
    assert 150 < longest <= 300
    told = charts(text)
    assert re.search(r"p99 [\d.]+ to 7,500\b|p99 [\d.]+ to 7,4\d\d\b", told["Latency"])
    assert "Overloaded 0 to 0.0417" in told["Errors"]
    assert "users 8 to 8" in told["Users"]
    assert "Each point stands for 24 s" in text
    assert "worst second" in text


def test_a_short_run_has_a_point_a_second():
    text = page(result(recorded(12), 12, warm_up=2).to_json())
    assert "Each point stands" not in text
    assert "answered 30 to 30" in charts(text)["Throughput"]


def test_a_last_second_that_was_cut_short_is_no_drop():
    recording = recorded(10)
    recording.add(10.01, "grpc", 0.02)
    assert "answered 30 to 30" in charts(page(result(recording, 10.1).to_json()))["Throughput"]


@pytest.mark.parametrize("recording", [recorded(1), Recording()], ids=["one second", "nothing asked"])
def test_a_run_with_little_to_tell(browser: Browser, tmp_path: Path, recording: Recording):
    opened = shown(browser, tmp_path, result(recording, 1, interrupted=True))
    text = opened.evaluate("document.body.innerText")
    assert "ended before its time" in text
    assert "http://localhost:8501 has no metrics" in text
    assert "No request failed" in text
    assert ("Nothing was asked" in text) == (not recording.tallies)
    opened.close()


def test_a_gap_stays_a_gap(browser: Browser, tmp_path: Path):
    """Seconds without an answer have no latency; the second between two of them is a dot that can be seen."""
    recording = Recording()
    for second in (0, 1, 3, 5, 6):
        recording.add(second + 0.5, "grpc", 0.02)
    opened = shown(browser, tmp_path, result(recording, 7))
    paths = opened.evaluate(
        "[...document.querySelectorAll('.plot')[1].querySelectorAll('path:not(.grid)')].map(x => x.getAttribute('d'))"
    )
    assert [path.count("M") for path in paths] == [3, 3, 3, 3]
    opened.close()


def test_many_kinds_of_errors_are_put_together():
    recording = Recording()
    for number in range(9):
        for _ in range(number + 1):
            recording.add(0.5, "grpc", 0.1, f"Kind{number}")
    text = page(result(recording, 2).to_json())
    told = charts(text)["Errors"]
    assert "Kind8 0 to 9" in told
    assert "others 0 to 10" in told
    assert told.count("Kind") == 5
    # The bars have all.
    assert all(f"Kind{number}</th>" in text for number in range(9))
