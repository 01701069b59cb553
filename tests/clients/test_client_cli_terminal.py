"""The command in a terminal: colours, a progress bar that leaves nothing behind, and nothing that drives it."""

from __future__ import annotations

import io
import json
import os
import re
import signal
from pathlib import Path

import pytest
from client_commands import ROSE, in_terminal, run
from client_standins import PICTURE, RestStandin

from vitrine_client.cli.progress import ProgressBar

STATES = {
    "model_version_status": [
        {"version": "3", "state": "LOADING", "status": {}},
        {"version": "2", "state": "AVAILABLE", "status": {}},
        {
            "version": "1",
            "state": "END",
            "status": {"error_code": "INTERNAL", "error_message": "broken \u001b[2J file"},
        },
    ]
}
COLOUR = re.compile(r"\x1b\[\d+m")
BAR = re.compile(r"\d+% \[[# ]+\] +\d+/40")


@pytest.fixture
def states(rest_standin: RestStandin) -> list[str]:
    """The options for a model whose versions are in several states."""
    rest_standin.body = json.dumps(STATES).encode()
    return ["--rest", rest_standin.address]


@pytest.fixture
def roses(rest_standin: RestStandin) -> list[str]:
    """The options for a model that takes everything for a rose."""
    rest_standin.body = ROSE
    return ["--rest", rest_standin.address]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """40 pictures."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02}.png").write_bytes(PICTURE)
    return folder


def test_states_have_colours(states: list[str]):
    shown = in_terminal("status", *states).shown
    for text, code in (("AVAILABLE", 32), ("LOADING", 33), ("END", 31), ("INTERNAL: broken", 31)):
        assert f"\x1b[{code}m{text}" in shown


@pytest.mark.parametrize(
    ("options", "variables"),
    [(["--color", "never"], {}), ([], {"NO_COLOR": "1"}), ([], {"TERM": "dumb"})],
    ids=["never", "NO_COLOR", "dumb"],
)
def test_a_terminal_may_be_left_without_colours(states: list[str], options: list[str], variables: dict[str, str]):
    done = in_terminal("status", *states, *options, **variables)
    assert "\x1b" not in done.shown
    assert done.shown.replace("\r\n", "\n") == run("status", *states).stdout


def test_what_is_piped_is_plain_unless_colours_are_asked_for(states: list[str]):
    plain, coloured = (run("status", *states, *options).stdout for options in ([], ["--color", "always"]))
    assert "\x1b" not in plain
    assert COLOUR.search(coloured)
    assert COLOUR.sub("", coloured) == plain
    assert "\x1b" not in run("status", *states, "--color", "always", "--json").stdout


@pytest.mark.parametrize(("form", "after"), [([], 0), (["--csv"], 1), (["--json"], 2)])
def test_rows_talk_and_bar_do_not_mix(roses: list[str], photos: Path, form: list[str], after: int):
    plain = run("predict", photos, photos / "none.png", *roses, *form)
    rows, failure = plain.stdout.splitlines(), plain.stderr.splitlines()[0]
    done = in_terminal("predict", photos, photos / "none.png", *roses, *form, columns=200)
    assert done.code == 1
    assert " 0/41" in done.shown
    *screen, summary = done.screen
    assert screen == [*rows[: len(rows) - after], failure, *rows[len(rows) - after :]]
    assert summary.startswith("41 pictures in ")


def test_the_bar_tells_how_far_it_is_and_goes_away(roses: list[str], photos: Path):
    done = in_terminal("predict", photos, *roses, streams=["stderr"])
    assert BAR.search(done.shown)
    assert "40 pictures in" in done.screen[-1]
    assert len(done.screen) == 1
    assert len(done.piped.splitlines()) == 41
    assert "\x1b" not in done.piped


@pytest.mark.parametrize(
    ("options", "variables"),
    [(["--no-progress"], {}), (["-q"], {}), ([], {"TERM": "dumb"})],
    ids=["no-progress", "quiet", "dumb"],
)
def test_the_bar_can_be_done_without(roses: list[str], photos: Path, options: list[str], variables: dict[str, str]):
    shown = in_terminal("predict", photos, *roses, *options, streams=["stderr"], **variables).shown
    assert "\x1b" not in shown
    assert "0/40" not in shown
    assert ("40 pictures in" in shown) == ("-q" not in options)


def test_there_is_no_bar_where_talk_is_piped(roses: list[str], photos: Path):
    done = in_terminal("predict", photos, *roses, streams=["stdout"])
    assert re.fullmatch(r"40 pictures in \d+\.\d s, \d+\.\d pictures/s\n", done.piped)
    assert len(done.screen) == 41
    assert "\x1b[K" not in done.shown


def test_an_interrupt_leaves_whole_lines_and_no_bar(roses: list[str], photos: Path):
    pictures: list[object] = sorted(photos.iterdir())
    with RestStandin() as web:
        # The seventh picture is never there.
        web.held.clear()
        pictures.insert(6, f"http://{web.address}/waiting.png")
        done = in_terminal("predict", *pictures, "--allow-urls", *roses, interrupt_at="05.png")
    assert done.code == 130
    header, *rows, summary = done.screen
    assert header.split() == ["PICTURE", "SCORE", "LABEL"]
    assert [row.split()[1:] for row in rows] == [["0.7500", "rose"]] * len(rows)
    assert len(rows) == 6
    assert summary.startswith("6 of 41 pictures in ")


def test_an_interrupt_the_moment_a_bar_is_shown_leaves_none():
    class Terminal(io.StringIO):
        """Stands in for a terminal where Ctrl-C is pressed at the first sight of a bar."""

        pressed = False

        def flush(self) -> None:
            if not self.pressed:
                self.pressed = True
                signal.raise_signal(signal.SIGINT)

    terminal = Terminal()
    bar = ProgressBar(40, terminal, columns=80)
    with pytest.raises(KeyboardInterrupt):
        bar.advance(20)
    assert " 20/40" in terminal.getvalue()
    bar.erase()
    assert terminal.getvalue().endswith("\r\x1b[K")


@pytest.mark.parametrize("columns", [1, 12, 30])
def test_a_narrow_terminal_is_not_overrun_by_the_bar(roses: list[str], photos: Path, columns: int):
    done = in_terminal("predict", photos, *roses, streams=["stderr"], columns=columns)
    assert done.code == 0
    bars = re.findall(r"\r\x1b\[K([^\r]*)", done.shown.partition("40 pictures in")[0])
    assert len(bars) > 1
    assert max(map(len, bars)) < columns


def test_one_long_path_does_not_move_all_other_rows(roses: list[str], photos: Path):
    long = photos / ("long" * 50 + ".png")
    long.write_bytes(PICTURE)
    done = in_terminal(
        "predict", photos / "00.png", long, *roses, "--color", "never", "-q", columns=len(str(photos)) + 40
    )
    header, row, _ = done.screen
    assert header.index("SCORE") == row.index("0.7500") < len(str(photos)) + 20


@pytest.mark.parametrize("form", [[], ["--csv"], ["--json"]])
def test_labels_and_file_names_cannot_drive_the_terminal(rest_standin: RestStandin, tmp_path: Path, form: list[str]):
    rest_standin.body = b'{"outputs": {"labels": [["ro\\u001b[2Jse"]], "scores": [[1.0]]}}'
    names = [tmp_path / "a\x1b[2J\r.png", tmp_path / os.fsdecode(b"b\x9b2J\xff.png"), tmp_path / "gone\x1bc\x07.png"]
    for name in names[:2]:
        name.write_bytes(PICTURE)
    done = in_terminal("predict", *names, "--rest", rest_standin.address, *form, columns=300, TERM="dumb")
    assert done.code == 1
    assert not set(done.shown) & {"\x1b", "\x9b", "\x07"}
    assert done.shown.count("\r") == done.shown.count("\r\n")
    assert done.shown.count("ro\\u001b[2Jse" if form == ["--json"] else "ro\N{REPLACEMENT CHARACTER}[2Jse") >= 2
    assert "gone\N{REPLACEMENT CHARACTER}c\N{REPLACEMENT CHARACTER}.png: " in done.shown
