"""Camera photos by size, costs in turns, and a small run of the section."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from quick_model import write_quick_model

from benchmarks.performance import decoding
from benchmarks.performance.decoding import Cost
from benchmarks.performance.section import Bench


def jpeg(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "JPEG")
    return file.getvalue()


def test_photos_are_grouped_by_whole_megapixels_smallest_first():
    twelve, three, also_three = jpeg(4032, 3024), jpeg(2048, 1536), jpeg(1500, 2000)
    assert decoding.by_size([twelve, three, also_three]) == {
        "3 megapixels": [three, also_three],
        "12 megapixels": [twelve],
    }


def test_quotients_are_of_rounds_and_medians_figure_by_figure():
    costs = [Cost(10, 4, 1), Cost(30, 2, 3), Cost(20, 6, 2)]
    others = [Cost(5, 1), Cost(10, 1), Cost(20, 1)]
    assert decoding.median(costs) == Cost(20, 4, 2)
    assert decoding.quotient(costs, others, lambda cost: cost.wall) == 2


def test_runs_take_turns_in_going_first_and_the_first_turn_does_not_count():
    turns: list[str] = []

    def run(name: str) -> Callable[[], Cost]:
        def cost() -> Cost:
            turns.append(name)
            return Cost(len(turns), 0)

        return cost

    costs = decoding.in_turns({"a": run("a"), "b": run("b")}, rounds=2)
    assert turns == ["a", "b", "a", "b", "b", "a"]
    assert costs == {"a": [Cost(3, 0), Cost(6, 0)], "b": [Cost(4, 0), Cost(5, 0)]}


def test_a_section_decodes_and_sends_pictures_made_where_there_are_no_photos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(decoding, "_MADE_SIZES", ((1500, 1000),))
    monkeypatch.setattr(decoding, "SIDES", (None, 256))
    bench = Bench(data=None, work=tmp_path, rounds=1, seconds=0.5, cores=1)
    write_quick_model(bench.models / "mobilenet" / "1")
    findings = decoding.SECTION.run(bench)
    scaled, sent = findings.tables
    assert [row[0] for row in scaled.rows] == ["2 megapixels", "web photos"]
    assert [row[0] for row in sent.rows] == ["none", "256"]
    for table in findings.tables:
        assert "made pictures of camera size" in table.caption
        assert {len(row) for row in table.rows} == {len(table.header)}
    as_it_is, smaller = (findings.figures["sending"][side] for side in ("None", "256"))
    assert (as_it_is["bytes"], as_it_is["CPU"], as_it_is["call"]) == (1, 1, 1)
    assert smaller["kB"] < as_it_is["kB"] / 4
    assert smaller["bytes"] == pytest.approx(smaller["kB"] / as_it_is["kB"])
