"""Who may teach a task, and what it is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from plait.model import Plait
from tests.command import config, done, refused, run
from tests.copper import labelled
from tests.small import small_checkpoint


def test_a_teacher_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    labelled(tmp_path / "train.jsonl", "rank", 4, seed=1)
    other = small_checkpoint(tmp_path / "other", "roberta", heads=("score",))
    assert "must read the same tokens" in refused("train", config(tmp_path, task="rank", teacher=str(other)))


def test_any_pair_checkpoint_teaches_and_is_asked_once(tmp_path: Path) -> None:
    """An ordinary checkpoint, whose positions run on; its outputs are kept, and serve without it being asked."""
    labelled(tmp_path / "train.jsonl", "rank", 20, seed=1)
    teacher = small_checkpoint(tmp_path / "teacher", heads=("score",))
    changes: dict[str, object] = {
        "task": "rank", "teacher": str(teacher), "teacher_outputs": str(tmp_path / "kept"), "labels": 0.0,
        "listwise": 1.0, "score": "join=1,mode=oneway", "epochs": 2.0,
    }  # fmt: skip
    done("train", config(tmp_path, **changes))
    kept = sorted((tmp_path / "kept").rglob("*.safetensors"))
    times = [file.stat().st_mtime_ns for file in kept]
    assert kept
    done("train", config(tmp_path, **(changes | {"output": str(tmp_path / "again")})))
    assert sorted((tmp_path / "kept").rglob("*.safetensors")) == kept
    assert [file.stat().st_mtime_ns for file in kept] == times
    models = [Plait.from_pretrained(tmp_path / name / "final") for name in ("out", "again")]
    first, again = (model.predict([("river", "stone river")]) for model in models)
    assert first == pytest.approx(again, abs=1e-5)
    kept[0].write_bytes(b"cut")
    failed = run("train", config(tmp_path, **(changes | {"output": str(tmp_path / "third")})))
    assert failed.code == 1 and f"{kept[0]} is not" in failed.err and "Traceback" not in failed.err


def test_teachers_with_one_encoder_and_other_heads_are_kept_apart(tmp_path: Path) -> None:
    labelled(tmp_path / "train.jsonl", "rank", 10, seed=1)
    teacher = small_checkpoint(tmp_path / "teacher", heads=("score",))
    model = Plait.from_pretrained(teacher)
    with torch.no_grad():
        model.heads["score"].classifier.bias.add_(1.0)  # type: ignore[union-attr, operator]
    model.save_pretrained(tmp_path / "second")
    counts = []
    for number, path in enumerate((teacher, tmp_path / "second")):
        changes = {"teacher": str(path), "output": str(tmp_path / f"out{number}")}
        done("train", config(tmp_path, task="rank", epochs=1.0, teacher_outputs=str(tmp_path / "kept"), **changes))
        counts.append(len(list((tmp_path / "kept").rglob("*.safetensors"))))
    assert counts[1] == 2 * counts[0] > 0
