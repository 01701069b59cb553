"""What a search leaves behind: files for a server, a recipe, and a page for people."""

from __future__ import annotations

import json
import xml.etree.ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from vitrine_client.load import slo
from vitrine_serving.config.batching import parse_batching
from vitrine_serving.embedded.flags.parser import parse
from vitrine_serving.tune.candidates import Batching, Candidate, Threads
from vitrine_serving.tune.choosing import Finalist
from vitrine_serving.tune.outcome import Outcome
from vitrine_serving.tune.report import told
from vitrine_serving.tune.visits import Point, Visit
from vitrine_serving.tune.writing import write

SLO = "p99<80ms"
PRESENT = Candidate("as exported", Batching(32, 0, 4, allowed_sizes=(1, 2, 4, 8, 16, 32)), Threads(1, 2))
IN_GRAPH = Candidate(
    "in-graph", Batching(4, 500, 2, allowed_sizes=(1, 2, 4), padding_policy="BATCH_DOWN"), Threads(2, 2)
)
SERVER_SIDE = Candidate("server-side", Batching(8, 2000, 3), Threads(1, 4))


def visit(candidate: Candidate, stage: str, rps: float) -> Visit:
    latency = dict.fromkeys(("mean", "p50", "p90", "p99", "p99.9", "max"), 1000 * 16 / rps)
    points = (
        Point(16, 2.0, rps, latency, {}, latency["p99"] < 80, latency["p99"] / 80),
        Point(1, 2.0, rps / 4, {name: value / 4 for name, value in latency.items()}, {}, True, 0.1),
    )
    return Visit(candidate, stage, points)


def outcome(winner: Candidate, rps: float, interrupted: bool = False) -> Outcome:
    """The present configuration makes about 300 answers per second, `winner` makes `rps`."""
    visits = [
        visit(PRESENT, "present", 301.0),
        Visit(Candidate("server-side", Batching(1, 0, 1), Threads(0, 0)), "", (), "<out>"),
    ]
    finalists = []
    for candidate, base in ((PRESENT, 300.0), (winner, rps)):
        repeats = [visit(candidate, f"final {repeat}", base + repeat) for repeat in (1, 2, 3)]
        visits += repeats
        finalists.append(Finalist(candidate, tuple(one.score for one in repeats)))
    return Outcome(
        "digits", 3, "embedded", 2, SLO, tuple(slo.parse(SLO)), (16, 1), PRESENT, visits,
        () if interrupted else finalists, 0, interrupted,
    )  # fmt: skip


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_server_that_batches_gets_its_file_and_a_warning(tmp_path: Path) -> None:
    (tmp_path / "batching.recipe.yaml").write_text("of an earlier search")
    found = outcome(SERVER_SIDE, 600)
    write(found, tmp_path)
    assert names(tmp_path) == {"batching.config", "flags.txt", "tune.json", "tune.html"}
    parameters = parse_batching((tmp_path / "batching.config").read_bytes())
    assert (parameters.max_batch_size, parameters.batch_timeout_micros, parameters.num_batch_threads) == (8, 2000, 3)
    flags = parse(["--model_base_path=/models", *(tmp_path / "flags.txt").read_text().split()])
    assert flags.enable_batching
    assert flags.batching_parameters_file == str(tmp_path / "batching.config")
    assert flags.tensorflow_inter_op_parallelism == 4
    assert "answers 1.99 times as many requests" in told(found)
    assert "one broken picture fails all requests it shares a batch with" in " ".join(told(found).split())


def test_a_graph_that_batches_gets_lines_for_its_recipe(tmp_path: Path) -> None:
    write(outcome(IN_GRAPH, 600), tmp_path)
    recipe = (tmp_path / "batching.recipe.yaml").read_text()
    assert "    allowed_batch_sizes: [1, 2, 4]\n    batch_timeout_micros: 500\n    num_batch_threads: 2\n" in recipe
    assert "    batch_padding_policy: BATCH_DOWN\n" in recipe
    flags = (tmp_path / "flags.txt").read_text()
    assert "enable_batching" not in flags
    assert "max_cpu_batch_size" not in flags
    assert parse_batching((tmp_path / "batching.config").read_bytes()).max_batch_size == 4
    assert "shares a batch with" not in told(outcome(IN_GRAPH, 600))


@pytest.mark.parametrize(("engine", "given"), [("embedded", True), ("binary", False)])
def test_larger_batches_in_the_graph_need_the_embedded_servers_leave(tmp_path: Path, engine: str, given: bool) -> None:
    winner = Candidate("in-graph", Batching(8, 0, 2, allowed_sizes=(1, 2, 4, 8)), Threads(1, 2))
    write(replace(outcome(winner, 600), engine=engine), tmp_path)
    assert ("--max_cpu_batch_size=0\n" in (tmp_path / "flags.txt").read_text()) is given


def test_without_a_better_one_it_says_to_keep_what_is_there(tmp_path: Path) -> None:
    same = outcome(IN_GRAPH, 301)
    write(same, tmp_path)
    assert "Keep what you have" in told(same)
    assert "allowed_batch_sizes: [1, 2, 4, 8, 16, 32]" in (tmp_path / "batching.recipe.yaml").read_text()
    assert json.loads((tmp_path / "tune.json").read_text())["keep_present"] is True


def test_an_interrupted_search_takes_an_earlier_winner_away(tmp_path: Path) -> None:
    write(outcome(IN_GRAPH, 600), tmp_path)
    write(outcome(IN_GRAPH, 600, interrupted=True), tmp_path)
    assert names(tmp_path) == {"tune.json", "tune.html"}


@pytest.mark.parametrize("interrupted", [False, True])
def test_the_page_shows_each_candidate_at_each_concurrency(interrupted: bool, tmp_path: Path) -> None:
    write(outcome(SERVER_SIDE, 150, interrupted), tmp_path)
    page = (tmp_path / "tune.html").read_text()
    drawing = xml.etree.ElementTree.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])  # noqa: S314 - ours
    circles = drawing.findall("circle")
    assert len(circles) == 4
    # With 16 at once 150 answers a second take 107 ms each.
    assert [circle.get("fill") for circle in circles].count("#fff") == 1
    assert [text.text for text in drawing.findall("text") if text.get("class") == "slo-text"] == [SLO]
    assert "&lt;out&gt;" in page
    assert "<out>" not in page
    assert "http" not in page.replace("http-equiv", "")
