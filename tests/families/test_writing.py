"""Text heads in training: losses and gradients are those of `transformers`' own model; what they learn from others."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
from transformers.modeling_outputs import BaseModelOutput

from plait.config import TrainConfig
from plait.course import Course
from plait.data import Example
from plait.errors import PlaitError, TruncationWarning
from plait.lessons import Lesson, example_lessons
from plait.lessons.written import written as written_texts
from plait.model import Plait
from plait.outputs import Asked, outputs, own
from plait.tasks import Weights
from plait.teacher import Teacher
from plait.text import Text
from tests.kinds import WRITING
from tests.oracle import oracle
from tests.small import LAYERS, small_writer
from tests.tokenizers import small_tokenizer

EXAMPLES = [
    Example(
        "0", ("who built the bridge?", "a silver bridge of stone was built by the doctor in winter."), "the doctor"
    ),
    Example("1", ("why", "the river"), "yellow lanterns of copper"),
    Example("2", ("which painter wrote the letters, and when?", "the painter village (on the mountain) 1843."), 1843.0),
]


@pytest.fixture(scope="module", params=WRITING)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_writer(request.param, tmp_path_factory.mktemp(request.param) / "model")


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_writer("t5", tmp_path_factory.mktemp("one") / "model")


def lesson_of(model: Plait, examples: list[Example] = EXAMPLES) -> Lesson:
    [lesson] = example_lessons("text", examples, model.text)
    return lesson


def loss_of(model: Plait, lesson: Lesson) -> Tensor:
    """As a course computes it."""
    [target] = lesson.targets
    states = own(model, lesson, list(model.plans.values()))
    [out] = outputs(model, model.plans, states, [Asked(target.head, target.examples, target.written)])
    return target.loss(out.logits, out.layout, Weights())


def gradients(model: torch.nn.Module, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("some", [slice(0, 1), slice(0, 3)], ids=["unpadded", "mixed"])
def test_the_full_plans_loss_is_transformers_own(folder: Path, some: slice) -> None:
    """And so are its gradients, in training mode."""
    examples = EXAMPLES[some]
    model, tokenizer = Plait.from_pretrained(folder).train(), AutoTokenizer.from_pretrained(folder)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    theirs: Any = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    given = tokenizer(*map(list, zip(*(e.texts for e in examples), strict=True)), padding=True, return_tensors="pt")
    labels = tokenizer(["the doctor", "yellow lanterns of copper", "1843"][some], padding=True, return_tensors="pt")
    right = labels["input_ids"].masked_fill(labels["attention_mask"] == 0, -100)
    expected = theirs(**given, labels=right).loss
    found = loss_of(model, lesson_of(model, examples))
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    wanted = gradients(theirs, expected)
    whole: Any = model.heads["text"]
    ours = gradients(whole.model, found)
    assert ours.keys() == wanted.keys() and len(ours) > 40
    for name, gradient in wanted.items():
        torch.testing.assert_close(ours[name], gradient, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("join", range(LAYERS + 1))
def test_any_joins_loss_is_that_of_the_oracles_states(t5: Path, join: int) -> None:
    model, decoder = Plait.from_pretrained(t5, plan=f"join={join}"), AutoModelForSeq2SeqLM.from_pretrained(t5).eval()
    losses, counts = [], []
    for example in EXAMPLES:
        pair = [model.segments(role, [text])[0] for role, text in zip(model.text.roles, example.texts, strict=True)]
        label = model.tokenizer(
            example.label if isinstance(example.label, str) else "1843", return_tensors="pt"
        ).input_ids
        with torch.no_grad():
            states = oracle(decoder.get_encoder(), model.plan("text"), pair)[None]
            losses.append(decoder(encoder_outputs=BaseModelOutput(states), labels=label).loss)
        counts.append(label.shape[1])
    expected = sum(loss.item() * n for loss, n in zip(losses, counts, strict=True)) / sum(counts)
    assert loss_of(model, lesson_of(model)).item() == pytest.approx(expected, rel=1e-5)


def settings(**changes: Any) -> TrainConfig:
    return TrainConfig(model="", data="", output="", task="text", bfloat16=False, teacher="one", **changes)


def test_a_course_under_itself_and_under_others(t5: Path, tmp_path: Path) -> None:
    """A teacher that is the model adds nothing; another does, and so does this one to a split plan."""
    other = small_writer("t5", tmp_path / "other", d_ff=40)
    for name, plan, differs in ((t5, "join=0", False), (t5, "join=2", True), (other, "join=0", True)):
        model = Plait.from_pretrained(t5, plan=plan)
        course = Course(model, Teacher(Plait.from_pretrained(name), model.plans, model.text), settings(labels=0.0))
        loss = course(lesson_of(model))["loss"]
        largest = max(float(g.abs().max()) for g in gradients(model, loss).values())
        assert (loss.item() > 1e-3 and largest > 1e-3) if differs else (abs(loss.item()) < 1e-6 and largest < 1e-5)


def test_kept_outputs_are_of_what_is_written(t5: Path, tmp_path: Path) -> None:
    """The same texts with other labels are asked again; what was kept is what was computed, with its layout."""
    model = Plait.from_pretrained(t5, plan="join=1")
    teacher = Teacher(Plait.from_pretrained(t5), model.plans, model.text, tmp_path)
    others = [Example(e.id, e.texts, f"{e.label} river") for e in EXAMPLES]
    for number, examples in enumerate((EXAMPLES, others), 1):
        lesson = lesson_of(model, examples)
        [first] = teacher.outputs(lesson, lesson.targets)
        [again] = teacher.outputs(lesson, lesson.targets)
        assert len(list(tmp_path.rglob("*.safetensors"))) == number
        assert torch.equal(first.logits, again.logits) and first.layout.lengths == again.layout.lengths
        assert sum(again.layout.lengths) == len(again.logits)


def test_an_elastic_course_takes_any_join(t5: Path) -> None:
    """Three plans a step, one of them its own, here where only the decoder reads all; `oneway` stays `joint`."""
    model = Plait.from_pretrained(t5, plan=f"join={LAYERS}")
    course = Course(model, None, settings(elastic="oneway"))
    drawn = [plans["text"] for seed in range(9) for plans in course._drawn(torch.Generator().manual_seed(seed))]
    assert {plan.mode for plan in drawn} == {"joint"} and {plan.join for plan in drawn} == set(range(LAYERS + 1))
    assert [plan.join for plan in drawn[:2]] == [0, LAYERS]
    assert torch.isfinite(course(lesson_of(model))["loss"])


def test_texts_that_are_cut_or_cannot_be_written(t5: Path) -> None:
    text = Plait.from_pretrained(t5).text
    with pytest.warns(TruncationWarning, match=r"2 of 3 texts that are to be written are longer than 4 tokens"):
        [lesson] = example_lessons("text", EXAMPLES, text, longest_written=4)
    written = lesson.targets[0].written
    assert written is not None and written.shape[1] == 4
    lengths = (written != -100).sum(1)
    assert all(row[n - 1] == 1 for row, n in zip(written, lengths, strict=True))  # each has its end
    for label in (None, "  "):
        with pytest.raises(PlaitError, match="label that is not blank"):
            example_lessons("text", [*EXAMPLES, Example("x", ("a", "b"), label)], text)
    with pytest.raises(PlaitError, match="the tokenizer finds none in '\\\\u200b'"):
        written_texts(["\u200b"], Text(small_tokenizer(), text.roles, positions=64, types=2), 8)


def test_absent_texts_and_budgets(t5: Path) -> None:
    """An example may lack its last texts; what a budget drops is dropped in training too."""
    rng = random.Random(0)
    model = Plait.from_pretrained(t5, plan="join=1,roles=claim+e1+e2,known=e1+e2,keep.e1=3")
    examples = [Example(str(i), ("who", "the river of stone", "music")[: 3 - i], rng.choice("ab")) for i in range(2)]
    loss = loss_of(model, lesson_of(model, examples))
    assert torch.isfinite(loss) and gradients(model, loss)
