"""What a sweep tries, compares with and picks."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from plait.data import Example
from plait.errors import PlaitError
from plait.evaluate import example_quality, scores_of
from plait.given import write_vectors
from plait.model import Plait
from plait.plan import Plan
from plait.plots import panels
from plait.points import Point, choose, markdown
from plait.sweep import sweep
from plait.text import Segment
from tests.command import done
from tests.small import small_checkpoint

WORDS = ["river", "stone", "lantern", "winter", "garden", "music", "engine", "harbour"]


def examples(texts: int, count: int = 12) -> list[Example]:
    rng = random.Random(1)
    rows = (tuple(" ".join(rng.sample(WORDS, 5)) for _ in range(texts)) for _ in range(count))
    return [Example(str(n), row, float(n)) for n, row in enumerate(rows)]


def test_the_full_model_counts_positions_as_its_own(tmp_path: Path) -> None:
    """What shares are of is the ordinary model as it is, whose texts stand behind one another."""
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "m", heads=("score",)))
    data = examples(2)
    points = sweep(model, "value", data, modes=("joint",), known=3)
    assert [(point.join, "positions" in point.plan) for point in points] == [(0, True), (1, False), (2, False)]
    assert points[0].metrics == pytest.approx(example_quality(model, "value", data))
    restarted = Plait.from_pretrained(tmp_path / "m", plan="join=0,positions=restart")
    assert points[0].quality != pytest.approx(example_quality(restarted, "value", data)["spearman"])


def test_single_texts_are_swept_over_schedules(tmp_path: Path) -> None:
    """They have no join; a row that names a budget was measured with it."""
    plan = "join=0,roles=text,keep.text=0.9^2,protect=ends"
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "m", heads=("score",)), plan=plan)
    data = examples(1)
    points = sweep(model, "value", data, keeps=["0.5^2", "3@1"], selectors=["first", "norm"], known=3)
    named = ["", "0.9@1+0.81@2 coreset", "0.5^2 first", "0.5^2 norm", "3@1 first", "3@1 norm"]
    assert [point.keep for point in points] == named
    assert len({point.plan for point in points}) == 6 and all("protect=ends" in point.plan for point in points[1:])
    assert points[0].plan == "join=0,mode=joint,roles=text"
    for point in points:
        again = Plait.from_pretrained(tmp_path / "m", plan=point.plan)
        assert point.quality == pytest.approx(example_quality(again, "value", data)["spearman"])
    assert points[2].flops < points[1].flops < points[0].flops
    rows = tmp_path / "data.jsonl"
    rows.write_text("".join(json.dumps({"text": e.texts[0], "label": e.label}) + "\n" for e in data))
    said = done("sweep", tmp_path / "m", rows, "--task", "value", "--plan", "join=0,roles=text", "--texts", "text",
                "--keep", "0.5^2", "--min-quality", 0, "--known", 3, "--out", tmp_path / "out")  # fmt: skip
    assert "keep.text=0.5@1+0.25@2" in said and (tmp_path / "out" / "chart.png").is_file()


def test_what_cannot_be_moved_is_measured_where_it_is(tmp_path: Path) -> None:
    """A schedule, and all of a dual encoder; each row's quality is that of a model under its plan."""
    folder = small_checkpoint(tmp_path / "m", heads=("score",))
    data = examples(2)
    schedule = Plait.from_pretrained(folder, plan="join=1,keep.passage=4@1+2@2")
    points = sweep(schedule, "value", data, modes=("joint",), known=3)
    assert [(p.join, p.keep) for p in points] == [(0, ""), (1, ""), (2, ""), (1, "4@1+2@2 coreset")]
    dual = Plait.from_pretrained(folder, plan="join=3,compare=maxsim,keep.passage=3,selector=ward")
    codecs = ("float32", "int4")
    found = sweep(dual, "value", data, keeps=["2"], selectors=["first"], codecs=codecs, known=3)
    assert [panel.first for panel in panels(found)] == [(found[0], f"{found[0].plan} float32")] * 4
    assert [(p.keep, p.codec) for p in found] == [(k, c) for k in ("", "3 ward", "2 first") for c in codecs]
    assert found[0].flops > found[2].flops > found[4].flops and found[0].bytes > found[2].bytes > found[4].bytes
    for point in (*points[1:], *found):
        again = Plait.from_pretrained(folder, plan=point.plan)
        assert point.quality == pytest.approx(example_quality(again, "value", data, point.codec)["spearman"])


def test_budgets_of_a_single_text_stay_at_their_layer(tmp_path: Path) -> None:
    """`3` without a layer begins where the text's own layers end; a sweep counts these as joined ones."""
    plan = "join=2,roles=text,keep.text=3,selector=attention"
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "m", heads=("score",)), plan=plan)
    points = sweep(model, "value", examples(1), known=3)
    assert [point.keep for point in points] == ["", "3 attention"] and "keep.text=3@2" in points[1].plan
    assert points[1].quality == pytest.approx(example_quality(model, "value", examples(1))["spearman"])


