"""What a course asks of which plan: where known tokens run anew for every example, only few wrong passages."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from plait.config import TrainConfig
from plait.course import Course
from plait.data import Question
from plait.errors import PlaitError
from plait.keep import several
from plait.lessons import Lesson, question_lessons
from plait.model import Plait
from plait.tasks import Lists
from tests.small import small_checkpoint

TEXTS = ["A sailor built the bridge of stone.", "A doctor wrote music.", "The garden of the queen is yellow."]


def lesson_of(model: Plait) -> Lesson:
    asked = [("who", "sailor", 0), ("what", "music", 1), ("whose", "queen", 2)]
    questions = [
        Question(q, q, f"article/{place}", TEXTS[place], ((answer, TEXTS[place].index(answer)),))
        for q, answer, place in asked
    ]
    [one] = question_lessons(questions, model.text, passages=4)
    return one


def loss(model: Plait, lesson: Lesson, negatives: float) -> float:
    config = TrainConfig(model="", data="", output="", bfloat16=False, negatives=negatives)
    return float(Course(model, None, config)(lesson)["loss"].detach())


@pytest.mark.parametrize("score", ["join=0", "join=1", "join=2,mode=oneway", "join=2,mode=frozen"])
def test_where_known_tokens_run_anew_few_wrong_passages_are_scored(tmp_path: Path, score: str) -> None:
    plans = {"score": score, "span": "join=1,reader=passage"}
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "bert", plans=plans))
    lesson = lesson_of(model)
    [lists] = [target for target in lesson.targets if isinstance(target, Lists)]
    assert lists.own == [1, 1, 1] and list(lists.lengths) == [3, 3, 3]
    without = replace(lesson, targets=[target for target in lesson.targets if target is not lists])
    alone = loss(model, without, 0.0)
    if "mode" in score:  # all of them, whatever `negatives` says
        assert loss(model, lesson, 0.0) == pytest.approx(loss(model, lesson, 2.0), abs=1e-5)
        assert loss(model, lesson, 0.0) > alone + 0.1
    else:
        assert loss(model, lesson, 0.0) == pytest.approx(alone, abs=1e-5)
        assert loss(model, lesson, 1.0) > alone + 0.1 and loss(model, lesson, 2.0) > loss(model, lesson, 1.0)


def test_an_elastic_course_goes_as_deep_as_its_plans(tmp_path: Path) -> None:
    """The full plan, every head's own, and one by chance that is no deeper."""
    plans = {"score": "join=2,mode=oneway", "span": "join=1,reader=passage"}
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "bert", plans=plans))
    course = Course(model, None, TrainConfig(model="", data="", output="", elastic="joint+oneway"))
    drawn = [list(course._drawn(torch.Generator().manual_seed(seed))) for seed in range(20)]
    for head, last in (("score", 2), ("span", 1)):
        joins = [[plans[head].join for plans in step] for step in drawn]
        assert all(join[:2] == [0, last] for join in joins)
        assert {one for join in joins for one in join[2:]} == {*range(1, last + 1)}
    assert {plans["score"].mode for step in drawn for plans in step[1:]} == {"joint", "oneway"}
    assert {plans["span"].mode for step in drawn for plans in step} == {"joint"}


def test_scores_are_learned_as_they_are_told_apart(tmp_path: Path) -> None:
    """Not rounded to bfloat16, in which neighbours are equal."""
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "bert", heads=("score",)))
    x = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        found = model.read_out("score", x[:, None])
    assert torch.equal(found, model.read_out("score", x[:, None])) and not torch.equal(found, found.bfloat16().float())


@pytest.mark.parametrize("settings", [{"elastic": "joint"}, {"full": 1.0}])
def test_a_head_that_has_the_full_plan_is_trained_by_it_once(tmp_path: Path, settings: dict[str, object]) -> None:
    plans = {"score": "join=1", "span": "join=0,reader=passage"}
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "bert", plans=plans))
    course = Course(model, None, TrainConfig(model="", data="", output="", **settings))  # type: ignore[arg-type]
    drawn = course._drawn(torch.Generator().manual_seed(0))
    assert sum("span" in one for one in drawn) == 1 and sum("score" in one for one in drawn) == 2


def test_an_elastic_course_runs_no_plan_twice_nor_one_deeper_than_asked_for(tmp_path: Path) -> None:
    plans = {"score": "join=0", "span": "join=1,reader=passage"}
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "bert", plans=plans))
    course = Course(model, None, TrainConfig(model="", data="", output="", elastic="joint+oneway"))
    drawn = [list(course._drawn(torch.Generator().manual_seed(seed))) for seed in range(9)]
    assert all([plans["span"].join for plans in step] == [0, 1] for step in drawn)
    assert [[str(plans.get("score")) for plans in step] for step in drawn] == [["join=0,mode=joint", "None"]] * 9


