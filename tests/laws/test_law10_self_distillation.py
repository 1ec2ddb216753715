"""Law 10: distilling a model from itself costs nothing (loss 0) and changes nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from plait.config import TrainConfig
from plait.course import Course
from plait.data import Example, Question
from plait.distill import distillation
from plait.lessons import Lesson, example_lessons, question_lessons
from plait.model import Plait
from plait.outputs import Asked, outputs, own
from plait.tasks import Weights
from plait.teacher import Teacher
from plait.training import train
from tests.small import change_config, small_checkpoint, small_writer

TEXTS = [
    "The river was yellow. A sailor built the bridge of stone in winter, and the queen found it in a letter.",
    "In the village a doctor wrote music for the market. The engine of the railway was silver and copper.",
    "A painter and a teacher found a garden on the mountain with a window to the harbour.",
]
WORDS = [("who", "sailor"), ("what", "stone"), ("which", "music"), ("where", "garden"), ("what is it", "silver")]


@pytest.fixture(scope="module")
def lesson(model: Plait) -> Lesson:
    """One batch: five questions about three passages of one article."""
    questions = []
    for number, (question, answer) in enumerate(WORDS):
        place, text = next((i, t) for i, t in enumerate(TEXTS) if answer in t)
        answers = ((answer, text.index(answer)),)
        questions.append(Question(str(number), question, f"article/{place}", text, answers))
    [one] = question_lessons(questions, model.text, passages=4)
    return one


TASKS = ("qa", "class", "value", "rank", "choice")
EXAMPLES = [
    Example(f"{question} {i}", (f"{question} {i}", text), float(i == 0), question)
    for question, text in (("who built the bridge", TEXTS[0]), ("what was silver", TEXTS[1]))
    for i in range(3)
]


def moved(model: Plait, loss: Tensor) -> bool:
    """Whether a step of Adam, which is blind to a gradient's size, moves any weight at all."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    loss.backward()
    optimizer.step()
    return not all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def lesson_of(task: str, model: Plait, qa: Lesson) -> Lesson:
    if task == "qa":
        return qa
    [one] = example_lessons(task, EXAMPLES, model.text, classes=("0", "1"), batch=9)
    return one


def of_task(folder: Path, task: str, seed: int = 0) -> Path:
    """A full model with the heads that a task trains."""
    if task == "text":
        return small_writer("t5", folder / str(seed))
    plans = {"score": "join=0", "span": "join=0,reader=passage"}
    heads = ("score", "span") if task == "qa" else ("score",)
    small_checkpoint(
        folder / str(seed), heads=heads, num_labels=2 if task == "class" else 1, seed=seed,
        plans={head: plans[head] for head in heads},
    )  # fmt: skip
    if task == "value":  # as training saves it: what it answers is its logits
        change_config(folder / str(seed), sentence_transformers={"activation_fn": "torch.nn.modules.linear.Identity"})
    return folder / str(seed)


@pytest.mark.parametrize("task", [*TASKS, "text"])
@pytest.mark.parametrize("join", [0, 1])
def test_targets_of_itself(tmp_path: Path, lesson: Lesson, task: str, join: int) -> None:
    """A head's distance from what it says itself is exactly 0, and no weight moves; from another's, weights do."""
    weights = Weights(margin=0.3, listwise=1.0)
    for differs in (False, True):
        model = Plait.from_pretrained(of_task(tmp_path, task), plan=f"join={join}")
        one = lesson_of(task, model, lesson)
        states = own(model, one, list(model.plans.values()))
        found = outputs(model, model.plans, states, [Asked(t.head, t.examples, t.written) for t in one.targets])
        distances = [
            target.distance(out.logits, out.logits.detach() * (1.1 if differs else 1.0), out.layout, weights)
            for target, out in zip(one.targets, found, strict=True)
        ]
        assert all((distance.item() > 0) is differs for distance in distances)
        assert moved(model, torch.stack(distances).sum()) is differs


