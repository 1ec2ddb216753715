"""A comparison that is to give values begins where it fits them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from plait.compare import SCALE, Compare
from plait.config import TrainConfig
from plait.model import Plait
from plait.training import train
from tests.small import small_checkpoint

TEXTS = ["the river of stone", "the garden in winter", "a letter of the queen", "music in the village", "silver"]
PAIRS = [(one, other) for one in TEXTS for other in TEXTS]


def config(folder: Path, compare: str, noise: float = 0.0, **changes: object) -> TrainConfig:
    """A training on values that rise with what an encoder's cosines are, in one batch and at no learning rate."""
    start = small_checkpoint(folder / "start", heads=())
    plan = f"join=3,compare={compare},pool=mean"
    cosines = Plait.from_pretrained(start, plan=plan, new_heads=("score",)).predict(PAIRS) / SCALE
    values = 3.0 * cosines + 0.7 + noise * np.random.default_rng(0).normal(size=len(PAIRS))
    rows = [{"query": q, "passage": p, "label": float(v)} for (q, p), v in zip(PAIRS, values, strict=True)]
    (folder / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    settings = TrainConfig(
        model=str(start), data=str(folder / "data.jsonl"), output=str(folder / "out"), task="value", score=plan,
        epochs=1.0, learning_rate=1e-9, bfloat16=False, batch=len(PAIRS),
    )  # fmt: skip
    return replace(settings, **changes)  # type: ignore[arg-type]


def values(settings: TrainConfig) -> np.ndarray:
    return np.array([json.loads(line)["label"] for line in Path(settings.data).read_text().splitlines()])


def error(folder: Path, settings: TrainConfig) -> float:
    """Mean squared error of a model's predictions."""
    return float(((Plait.from_pretrained(folder).predict(PAIRS) - values(settings)) ** 2).mean())


@pytest.mark.parametrize("compare", ["cosine", "maxsim"])
def test_values_that_rise_with_cosines_are_right_before_training(tmp_path: Path, compare: str) -> None:
    settings = config(tmp_path, compare)
    assert error(train(settings), settings) < 1e-8


def test_a_step_of_training_does_not_worsen(tmp_path: Path) -> None:
    settings = config(tmp_path, "cosine", noise=0.3)
    before = error(train(settings), settings)
    after = error(train(replace(settings, output=str(tmp_path / "one"), learning_rate=1e-4)), settings)
    assert 0.0 < after < before < 0.3**2


def test_it_fits_a_teachers_answers_where_labels_weigh_nothing(tmp_path: Path) -> None:
    teacher = small_checkpoint(tmp_path / "teacher", heads=("score",), seed=1)
    settings = config(tmp_path, "cosine", labels=0.0, teacher=str(teacher))
    found = Plait.from_pretrained(train(settings)).predict(PAIRS)
    wanted = Plait.from_pretrained(teacher).predict(PAIRS)
    assert found.mean() == pytest.approx(wanted.mean(), abs=1e-4)


def test_a_trained_comparison_goes_on_from_where_it_is(tmp_path: Path) -> None:
    settings = config(tmp_path, "cosine")
    model = Plait.from_pretrained(settings.model, plan=settings.score)
    model.save_pretrained(tmp_path / "trained")
    head = Plait.from_pretrained(train(replace(settings, model=str(tmp_path / "trained")))).heads["score"]
    assert isinstance(head, Compare) and head.begun
    assert head.scale.item() == pytest.approx(SCALE) and head.shift.item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("cosines", "values"),
    [([0.5, 0.5, 0.5], [1.0, 2.0, 3.0]), ([0.1, 0.5, 0.9], [3.0, 2.0, 1.0]), ([0.5], [1.0])],
    ids=["alike", "falling", "one"],
)
def test_where_no_line_rises_the_scale_stays(cosines: list[float], values: list[float]) -> None:
    head = Compare("cosine", 8, 1)
    head.begin(torch.tensor(cosines), torch.tensor(values))
    assert head.scale.item() == SCALE
    assert head.shift.item() == pytest.approx(np.mean(values) - SCALE * np.mean(cosines), abs=1e-5)
