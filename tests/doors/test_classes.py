"""Classes: by their names, of the checkpoint's or of the data, in every door."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from plait.config import TrainConfig
from plait.data import read_examples
from plait.errors import DataWarning
from plait.evaluate import example_quality
from plait.model import Plait
from plait.training import train
from tests.command import config, done, refused
from tests.copper import labelled
from tests.small import small_checkpoint


def test_classes_are_the_checkpoints_where_it_knows_them(tmp_path: Path) -> None:
    labelled(tmp_path / "train.jsonl", "class", 40, seed=1)
    done("train", config(tmp_path, task="class", epochs=1.0))
    assert Plait.from_pretrained(tmp_path / "out" / "final").config.id2label == {0: "no", 1: "yes"}
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('["river", "stone river"]\n')
    assert json.loads(done("predict", tmp_path / "out" / "final", pairs))["label"] in ("no", "yes")


def test_a_label_outside_the_models_classes(tmp_path: Path) -> None:
    model = small_checkpoint(tmp_path / "model", heads=("score",), num_labels=2, plans={"score": "join=1"})
    data = labelled(tmp_path / "dev.jsonl", "class", 4, seed=1)
    assert "a label must be one of the model's" in refused("sweep", model, data, "--task", "class")


def swapped(folder: Path, target: Path) -> Path:
    """The same model with its two classes the other way round."""
    model = Plait.from_pretrained(folder)
    head: Any = model.heads["score"].classifier
    with torch.no_grad():
        head.weight.copy_(head.weight.flip(0))
        head.bias.copy_(head.bias.flip(0))
    names = [model.config.id2label[i] for i in (1, 0)]
    model.config.id2label = dict(enumerate(names))
    model.config.label2id = {name: i for i, name in enumerate(names)}
    model.save_pretrained(target)
    return target


def test_classes_are_told_by_their_names(tmp_path: Path) -> None:
    """A teacher whose classes are numbered otherwise teaches the same; so does a start from it."""
    labelled(tmp_path / "train.jsonl", "class", 200, seed=1)
    held_out = read_examples(labelled(tmp_path / "dev.jsonl", "class", 60, seed=2))
    done("train", config(tmp_path, task="class", score="join=0"))
    first = tmp_path / "out" / "final"
    other = swapped(first, tmp_path / "other")
    assert example_quality(Plait.from_pretrained(other), "class", held_out)["accuracy"] > 80
    for name, changes in {
        "taught": {"teacher": str(other), "labels": 0.0},
        "continued": {"model": str(other), "epochs": 1.0, "learning_rate": 1e-6},
    }.items():
        done("train", config(tmp_path, task="class", output=str(tmp_path / name), **changes))
        found = Plait.from_pretrained(tmp_path / name / "final")
        assert found.config.id2label == {0: "yes", 1: "no"}
        assert example_quality(found, "class", held_out)["accuracy"] > 80
    both = config(
        tmp_path, task="class", output=str(tmp_path / "both"), model=str(first), teacher=str(other), epochs=1.0
    )
    with pytest.warns(DataWarning, match="takes its place, untrained"):
        train(TrainConfig.read(both))


def test_unlabelled_and_one_sided_classes(tmp_path: Path) -> None:
    data = tmp_path / "train.jsonl"
    data.write_text('{"query": "a", "passage": "b"}\n')
    assert "needs a label" in refused("train", config(tmp_path, task="class"))
    data.write_text('{"query": "a", "passage": "b", "label": "yes"}\n')
    assert "needs two classes or more" in refused("train", config(tmp_path, task="class"))
