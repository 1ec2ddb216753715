"""What a teacher says of a lesson, and that it is asked once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from plait.config import TrainConfig
from plait.course import Course
from plait.data import Example, Question
from plait.errors import PlaitError
from plait.lessons import Lesson, example_lessons, question_lessons
from plait.model import Plait
from plait.outputs import Output
from plait.tasks import Values
from plait.teacher import Teacher
from tests.small import change_config, small_checkpoint, small_writer

TEXTS = ["the river of stone", "the garden in winter", "a letter of the queen"]
PAIRS = [(one, other) for one in TEXTS for other in TEXTS]


@pytest.mark.parametrize("named", [None, "torch.nn.modules.activation.Sigmoid", "torch.nn.modules.linear.Identity"])
def test_values_are_what_its_predict_answers(tmp_path: Path, named: str | None) -> None:
    """Fresh and kept ones; the student's logits learn them."""
    folder = small_checkpoint(tmp_path / "teacher", heads=("score",))
    if named:
        change_config(folder, sentence_transformers={"activation_fn": named})
    model = Plait.from_pretrained(folder, plan="join=1")
    numbered = [Example(f"{number}", pair, float(number)) for number, pair in enumerate(PAIRS)]
    [lesson] = example_lessons("value", numbered, model.text)
    [target] = lesson.targets
    assert isinstance(target, Values) and target.values is not None
    rows = [PAIRS[int(number)] for number in target.values]
    wanted = Plait.from_pretrained(folder).predict(rows)
    for _ in ("fresh", "kept"):
        teacher = Teacher(Plait.from_pretrained(folder), model.plans, model.text, tmp_path / "kept")
        [output] = teacher.outputs(lesson, lesson.targets)
        np.testing.assert_allclose(output.logits[:, 0], wanted, atol=1e-5)
    config = TrainConfig(model="", data="", output="", task="value", labels=0.0, teacher="one", bfloat16=False)
    loss = Course(model, teacher, config)(lesson)["loss"].item()
    ours = model.predict(rows, activation_fn=lambda x: x)
    assert loss == pytest.approx(float(((ours - wanted) ** 2).mean()), rel=1e-4)


def of_class(model: Plait, seed: int, batch: int) -> list[Lesson]:
    examples = [Example(f"{number}", pair, float(number % 2)) for number, pair in enumerate(PAIRS)]
    return example_lessons("class", examples, model.text, classes=("0", "1"), batch=batch, seed=seed)


def of_text(model: Plait, seed: int, batch: int) -> list[Lesson]:
    """Where texts to be written are padded as their batches are."""
    examples = [Example(f"{number}", pair, TEXTS[number % 3][: 4 + number]) for number, pair in enumerate(PAIRS)]
    return example_lessons("text", examples, model.text, batch=batch, seed=seed)


def of_questions(model: Plait, seed: int, batch: int) -> list[Lesson]:
    """Spans and lists, in one batch: each question has all passages for candidates."""
    asked = [Question(f"{i}", TEXTS[i % 3], f"a/{i}", f"{pair[0]} and {pair[1]}", ((pair[0], 0),)) for i, pair in
             enumerate(PAIRS)]  # fmt: skip
    return question_lessons(asked, model.text, passages=9, candidates=9, seed=seed)


def single(lesson: Lesson, outputs: list[Output]) -> dict[tuple[object, ...], torch.Tensor]:
    """Logits of each example of each target, by its head and its tokens."""
    found: dict[tuple[object, ...], torch.Tensor] = {}
    for target, output in zip(lesson.targets, outputs, strict=True):
        lengths = [1] * len(output.logits) if target.head == "score" else output.layout.lengths
        rows = output.logits[: sum(lengths)].split(lengths)
        for number, (example, row) in enumerate(zip(target.examples.tolist(), rows, strict=True)):
            read = [tuple(some[i].ids) for i, some in zip(example, lesson.segments.values(), strict=True)]
            words = () if target.written is None else tuple(i for i in target.written[number].tolist() if i >= 0)
            found[target.head, *read, words] = row
    return found


