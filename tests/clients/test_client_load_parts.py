"""What a load run is made of: stages, arrivals, objectives, sizes, latencies. Nothing here starts locust."""

from __future__ import annotations

import io
import itertools
import math
import random
import re
import statistics
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vitrine_client.errors import InvalidInput
from vitrine_client.load import sizes, slo
from vitrine_client.load.arrivals import due
from vitrine_client.load.durations import seconds_of
from vitrine_client.load.histogram import Histogram
from vitrine_client.load.recording import Recording
from vitrine_client.load.samples import Sample
from vitrine_client.load.stages import Stages

LATENCIES = st.lists(st.floats(1e-5, 100), min_size=1, max_size=200)


@given(LATENCIES, st.sampled_from([1.0, 50.0, 90.0, 99.0, 99.9, 100.0]))
def test_percentiles_are_exact_to_half_a_percent(latencies: list[float], percent: float) -> None:
    exact = sorted(latencies)[max(1, math.ceil(len(latencies) * percent / 100)) - 1]
    assert Histogram.of(latencies).percentile(percent) == pytest.approx(exact, rel=0.0051)


@given(LATENCIES, LATENCIES)
def test_two_histograms_merged_are_that_of_all(left: list[float], right: list[float]) -> None:
    merged = Histogram.unpacked(Histogram.of(left).packed())
    merged.merge(Histogram.of(right))
    together = Histogram.of(left + right)
    assert merged.buckets == together.buckets
    assert merged.max == max(left + right)
    assert merged.mean == pytest.approx(statistics.fmean(left + right))


def test_without_latencies_there_are_no_figures() -> None:
    assert (Histogram().mean, Histogram().percentile(50)) == (None, None)


def test_stages_are_straight_lines_one_after_the_other() -> None:
    stages = Stages.parse("ramp:10s:0-20, steady:1m:20,spike:5s:100,soak:1h:10")
    assert stages.seconds == 10 + 60 + 5 + 3600
    assert [stages.level(second) for second in (0, 5, 10, 69.9, 70, 75)] == [0, 10, 20, 20, 100, 10]
    assert stages.level(stages.seconds) == 0
    assert stages.requests_until(10) == 100
    assert stages.requests_until(75) == 100 + 1200 + 500


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(1, 20)), min_size=1, max_size=5),
    st.floats(0.001, 1),
)
def test_a_request_is_due_when_as_many_should_have_begun(lines: list[tuple[int, int, int]], part: float) -> None:
    stages = Stages.parse(",".join(f"ramp:{seconds}s:{begin}-{end}" for begin, end, seconds in lines))
    total = stages.requests_until(stages.seconds)
    second = stages.second_of(total * part)
    if total == 0:
        assert second is None
    else:
        assert second is not None
        assert stages.requests_until(second) == pytest.approx(total * part)
    assert stages.second_of(total * 1.001 + 1) is None


@pytest.mark.parametrize("shares", [1, 3])
def test_constant_arrivals_of_all_processes_are_evenly_spaced(shares: int) -> None:
    stages = Stages.parse("steady:10s:20")
    moments = sorted(itertools.chain.from_iterable(due(stages, "constant", share, shares) for share in range(shares)))
    assert len(moments) == 200
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert gaps == pytest.approx([0.05] * 199)


def test_poisson_arrivals_have_the_rate_and_the_spread_of_their_kind() -> None:
    stages = Stages.parse("ramp:200s:0-100")
    moments = [moment for share in range(4) for moment in due(stages, "poisson", share, 4, seed=share)]
    # Within five standard deviations of what is expected: in all, and in the first half, which has a quarter.
    assert len(moments) == pytest.approx(10_000, abs=5 * 100)
    assert sum(moment < 100 for moment in moments) == pytest.approx(2_500, abs=5 * 50)
    counts = Counter(int(moment) for moment in moments)
    # A Poisson count's variance is its mean.
    spread = statistics.fmean(
        (counts[second] - (second + 0.5) / 2) ** 2 / ((second + 0.5) / 2) for second in range(200)
    )
    assert 0.5 < spread < 1.5


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("7", 7), ("1.5s", 1.5)]
)
def test_times_as_people_write_them(text: str, seconds: float) -> None:
    assert seconds_of(text, "--warm-up") == seconds