@pytest.mark.parametrize("task", TASKS)
def test_a_course_under_itself_alone(tmp_path: Path, lesson: Lesson, task: str) -> None:
    """The same through teacher and course."""
    config = TrainConfig(
        model="", data="", output="", bfloat16=False, labels=0.0, teacher="itself", negatives=1.0, margin=0.3,
        listwise=1.0, representation=0.5,
    )  # fmt: skip
    for seed in (0, 1):
        model = Plait.from_pretrained(of_task(tmp_path, task))
        course = Course(
            model, Teacher(Plait.from_pretrained(of_task(tmp_path, task, seed)), model.plans, model.text), config
        )
        loss = course(lesson_of(task, model, lesson))["loss"]
        loss.backward()
        largest = max(float(p.grad.abs().max()) for p in model.parameters() if p.grad is not None)
        if seed == 0:
            assert loss.item() == largest == 0.0
        else:
            assert loss.item() > 1e-2 and largest > 1e-3


@pytest.mark.parametrize("plan", ["join=1", "join=1,mode=oneway", "join=1,mode=frozen"])
def test_a_split_model_under_its_own_plan(tmp_path: Path, lesson: Lesson, plan: str) -> None:
    """A saved plan teaches itself nothing, nor a budget that drops nothing; one that drops some learns, as in full."""
    config = TrainConfig(
        model="", data="", output="", bfloat16=False, labels=0.0, teacher="itself", margin=0.3, representation=0.5,
    )  # fmt: skip
    folder = small_checkpoint(tmp_path / "m", heads=("score",), plans={"score": plan})
    kept = [""] if plan == "join=1" else ["", ",keep.passage=400", ",keep.passage=4"]
    for keep in kept:
        model = Plait.from_pretrained(folder, plan=plan + keep)
        for saved in (True, False):
            teacher = Teacher(Plait.from_pretrained(folder), model.plans, model.text, saved=saved)
            loss = Course(model, teacher, config)(lesson_of("rank", model, lesson))["loss"]
            if saved and not keep.endswith("=4"):
                assert loss.item() == 0.0 and not moved(model, loss)
            else:
                assert loss.item() > 1e-4


@pytest.mark.parametrize("score", ["join=0", "join=1", "join=1,mode=oneway"])
def test_representations_of_itself_whatever_the_other_head_does(tmp_path: Path, lesson: Lesson, score: str) -> None:
    """The span head's full plan is the teacher's: its part of the loss is 0 beside any plan of the score head."""
    config = TrainConfig(
        model="", data="", output="", bfloat16=False, labels=0.0, teacher="itself", distillation=0.0, listwise=0.0,
        representation=1.0, negatives=0.0,
    )  # fmt: skip
    folder = of_task(tmp_path, "qa")
    model = Plait.from_pretrained(folder, plan={"score": score, "span": "join=0"})
    course = Course(model, Teacher(Plait.from_pretrained(folder), model.plans, model.text), config)
    assert abs(course(lesson)["loss"].item()) < 1e-6  # no list is asked of the teacher: only spans are compared


