"""A step of training of every family, as `plait train` takes it: products in bfloat16, weights in float32."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from plait.config import TrainConfig
from plait.course import Course
from plait.data import Example, Question
from plait.lessons import Lesson, example_lessons, question_lessons
from plait.model import Plait
from tests.kinds import CLOSING, WRITING
from tests.small import small_checkpoint, small_families, small_writer

EXAMPLES = [Example(str(i), ("river stone" if i % 2 else "why", "the silver river"), float(i % 3)) for i in range(6)]
WRITTEN = [Example(str(i), ("river", "the silver river"), "silver stone"[: 6 + i]) for i in range(6)]


def step(model: Plait, config: TrainConfig, lesson: Lesson) -> None:
    """Forward and backward: a loss that is a number, and gradients in every layer."""
    model.train()
    Course(model, None, config)(lesson)["loss"].backward()
    base = [p.grad for name, p in model.base.named_parameters() if name.endswith("weight") and p.grad is not None]
    assert base and all(torch.isfinite(grad).all() for grad in base)


@pytest.mark.parametrize("elastic", ["", "oneway"])
@pytest.mark.parametrize("model_type", small_families("score"))
def test_a_score(tmp_path: Path, model_type: str, elastic: str) -> None:
    roles = "passage+query" if model_type in CLOSING else "query+passage"
    plan = f"join=1,mode=oneway,roles={roles},reader=query,known=passage"
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "m", model_type, heads=("score",)), plan=plan)
    config = TrainConfig(model="m", data="d", output="o", task="value", score=plan, elastic=elastic, dropout=0.1)
    step(model, config, example_lessons("value", EXAMPLES, model.text)[0])


@pytest.mark.parametrize("model_type", small_families("span"))
def test_spans_and_scores_together(tmp_path: Path, model_type: str) -> None:
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "m", model_type), plan="join=1")
    asked = [Question(str(i), "who built", f"a/{i % 2}", "A bridge of stone", (("stone", 12),)) for i in range(4)]
    config = TrainConfig(model="m", data="d", output="o", representation=0.5, elastic="joint")
    step(model, config, question_lessons(asked, model.text, passages=2, candidates=2, longest=40, seed=0)[0])


@pytest.mark.parametrize("model_type", WRITING)
def test_a_text(tmp_path: Path, model_type: str) -> None:
    model = Plait.from_pretrained(small_writer(model_type, tmp_path / "m"), plan="join=1")
    config = TrainConfig(model="m", data="d", output="o", task="text", text="join=1", elastic="joint")
    step(model, config, example_lessons("text", WRITTEN, model.text)[0])