def test_every_role_keeps_its_own_budget(tmp_path: Path) -> None:
    plan = "join=1,roles=claim+e1+e2,keep.e1=3,keep.e2=2,keep.claim=4"
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "m", heads=("score",)), plan=plan)
    points = sweep(model, "value", examples(3), modes=("oneway",), keeps=["1"], known=3)
    assert [point.keep for point in points] == ["", "", "", *["e1=3 e2=2 coreset"] * 2, *["1 coreset"] * 2]
    assert "keep.e1=3,keep.e2=2" in points[3].plan and "keep.claim=4,keep.e1=1,keep.e2=1" in points[5].plan


@pytest.mark.parametrize("plan", ["join=1", "join=1,mode=oneway,states=kv,keep.e2=2", "join=1,known=e1"])
def test_a_role_that_all_examples_lack_costs_nothing(tmp_path: Path, plan: str) -> None:
    """It is swept as what it is: the plan of one role less, whether or not that role is known."""
    folder = small_checkpoint(tmp_path / "m", heads=("score",))
    three, two = (
        sweep(Plait.from_pretrained(folder, plan=f"{of},roles={roles}"), "value", examples(2), known=3)
        for of, roles in ((plan, "claim+e1+e2"), (plan.replace(",keep.e2=2", ""), "claim+e1"))
    )
    three = [point for point in three if not point.keep]
    assert [(p.join, p.mode, p.flops, p.bytes, p.codec) for p in three] == [
        (p.join, p.mode, p.flops, p.bytes, p.codec) for p in two
    ]
    assert [p.quality for p in three] == pytest.approx([p.quality for p in two], abs=1e-3)
    assert all(p.lengths == {**q.lengths, "e2": 0} and p.ms > 0 for p, q in zip(three, two, strict=True))


def test_a_mode_that_a_model_cannot_have_is_refused_with_the_others(tmp_path: Path) -> None:
    """XLNet reads a score from its last token, the passage's."""
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "m", "xlnet", heads=("score",)))
    with pytest.raises(PlaitError, match=r"reads a score from its last token, .*; or sweep joint alone$"):
        sweep(model, "value", examples(2), known=3)
    assert len(sweep(model, "value", examples(2), modes=("joint",), known=3)) == 3


def test_only_the_joins_that_are_asked_for_are_measured(tmp_path: Path) -> None:
    """Beside the full plan; what cannot be moved (a schedule) is measured where it is."""
    folder = small_checkpoint(tmp_path / "m", heads=("score",))
    model, data = Plait.from_pretrained(folder, plan="join=1"), examples(2)
    every = sweep(model, "value", data, known=3)
    some = sweep(model, "value", data, joins=(2, 2), known=3)
    assert [point.plan for point in some] == [point.plan for point in every if point.join in (0, 2)]
    thinned = sweep(model, "value", data, modes=("joint",), joins=(1,), keeps=("0.5^2",), known=3)
    assert [point.join for point in thinned] == [0, 1, 1] and thinned[-1].keep == "0.5^2 coreset"
    for bad in ((0,), (3,), (1, True)):
        with pytest.raises(
            PlaitError, match=r"^joins must be between 1 and 2 .*, but one is (0|3|True); leave them out"
        ):
            sweep(model, "value", data, joins=bad, known=3)
    with pytest.raises(PlaitError, match=r"^joins must be a list of numbers, but are 2; leave them out"):
        sweep(model, "value", data, joins=2, known=3)  # type: ignore[arg-type]


def test_a_sweep_of_nothing_is_refused(tmp_path: Path) -> None:
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "m", heads=("score",)))
    with pytest.raises(PlaitError, match="modes must name at least one"):
        sweep(model, "value", examples(2), known=3, modes=())
    with pytest.raises(PlaitError, match="codecs must name at least one"):
        sweep(model, "value", examples(2), known=3, codecs=())


def test_codecs_are_compared_by_their_drift(tmp_path: Path) -> None:
    """How far scores are from those of states that were not stored; one codec alone is not compared with any."""
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "m", heads=("score",)), plan="join=1")
    data = examples(2)
    points = sweep(model, "value", data, modes=("joint",), codecs=("float32", "int8", "int4"), known=3)
    assert points[0].drift is None and {p.codec for p in points if p.join == 1} == {"float32", "int8", "int4"}
    exact, byte, half = (
        next(p for p in points if p.join == 1 and p.codec == name) for name in ("float32", "int8", "int4")
    )
    assert exact.drift is not None and byte.drift is not None and half.drift is not None
    assert exact.drift < 1e-5 < byte.drift < half.drift and exact.bytes > byte.bytes > half.bytes
    model.plans = {"score": Plan.parse(half.plan)}
    raw, moved = (scores_of(model, [e.texts for e in data], codec) for codec in ("", "int4"))
    assert half.drift == pytest.approx(np.abs(moved - raw).mean() / raw.std(), rel=1e-4)
    wanted = example_quality(model, "value", data, "int4")  # after the activation
    assert {name: half.metrics[name] for name in wanted} == pytest.approx(wanted)
    assert "score drift" in markdown(points, points[1])
    assert [p.codec for p in points if p.bytes == 0] == [""] and points[0].bytes == 0
    assert markdown(points, None).splitlines()[2].startswith("| join=0,mode=joint | - |")
    alone = sweep(model, "value", data, modes=("joint",), known=3)
    assert all(p.drift is None for p in alone) and "score drift" not in markdown(alone, alone[0])