@pytest.mark.parametrize("mode", ["joint", "oneway", "frozen"])
def test_representations_are_compared_token_by_token(tmp_path: Path, mode: str) -> None:
    """A split student's distance is that of its own pass from the teacher's, computed here example by example."""
    folder = small_checkpoint(tmp_path / "bert", heads=("score",), plans={"score": f"join=1,mode={mode}"})
    teacher, model = Plait.from_pretrained(folder, plan="join=0"), Plait.from_pretrained(folder)
    config = TrainConfig(
        model="", data="", output="", bfloat16=False, labels=0.0, teacher="one", distillation=0.0, representation=1.0
    )
    [lesson] = example_lessons("value", EXAMPLES, model.text, batch=9)
    found = Course(model, Teacher(teacher, model.plans, model.text), config)(lesson)["loss"].item()
    ours: list[list[Tensor]] = [[], []]
    theirs: list[list[Tensor]] = [[], []]
    pooled: list[list[Tensor]] = [[], []]
    with torch.no_grad():
        for row in lesson.targets[0].examples:
            chosen = {role: [some[int(i)]] for i, (role, some) in zip(row, lesson.segments.items(), strict=True)}
            count = len(chosen["query"][0].ids)
            for keep, one in ((ours, model), (theirs, teacher)):
                plan = one.plans["score"]
                states = {role: one.own(some, plan.needs(role, one.layers)) for role, some in chosen.items()}
                trace: list[Tensor] = []
                one.encoder.join(plan, states, torch.zeros(1, 2, dtype=torch.int64), "whole" if plan.mode == "joint"
                                 else "all", trace)  # fmt: skip
                for number, x in enumerate(trace[-2:]):
                    keep[number].append(x[:count] if mode != "joint" else x[: count + len(chosen["passage"][0].ids)])
                pooler: Any = one.heads["score"]
                pooled[keep is theirs].append(pooler.pooler(trace[-1][:1][None]))
    expected = sum(
        torch.nn.functional.mse_loss(torch.cat(a), torch.cat(b)) for a, b in zip(ours, theirs, strict=True)
    ) / 2 + torch.nn.functional.mse_loss(torch.cat(pooled[0]), torch.cat(pooled[1]))
    assert found == pytest.approx(float(expected), rel=1e-4)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_divergence_and_its_gradient_are_right(data: st.DataObject) -> None:
    """Against the definition, in double precision, with places where no answer can be; zero for itself."""
    width = data.draw(st.integers(2, 6))
    number = st.floats(-30, 30, width=32)
    row = st.lists(number, min_size=width, max_size=width)
    student = torch.tensor([data.draw(row), data.draw(row)])
    teacher = torch.tensor([data.draw(row), data.draw(row)])
    shut = data.draw(st.integers(0, width - 1))
    student[0, :shut] = teacher[0, :shut] = -math.inf
    temperature = data.draw(st.sampled_from([1.0, 2.0]))
    student.requires_grad_()
    loss = distillation(student, teacher, temperature)
    loss.backward()
    expected = torch.zeros((), dtype=torch.float64)
    exact = student.detach().double().requires_grad_()
    for i in range(2):
        begin = shut if i == 0 else 0
        p = (teacher[i, begin:].double() / temperature).softmax(-1)
        log_q = (exact[i, begin:] / temperature).log_softmax(-1)
        expected = expected + temperature**2 * (torch.special.xlogy(p, p) - p * log_q).sum() / 2
    expected.backward()
    torch.testing.assert_close(loss.detach().double(), expected.detach(), atol=1e-4, rtol=1e-4)
    assert student.grad is not None and exact.grad is not None
    torch.testing.assert_close(student.grad.double(), exact.grad, atol=1e-5, rtol=1e-4)
    assert distillation(teacher, teacher, temperature).item() == 0.0


@pytest.mark.parametrize("score", ["join=0", "join=2,mode=oneway"])
def test_a_course_under_itself(tmp_path: Path, lesson: Lesson, score: str) -> None:
    """With the full plan as plan and as teacher, the teacher adds nothing; to a split plan it adds something."""
    split = score != "join=0"
    plans = {"score": score, "span": "join=1,reader=passage" if split else "join=0,reader=passage"}
    config = TrainConfig(model="", data="", output="", bfloat16=False, full=0.0, negatives=1.0)
    folder = small_checkpoint(tmp_path / "bert", plans=plans)
    teacher = Plait.from_pretrained(folder, plan="join=0")
    found = []
    for taught in (None, teacher):
        model = Plait.from_pretrained(folder)
        loss = Course(model, None if taught is None else Teacher(taught, model.plans, model.text), config)(lesson)[
            "loss"
        ]
        loss.backward()
        found.append((loss.item(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}))
    (alone, without), (beside, with_teacher) = found
    if split:
        assert beside > alone + 1e-3
        return
    assert beside == pytest.approx(alone, abs=1e-5)
    assert without.keys() == with_teacher.keys() and len(without) > 40
    for name, gradient in without.items():
        torch.testing.assert_close(gradient, with_teacher[name], atol=1e-4, rtol=1e-4)
    assert all(p.grad is None for p in teacher.parameters())


@pytest.mark.parametrize("own", [True, False], ids=["itself", "another"])
def test_a_training_under_itself_alone(tmp_path: Path, own: bool) -> None:
    """Through the Trainer, whose Adam would make whole steps of rounding errors."""
    start = of_task(tmp_path, "class")
    teacher = start if own else of_task(tmp_path, "class", 1)
    rows = [{"text1": e.texts[0], "text2": e.texts[1], "label": str(int(e.label == 1))} for e in EXAMPLES * 3]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = TrainConfig(
        model=str(start), teacher=str(teacher), data=str(tmp_path / "data.jsonl"), output=str(tmp_path / "out"),
        task="class", score="join=0", labels=0.0, representation=0.5, bfloat16=False, weight_decay=0.0, batch=6,
        epochs=4.0, learning_rate=1e-2, save_dtype="float32",
    )  # fmt: skip
    before, after = (load_file(folder / "model.safetensors") for folder in (start, train(config)))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before) is own