def test_an_elastic_course_teaches_what_the_full_plan_was_asked(tmp_path: Path) -> None:
    """A oneway plan scores all candidates; the full one a sample, and these alone are compared."""
    plan = {"score": "join=1,mode=oneway", "span": "join=1,reader=passage"}
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "bert", plans=plan))
    lesson = lesson_of(model)
    [number] = [n for n, target in enumerate(lesson.targets) if isinstance(target, Lists)]
    lesson = replace(lesson, targets=[lesson.targets[number]])
    settings = TrainConfig(model="", data="", output="", bfloat16=False, elastic="oneway", negatives=1.0, labels=1e-9)
    found = float(Course(model, None, settings)(lesson)["loss"].detach())
    generator = torch.Generator().manual_seed(0)
    course = Course(model, None, settings)
    course._drawn(generator)
    some, rows = lesson.targets[0].thinned(1.0, generator)
    assert rows is not None and len(rows) == 6
    plans, names = [replace(model.plans["score"], join=0, mode="joint"), model.plans["score"]], ["states.0", "states.1"]
    states = {role: model.own(of, [*names, "states.2"]) for role, of in lesson.segments.items()}
    whole, layout = model.logits("score", states, some.examples, plans[0])
    split, _ = model.logits("score", states, lesson.targets[0].examples, plans[1])
    expected = some.distance(split[rows], whole, layout, course._weights)
    assert found == pytest.approx(float(expected.detach()), rel=1e-4)


def thinned(folder: Path, budget: int, budgets: str, **keys: float) -> tuple[Course, Lesson]:
    plans = {"score": f"join=1,mode=oneway,keep.passage={budget}", "span": "join=1,reader=passage"}
    model = Plait.from_pretrained(small_checkpoint(folder / "bert", plans=plans))
    config = TrainConfig(model="", data="", output="", bfloat16=False, budgets=budgets, **keys)  # type: ignore[arg-type]
    return Course(model, None, config), lesson_of(model)


def test_a_course_of_several_budgets_runs_the_first_its_own_and_one_of_the_rest(tmp_path: Path) -> None:
    course, _ = thinned(tmp_path, 4, "all+6+2")
    drawn = [course._drawn(torch.Generator().manual_seed(seed)) for seed in range(30)]
    assert all(set(step[0]) == {"score", "span"} and not step[0]["score"].keep for step in drawn)
    assert all(set(plans) == {"score"} for step in drawn for plans in step[1:])
    assert all(step[1] == {"score": course.model.plans["score"]} for step in drawn)
    assert {tuple(plans["score"].keep[0].tokens for plans in step[2:]) for step in drawn} == {(6,), (2,)}


def test_the_first_budget_teaches_and_one_that_drops_nothing_learns_nothing_from_it(tmp_path: Path) -> None:
    course, lesson = thinned(tmp_path, 100, "all", labels=1e-9)
    assert float(course(lesson)["loss"].detach()) < 1e-7
    course, lesson = thinned(tmp_path, 2, "all", labels=1e-9)
    taught = course(lesson)["loss"]
    assert float(taught.detach()) > 1e-4
    scores = next(target for target in lesson.targets if isinstance(target, Lists))
    states = {role: course.model.own(some, ["states.1", "states.2", *course.model.needs(role)])
              for role, some in lesson.segments.items()}  # fmt: skip
    few, _ = course.model.logits("score", states, scores.examples)
    every, _ = course.model.logits("score", states, scores.examples, course.model.plans["score"].budgeted(math.inf))
    expected = scores.distance(few, every.detach(), _, course._weights) / 2  # of all tokens' it has none
    torch.testing.assert_close(taught, expected, atol=1e-5, rtol=1e-4)
    weight = dict(course.model.named_parameters())["base.embeddings.LayerNorm.weight"]
    ours, theirs = (torch.autograd.grad(loss, weight)[0] for loss in (taught, expected))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-3)


def test_a_head_of_several_budgets_weighs_as_much_as_one_of_one(tmp_path: Path) -> None:
    """Where no budget drops anything, the loss is that of one plan."""
    course, lesson = thinned(tmp_path, 100, "all+99")
    config = TrainConfig(model="", data="", output="", bfloat16=False)
    assert float(course(lesson)["loss"].detach()) == pytest.approx(
        float(Course(course.model, None, config)(lesson)["loss"].detach()), rel=1e-5
    )


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("all+64+16", (math.inf, 64, 16)), ("0.5+0.25", (0.5, 0.25)), ("8", (8,)), ("64+0.3", (64, 0.3))],
)
def test_budgets_of_a_training(text: str, numbers: tuple[float, ...]) -> None:
    assert several(text) == numbers


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("all+", "has ''"), ("all+x", "has 'x'"), ("0", "has '0'"), ("-3", "has '-3'"), ("1.5", "has '1.5'"),
        ("inf", "has 'inf'"), ("16+64", "the largest first"), ("64+all", "the largest first"),
        ("0.2+0.3", "the largest first"), ("all+all", "different ones"), ("8+8", "different ones"),
        ("32+64@2", "has '64@2'"),
    ],
)  # fmt: skip
def test_budgets_that_cannot_be(text: str, words: str) -> None:
    with pytest.raises(PlaitError, match=words) as error:
        several(text)
    assert "all+64+16" in str(error.value)