def test_costs_are_those_of_the_middle_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands first, often or twice; what is timed is as long, and of as many texts as there are."""
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "m", heads=("score",)), plan="join=1")
    rng = random.Random(2)
    long = [" ".join(rng.sample(WORDS, 6)) for _ in range(4)]
    passages = [*WORDS[:5], *long, long[0], *(" ".join(WORDS * n) for n in (1, 2, 3))]
    data = [Example(str(n), (" ".join(WORDS[: 1 + n % 3]), text), float(n)) for n, text in enumerate(passages)]
    timed: list[Mapping[str, list[Segment]]] = []

    def milliseconds(systems: list[object], head: str, segments: Mapping[str, list[Segment]]) -> list[float]:
        timed.append(segments)
        return [1.0] * len(systems)

    monkeypatch.setattr("plait.sweep.milliseconds", milliseconds)
    one, other = (sweep(model, "value", some, modes=("joint",), known=5) for some in (data, data[::-1]))
    assert one[0].lengths == {"query": 2 + 2, "passage": 6 + 1}
    assert [(p.flops, p.bytes, p.lengths) for p in one] == [(p.flops, p.bytes, p.lengths) for p in other]
    for segments in timed:
        assert [len(segment.ids) for segment in segments["passage"]] == [7, 7, 7, 7, 9]
        assert len(segments["query"]) == 5 and len(segments["query"][0].ids) == 4


def test_vectors_of_another_model_are_stored_though_they_have_no_layers(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).normal(size=(len(WORDS), 8)).astype(np.float32)
    write_vectors(WORDS, numbers, tmp_path / "v")
    data = [Example(str(n), (word, WORDS[(3 * n + 1) % 8]), float(n)) for n, word in enumerate(WORDS)]
    for plan, stored in (
        ("join=0,compare=cosine", [("float32", 32), ("int4", 6)]),
        ("join=0,compare=cosine,known=", [("", 0)]),
    ):
        model = Plait.from_pretrained(tmp_path / "v", plan=plan)
        points = sweep(model, "value", data, codecs=("float32", "int4"), known=3)
        assert [(p.codec, p.bytes) for p in points] == stored
        for p in points:
            assert p.quality == pytest.approx(example_quality(model, "value", data, p.codec)["spearman"])
    assert points[0].drift is None and points[0].flops == 0


def point(join: int, quality: float, **values: float) -> Point:
    fields: Mapping[str, float] = {"flops": 100 - 10 * join, "ms": 10 - join, "bytes": 1000 - 100 * join} | values
    flops, ms, size = fields["flops"], fields["ms"], fields["bytes"]
    return Point(
        f"join={join}", join, "joint", "f1", quality, {"f1": quality}, int(flops), ms, 0, int(size), 1, "int8", {}
    )


def test_laits_rule_and_limits() -> None:
    """The deepest with 99% of the full model's metric; of those within limits the cheapest."""
    points = [point(0, 80.0), point(1, 82.0), point(2, 79.3), point(3, 79.1), point(4, 60.0)]
    assert choose(points).join == 2  # 79.2 is 99% of 80
    assert choose(points, min_quality=0.98).join == 3
    assert choose(points, min_quality=1.0).join == 1
    assert choose(points, min_quality=0.5).join == 4
    assert choose([*points[:4], replace(points[4], quality=79.3, bytes=5000)], max_bytes=900).join == 2
    assert choose([*points[:4], replace(points[4], quality=79.3, ms=50)], max_ms=9).join == 2
    with pytest.raises(PlaitError, match=r"79\.2 or more, at most 100 bytes, but none has"):
        choose(points, max_bytes=100)
    with pytest.raises(PlaitError, match=r"at most 1 ms, but none has; .* the quickest takes 6 ms"):
        choose(points, max_ms=1)
    negative = [
        replace(points[0], quality=-10.0),
        replace(points[1], quality=-10.05),
        replace(points[2], quality=-10.2),
    ]
    assert choose(negative).join == 1  # 99% of a correlation below 0 is not above it
    assert "**98.9%**" in markdown(points, points[3])