@pytest.mark.parametrize(
    ("text", "measured", "kept"),
    [
        ("p99<80ms", 0.0799, True),
        ("p99<80ms", 0.08, False),
        ("p99.9 <= 0.08s", 0.08, True),
        ("errors<0.1%", 0.001, False),
        ("errors<=0%", 0.0, True),
        ("rps>50", 50.1, True),
        ("rest.mean<500us", 0.0004, True),
        ("max<1s", None, False),
    ],
)
def test_objectives_are_held_against_what_was_measured(text: str, measured: float | None, kept: bool) -> None:
    [objective] = slo.parse(text)
    assert objective.kept(measured) is kept


@pytest.mark.parametrize(
    ("parse", "text", "told"),
    [
        (slo.parse, "p99<80", "a latency needs us, ms or s"),
        (slo.parse, "p98<80ms", "'p98' is none of"),
        (slo.parse, "errors<1", "errors are in %"),
        (slo.parse, "rps>5ms", "requests per second have no unit"),
        (slo.parse, "p99=80ms", "is no objective"),
        (slo.parse, "", "is no objective"),
        (Stages.parse, "ramp:5s", "is no stage"),
        (Stages.parse, "climb:5s:1-2", "is no stage"),
        (Stages.parse, "steady:5s:1-2", "a ramp goes FROM-TO"),
        (Stages.parse, "ramp:5s:8", "a ramp goes FROM-TO"),
        (Stages.parse, "ramp:5s:1-x", "'x' is no number"),
        (Stages.parse, "steady:soon:4", "'soon' is no time"),
        (Stages.parse, "steady:0s:4", "not a time of more than nothing"),
        (sizes.parse, "320", "is no size with a share"),
        (sizes.parse, "320:0", "is no size with a share"),
        (sizes.parse, "0:10", "a side has 1 to"),
        (sizes.parse, "99999:10", "a side has 1 to"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(parse: Callable[[str], object], text: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(told)):
        parse(text)


def photo(width: int, height: int) -> Sample:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(buffer, "JPEG")
    return Sample(f"{width}x{height}.jpg", buffer.getvalue(), frozenset({"teal"}))


def test_sizes_are_mixed_by_their_shares_and_scaled_by_the_longer_side() -> None:
    photos = [photo(400, 300), photo(100, 200)]
    mixed = sizes.mixed(sizes.scaled(photos, sizes.parse("50:70,800:20,as-is:10")))
    seen = Counter()
    for sample in itertools.islice(mixed, 20):
        with Image.open(io.BytesIO(sample.content)) as picture:
            seen[picture.size] += 1
            assert bool(sample.labels) == (picture.size in {(400, 300), (100, 200)}), "only their answers are known"
    assert seen == {(50, 38): 7, (25, 50): 7, (800, 600): 2, (400, 800): 2, (400, 300): 1, (100, 200): 1}


def test_a_picture_that_cannot_be_scaled_is_named() -> None:
    broken = Sample("broken.jpg", photo(64, 64).content[:200])
    with pytest.raises(InvalidInput, match=r"broken\.jpg cannot be scaled"):
        sizes.scaled([broken], sizes.parse("32:1"))


def test_what_processes_counted_adds_up() -> None:
    noise = random.Random(0)
    requests = [(noise.uniform(0, 5), noise.choice(["grpc", "rest"]), noise.uniform(0.001, 0.1)) for _ in range(300)]
    master = Recording()
    for part in range(3):
        worker = Recording()
        for number, (moment, transport, seconds) in enumerate(requests[part::3]):
            worker.add(moment, transport, seconds, "Unavailable" if number % 10 == 0 else None)
        worker.late.add(0.002)
        worker.dropped = part
        master.merge(Recording.unpacked(worker.packed()))
    everything = master.total(0, ["grpc", "rest"])
    assert (everything.requests, everything.errors) == (300, {"Unavailable": 30})
    assert (master.dropped, master.late.count) == (3, 3)
    later = [one for one in requests if int(one[0]) >= 2 and one[1] == "rest"]
    assert master.total(2, ["rest"]).requests == len(later)