def counted(teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> list[Lesson]:
    """The lessons that it computes from now on."""
    asked: list[Lesson] = []
    compute = teacher._compute

    def counting(lesson: Lesson, *rest: Any) -> list[Output]:
        asked.append(lesson)
        return compute(lesson, *rest)

    monkeypatch.setattr(teacher, "_compute", counting)
    return asked


@pytest.mark.parametrize("lessons", [of_class, of_text, of_questions])
def test_an_example_is_asked_once_whatever_batch_it_stands_in(
    tmp_path: Path, lessons: Callable[[Plait, int, int], list[Lesson]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by another teacher's object: what is read again is what was computed, to the bit."""
    if lessons is of_text:
        folder = small_writer("t5", tmp_path / "teacher")
    else:
        folder = small_checkpoint(tmp_path / "teacher", num_labels=1 + (lessons is of_class))
    model = Plait.from_pretrained(folder, plan="join=1")
    first: dict[tuple[object, ...], torch.Tensor] = {}
    alone = Teacher(Plait.from_pretrained(folder), model.plans, model.text)
    teacher = Teacher(Plait.from_pretrained(folder), model.plans, model.text, tmp_path / "kept")
    asked = counted(teacher, monkeypatch)
    begun = lessons(model, 0, 4)
    for lesson in begun:
        first |= single(lesson, teacher.outputs(lesson, lesson.targets))
    kept = sorted((tmp_path / "kept").rglob("*.safetensors"))
    assert len(asked) == len(begun) == len(kept) and len(first) >= 9
    again = Teacher(Plait.from_pretrained(folder), model.plans, model.text, tmp_path / "kept")
    asked = counted(again, monkeypatch)
    seen = set()
    for lesson in lessons(model, 1, 5):
        found = again.outputs(lesson, lesson.targets)
        for key, row in single(lesson, found).items():
            assert torch.equal(row, first[key])
            seen.add(key)
        for target, one, fresh in zip(lesson.targets, found, alone.outputs(lesson, lesson.targets), strict=True):
            assert target.head == "score" or one.layout.lengths == fresh.layout.lengths
            torch.testing.assert_close(one.logits, fresh.logits[: len(one.logits)], atol=1e-4, rtol=1e-4)
    assert not asked and seen == set(first)
    assert sorted((tmp_path / "kept").rglob("*.safetensors")) == kept


def test_only_what_is_missing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = small_checkpoint(tmp_path / "teacher", heads=("score",), num_labels=2)
    model = Plait.from_pretrained(folder, plan="join=1")
    teacher = Teacher(Plait.from_pretrained(folder), model.plans, model.text, tmp_path / "kept")
    first, *others = of_class(model, 0, 4)
    teacher.outputs(first, first.targets)
    [whole] = of_class(model, 0, 9)
    asked = counted(teacher, monkeypatch)
    teacher.outputs(whole, whole.targets)
    files = list((tmp_path / "kept").rglob("*.safetensors"))
    assert sorted(len(load_file(file)) for file in files) == [4, 5] and len(asked) == 1
    for lesson in (first, *others, whole):
        teacher.outputs(lesson, lesson.targets)
    assert len(asked) == 1 and len(list((tmp_path / "kept").rglob("*.safetensors"))) == 2


def test_files_that_are_cut_or_of_something_else_are_refused_by_name(tmp_path: Path) -> None:
    folder = small_checkpoint(tmp_path / "teacher", heads=("score",), num_labels=2)
    model = Plait.from_pretrained(folder, plan="join=1")

    def opened() -> Teacher:
        return Teacher(Plait.from_pretrained(folder), model.plans, model.text, tmp_path / "kept")

    [lesson] = of_class(model, 0, 9)
    teacher = opened()
    teacher.outputs(lesson, lesson.targets)
    [file] = (tmp_path / "kept").rglob("*.safetensors")
    whole = file.read_bytes()
    file.write_bytes(whole[:-8])
    for ask in (opened, lambda: teacher.outputs(lesson, lesson.targets)):
        with pytest.raises(PlaitError, match=f"must be whole, but {file} is not .*; delete it"):
            ask()
    file.write_bytes(whole)
    save_file({"weight": torch.zeros(2)}, file.with_name("other.safetensors"))
    with pytest.raises(PlaitError, match=r"must be named by examples, but .*other\.safetensors has 'weight'"):
        opened()
