"""What a chart of a sweep shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from plait.plots import frontier, panels, tradeoff
from plait.points import Point

COSTS = ["flops", "ms", "memory", "bytes"]
FULL = Point("join=0,mode=joint", 0, "joint", "f1", 80.0, {}, 8_000_000_000, 40.0, 2**21, 0, 5, "", {})
JOINED = replace(FULL, plan="join=2,mode=joint", join=2, flops=4_000_000_000, bytes=2048, codec="int8", quality=70.0)
DEEPER = replace(JOINED, plan="join=3,mode=joint", join=3, flops=2_000_000_000, quality=60.0)
DUAL = replace(DEEPER, plan="join=3,mode=joint,compare=maxsim")


def test_a_split_model_is_drawn_beside_the_full_one() -> None:
    """Which stores nothing; lines go by join, whatever was tried first, and a budget has its own."""
    short = replace(JOINED, plan="join=2,mode=joint,keep.passage=4", keep="4 coreset", bytes=512)
    shown = panels([FULL, DEEPER, JOINED, short])
    assert [panel.cost for panel in shown] == COSTS
    assert [panel.first and panel.first[1] for panel in shown] == ["full, join=0"] * 3 + [None]
    for panel in shown:
        assert panel.lines == {("joint", ""): [JOINED, DEEPER], ("joint", "4 coreset"): [short]}
    assert [panel.at(JOINED) for panel in shown] == [(4.0, 70.0), (40.0, 70.0), (2.0, 70.0), (2.0, 70.0)]
    assert shown[3].label == "stored KiB a known text (int8)"


def test_a_dual_encoder_has_no_full_plan() -> None:
    """What it begins with is named as it is, and stores something, though it were alone."""
    vectors = replace(DUAL, plan="join=0,mode=joint,compare=cosine", join=0)
    for only in (DUAL, vectors):
        shown = panels([only])
        assert [(panel.cost, panel.first, panel.lines) for panel in shown] == [
            (c, (only, only.plan), {}) for c in COSTS
        ]
    short = replace(DUAL, plan=f"{DUAL.plan},keep.passage=4", keep="4 coreset", bytes=512)
    for panel in panels([DUAL, short]):
        assert panel.shown() == [DUAL, short]


def test_codecs_are_told_apart() -> None:
    half = replace(DUAL, codec="int4", bytes=1024)
    last = panels([DUAL, half])[-1]
    assert last.first == (DUAL, f"{DUAL.plan} int8") and last.lines == {("joint", "int4"): [half]}
    assert last.label == "stored KiB a known text (int8, int4)"
    halves = replace(JOINED, codec="int4")
    assert list(panels([FULL, JOINED, halves])[0].lines) == [("joint", "int8"), ("joint", "int4")]


def test_what_no_point_has_is_not_drawn() -> None:
    """Of single texts nothing is stored."""
    single = replace(FULL, plan="join=0,mode=joint,roles=text")
    shown = panels([single, replace(single, plan=f"{single.plan},keep.text=4@1", keep="4@1 norm", flops=10**9)])
    assert [panel.cost for panel in shown] == COSTS[:3]


@pytest.mark.parametrize("points", [[FULL], [DUAL], [FULL, JOINED], [DUAL, replace(DUAL, keep="4 norm", bytes=9)]])
def test_charts_are_written(tmp_path: Path, points: list[Point]) -> None:
    """Also of one point, and whichever is chosen."""
    for chosen in (None, *points):
        tradeoff(points, chosen, tmp_path / "chart.svg", "a model on a set")
        said = (tmp_path / "chart.svg").read_text()
        assert said.startswith("<?xml") and ("chosen" in said) == (chosen is not None)


def test_the_frontier_is_of_what_nothing_beats() -> None:
    assert frontier([(3, 5.0), (1, 2.0), (2, 5.0), (2, 1.0), (4, 4.0)]) == [(1, 2.0), (2, 5.0)]
