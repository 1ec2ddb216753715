"""Data without labels, learned from a teacher alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from plait.config import TrainConfig
from plait.course import Course
from plait.data import Example
from plait.errors import DataWarning
from plait.heads import class_names
from plait.lessons import example_lessons
from plait.model import Plait
from plait.tasks import Lists
from plait.teacher import Teacher
from tests.command import config, done, refused
from tests.small import small_checkpoint

TEXTS = ["the river of stone", "the garden in winter", "a letter of the queen", "music in the village", "silver"]
EXAMPLES = [Example(f"{one} {other}", (one, other), None) for one in TEXTS for other in TEXTS]


def write(path: Path, **fields: object) -> None:
    rows = [{"query": e.texts[0], "passage": e.texts[1]} | fields for e in EXAMPLES]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("task", ["class", "value", "rank", "choice"])
def test_a_teacher_alone_teaches_what_nobody_labelled(tmp_path: Path, task: str) -> None:
    """What is trained answers more as the teacher does; the teacher's classes are its own."""
    write(tmp_path / "train.jsonl")
    teacher = small_checkpoint(tmp_path / "teacher", heads=("score",), num_labels=3 if task == "class" else 1, seed=1)
    changes = {"task": task, "teacher": str(teacher), "labels": 0.0, "score": "join=1"}
    done("train", config(tmp_path, **changes, epochs=20.0))
    model, wanted = Plait.from_pretrained(tmp_path / "out" / "final"), Plait.from_pretrained(teacher)
    assert class_names(model.config) == class_names(wanted.config)
    pairs = [e.texts for e in EXAMPLES]
    ours, theirs = (torch.tensor(one.predict(pairs)).view(len(TEXTS), -1) for one in (model, wanted))
    assert torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1] > 0.5
    both = [e.texts for e in EXAMPLES[:5]]
    (tmp_path / "dev.jsonl").write_text(json.dumps({"query": both[0][0], "passage": both[0][1]}) + "\n")
    dev = config(tmp_path, **changes, dev=str(tmp_path / "dev.jsonl"), output=str(tmp_path / "other"))
    assert "a metric needs labelled examples" in refused("train", dev)


@pytest.mark.parametrize("task", ["class", "value", "rank", "choice"])
def test_the_loss_is_the_teachers_alone(tmp_path: Path, task: str) -> None:
    labels = 3 if task == "class" else 1
    folder = small_checkpoint(tmp_path / "m", heads=("score",), num_labels=labels)
    model = Plait.from_pretrained(folder, plan="join=1")
    other = Plait.from_pretrained(small_checkpoint(tmp_path / "t", heads=("score",), num_labels=labels, seed=1))
    teacher = Teacher(other, model.plans, model.text)
    settings = TrainConfig(model="", data="", output="", task=task, labels=0.0, teacher="one", bfloat16=False)
    [lesson] = example_lessons(task, EXAMPLES, model.text, classes=("0", "1", "2"), batch=25, labelled=False)
    [target], [taught] = lesson.targets, teacher.outputs(lesson, lesson.targets)
    texts = {tuple(s.ids): t for role in model.text.roles for t in TEXTS for s in model.text.segments(role, [t])}
    rows = [
        [texts[tuple(some[i].ids)] for i, some in zip(example, lesson.segments.values(), strict=True)]
        for example in target.examples.tolist()
    ]
    logits = torch.tensor(model.predict(rows, activation_fn=lambda x: x)).view(len(rows), -1)
    expected = target.distance(logits, taught.logits, taught.layout, settings.weights()).item()
    assert Course(model, teacher, settings)(lesson)["loss"].item() == pytest.approx(expected, rel=1e-4)
    assert expected > 1e-4 and len(rows) == len(EXAMPLES)


def test_groups_as_they_stand(model: Plait) -> None:
    """In lists of `candidates` at most; a labelled group as ever; what has one candidate teaches nothing."""
    group = [Example(f"a{i}", ("river", f"stone {i}"), None) for i in range(10)]
    labelled = [Example(f"b{i}", ("garden", f"stone {i}"), float(i == 2)) for i in range(3)]
    alone = Example("c", ("music", "stone"), None)
    with pytest.warns(DataWarning, match="1 of 3 groups have one candidate alone"):
        lessons = example_lessons("rank", [*group, *labelled, alone], model.text, candidates=4, labelled=False)
    lists = [target for lesson in lessons for target in lesson.targets if isinstance(target, Lists)]
    assert sorted(length for one in lists for length in one.lengths) == [3, 3, 3, 4]
    read = [model.tokenizer.decode(s.ids) for lesson in lessons for s in lesson.segments["passage"]]
    assert all(any(f"stone {i}" in text for text in read) for i in range(10))


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("class", "every example of a class task needs a label"),
        ("value", "needs a number for a label"),
        ("rank", "needs a number for a label"),
    ],
)
def test_what_labels_teach_needs_labels(tmp_path: Path, task: str, words: str) -> None:
    write(tmp_path / "train.jsonl")
    teacher = small_checkpoint(tmp_path / "teacher", heads=("score",), num_labels=2 if task == "class" else 1)
    assert words in refused("train", config(tmp_path, task=task, teacher=str(teacher)))
    assert words in refused("train", config(tmp_path, task=task, elastic="joint", score="join=1", labels=0.0))


def test_classes_of_a_teacher_that_has_none(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl")
    teacher = small_checkpoint(tmp_path / "teacher", heads=("score",))
    said = refused("train", config(tmp_path, task="class", teacher=str(teacher), labels=0.0))
    assert "a class task needs a teacher of two classes or more" in said
