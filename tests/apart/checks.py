"""What a model says on the second device is what it says on the CPU. Run by test_apart.py, in a process of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from plait import Index, Plait
from plait.config import TrainConfig
from plait.course import Course
from plait.data import Document
from plait.lessons import example_lessons
from plait.selection import SELECTORS
from plait.teacher import Teacher
from tests.apart.device import Apart
from tests.families.test_training import EXAMPLES
from tests.kinds import CLOSING, WRITING
from tests.small import small_checkpoint, small_families, small_writer
from tests.test_course import TEXTS, lesson_of

PAIRS = [("who", TEXTS[0]), ("what music", TEXTS[1]), ("whose garden of stone", TEXTS[2]), ("who", TEXTS[2])]
UNEVEN = ("mean", "norm")
"""Selectors that do not keep four tokens, or choose by rounding: small models' norms are alike."""
PLANS = [
    "join=0", "join=1", "join=0,positions=continue", "join=2,mode=oneway", "join=1,mode=oneway,states=hidden",
    "join=1,mode=frozen", "join=3,compare=cosine", "join=3,compare=maxsim", "join=1,bottleneck=8",
    *(f"join=1,mode=oneway,keep.passage=4,selector={selector}" for selector in SELECTORS if selector not in UNEVEN),
    "join=1,keep.passage=6@1+3@2,selector=attention", "join=0,keep.passage=0.5@1,keep.query=2@2,selector=nearest",
]  # fmt: skip


def both(folder: Path, plan: str | None = None) -> tuple[Plait, Plait]:
    """The same model on either device."""
    new = ("score",) if plan and ("bottleneck" in plan or "salien" in plan) else ()
    torch.manual_seed(0)
    here = Plait.from_pretrained(folder, plan=plan, new_heads=new, heads=("score",) if plan else ("score", "span"))
    torch.manual_seed(0)
    there = Plait.from_pretrained(folder, plan=plan, new_heads=new, heads=tuple(here.plans), device="apart")
    with torch.no_grad():
        for model in (here, there):
            for parameter in model.saliency.parameters():
                parameter.copy_(torch.randn(len(parameter), generator=torch.Generator().manual_seed(0)))
    assert all(isinstance(parameter, Apart) for parameter in there.parameters())
    return here, there


def test_devices_do_not_mix() -> None:
    with pytest.raises(RuntimeError, match="two devices"):
        torch.ones(3).to("apart") + torch.ones(3)
    with pytest.raises(RuntimeError, match="two devices"):
        torch.ones(3).to("apart").index_select(0, torch.zeros(1, dtype=torch.int64))


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan(tmp_path: Path, plan: str) -> None:
    here, there = both(small_checkpoint(tmp_path / "bert"), plan)
    assert there.predict(PAIRS) == pytest.approx(here.predict(PAIRS), abs=1e-5)


@pytest.mark.parametrize("model_type", small_families("score"))
def test_a_family(tmp_path: Path, model_type: str) -> None:
    roles = "passage+query" if model_type in CLOSING else "query+passage"
    folder = small_checkpoint(tmp_path / "m", model_type, heads=("score",))
    for plan in ("join=1", "join=2,mode=oneway"):
        here, there = both(folder, f"{plan},roles={roles},reader=query,known=passage")
        assert there.predict(PAIRS) == pytest.approx(here.predict(PAIRS), abs=1e-4)


@pytest.mark.parametrize("model_type", WRITING)
def test_a_writer(tmp_path: Path, model_type: str) -> None:
    folder = small_writer(model_type, tmp_path / "m")
    here, there = (Plait.from_pretrained(folder, plan="join=2", device=device) for device in ("cpu", "apart"))
    assert there.generate(PAIRS, max_new_tokens=6) == here.generate(PAIRS, max_new_tokens=6)
    assert there.generate(PAIRS, max_new_tokens=6, num_beams=2) == here.generate(PAIRS, max_new_tokens=6, num_beams=2)


@pytest.mark.parametrize("vectors", ["none", "pooled"])
def test_an_index(tmp_path: Path, vectors: Any, checkpoint_path: Path) -> None:
    here, there = both(checkpoint_path)
    indexes = [Index.create(tmp_path / model.device.type, model, vectors=vectors) for model in (here, there)]
    for index in indexes:
        index.add([Document(str(i), text) for i, text in enumerate(TEXTS)])
    first: Any = "all" if vectors == "none" else "vector"
    ranked, again = (index.rank("who built the bridge", first_stage=first) for index in indexes)
    assert [hit.id for hit in again.hits] == [hit.id for hit in ranked.hits]
    assert [hit.score for hit in again.hits] == pytest.approx([hit.score for hit in ranked.hits], abs=1e-4)
    asked, more = (index.ask("who built the bridge", first_stage=first).answers[0] for index in indexes)
    assert (more.hit.id, more.start, more.end) == (
        asked.hit.id,
        asked.start,
        asked.end,
    ) and more.score == pytest.approx(asked.score, abs=1e-4)
    opened = Index.open(tmp_path / "cpu", device="apart").rank("who built the bridge", first_stage=first)
    assert [hit.score for hit in opened.hits] == pytest.approx([hit.score for hit in ranked.hits], abs=1e-4)
    known, same = (model.read(" ".join(TEXTS)).ask("who built the bridge") for model in (here, there))
    assert (same.answer, same.start) == (known.answer, known.start)


@pytest.mark.parametrize("plan", ["join=1", "join=2,mode=oneway", "join=1,keep.passage=4,selector=nearest"])
def test_a_step_of_training(tmp_path: Path, plan: str) -> None:
    """The same loss and the same gradients, with a teacher on the CPU."""
    models = both(small_checkpoint(tmp_path / "bert"), plan)
    config = TrainConfig(model="m", data="d", output="o", task="value", score=plan, dropout=0.0, bfloat16=False)
    gradients = []
    for model in models:
        [lesson] = example_lessons("value", EXAMPLES, model.text)
        teacher = Teacher(Plait.from_pretrained(tmp_path / "bert", plan="join=0"), model.plans, model.text, None)
        loss = Course(model, teacher, replace(config, distillation=1.0))(lesson)["loss"]
        loss.backward()
        gradients.append(
            [
                float(loss.detach().cpu()),
                *(float(p.grad.abs().sum().cpu()) for p in model.base.parameters() if p.grad is not None),
            ]
        )
    assert gradients[1] == pytest.approx(gradients[0], rel=1e-3, abs=1e-4)


def test_a_step_of_training_on_questions(checkpoint_path: Path) -> None:
    config = TrainConfig(model="", data="", output="", bfloat16=False, ranking=2.0)
    losses = [
        float(Course(model, None, config)(lesson_of(model))["loss"].detach().cpu()) for model in both(checkpoint_path)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
