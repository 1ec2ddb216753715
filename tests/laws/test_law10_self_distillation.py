"""Law 10: distilling a model from itself costs nothing (loss 0) and changes nothing."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from plait.data import Question
from plait.distill import listwise_distillation, span_distillation, span_logits
from plait.layout import Layout
from plait.lessons import Lesson, lessons
from plait.model import Plait
from plait.train import Course, TrainConfig
from tests.small import small_checkpoint

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
    [one] = lessons(questions, model.text, passages=4)
    return one


def moved(model: Plait, losses: list[Tensor]) -> bool:
    """Whether a step of Adam down the losses moves any weight at all."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    torch.stack(losses).sum().backward()
    optimizer.step()
    return not all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def fresh(folder: Path) -> Plait:
    return Plait.from_pretrained(small_checkpoint(folder / "bert", plans={"span": "join=1,reader=passage"}))


@pytest.mark.parametrize("temperature", [1.0, 2.0, 3.7])
def test_spans_of_itself(tmp_path: Path, lesson: Lesson, temperature: float) -> None:
    model = fresh(tmp_path)
    logits, layout = span_pass(model, lesson)
    allowed = torch.ones(layout.tokens, dtype=torch.bool)
    allowed[layout.starts] = False
    student = span_logits(logits, layout, allowed)
    loss = span_distillation(student, student.detach(), temperature)
    assert loss.item() == 0.0
    assert not moved(model, [loss])
    # And the same step with a teacher that differs does move them.
    model = fresh(tmp_path)
    logits, layout = span_pass(model, lesson)
    student = span_logits(logits, layout, allowed)
    loss = span_distillation(student, student.detach() * 1.1, temperature)
    assert loss.item() > 0 and moved(model, [loss])


def span_pass(model: Plait, lesson: Lesson) -> tuple[Tensor, Layout]:
    segments = {"query": lesson.queries, "passage": lesson.passages}
    states = {role: model.own(some, model.needs(role), multiple=8) for role, some in segments.items()}
    pairs = torch.tensor([[i, c[0]] for i, c in enumerate(lesson.candidates)])
    return model.logits("span", states, pairs)


def test_lists_of_itself(tmp_path: Path, lesson: Lesson) -> None:
    model = fresh(tmp_path)
    segments = {"query": lesson.queries, "passage": lesson.passages}
    states = {role: model.own(some, model.needs(role)) for role, some in segments.items()}
    rows = torch.tensor([[i, p] for i, c in enumerate(lesson.candidates) for p in c[:3]])
    scores = model.logits("score", states, rows)[0].view(-1, 3)
    loss = listwise_distillation(scores, scores.detach())
    assert loss.item() == 0.0
    assert not moved(model, [loss])


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
    loss = span_distillation(student, teacher, temperature)
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
    assert span_distillation(teacher, teacher, temperature).item() == 0.0


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
        loss = Course(model, taught, config)(lesson)["loss"]
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
