"""What a teacher says of a lesson."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from plait.config import TrainConfig
from plait.course import Course
from plait.data import Example
from plait.lessons import example_lessons
from plait.model import Plait
from plait.tasks import Values
from plait.teacher import Teacher
from tests.small import change_config, small_checkpoint

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
    assert isinstance(target, Values)
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
