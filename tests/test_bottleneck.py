"""A bottleneck begins as the principal components of what it will see."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from plait.bottleneck import Bottleneck
from plait.config import TrainConfig
from plait.model import Plait
from plait.training import train
from tests.small import small_checkpoint


@torch.no_grad()
def lost(bottleneck: Bottleneck, x: torch.Tensor) -> float:
    return float(((bottleneck(x) - x) ** 2).sum())


def bias(model: Plait) -> torch.Tensor:
    """What the bottleneck before layer 1 makes of nothing."""
    found = model.bottlenecks["1/8"]
    assert isinstance(found, Bottleneck)
    return found.up.bias


def test_it_loses_what_the_smallest_singular_values_say() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(200, 24)) @ random.normal(size=(24, 24)) + 3 * random.normal(size=24)
    least = float((np.linalg.svd(x - x.mean(0), compute_uv=False)[6:] ** 2).sum())
    made = Bottleneck(24, 6)
    states = torch.tensor(x, dtype=torch.float32)
    before = lost(made, states)
    made.begin(states)
    assert made.begun and np.isclose(lost(made, states), least, rtol=1e-4) and least < before / 2
    few = Bottleneck(24, 6)
    few.begin(states[:2])  # fewer states than numbers
    assert lost(few, states[:2]) < 1e-6


def test_training_begins_there_and_goes_on_from_what_it_trained(tmp_path: Path) -> None:
    """A new bottleneck of a model that is hardly trained loses the least of its own states; a trained one stays."""
    folder = small_checkpoint(tmp_path / "m", heads=())
    texts = ["the river of stone", "the garden in winter", "a letter of the queen", "music in the village"]
    rows = [{"query": q, "passage": p, "label": q == p} for q in texts for p in texts]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    plan = "join=1,mode=oneway,bottleneck=8"
    config = TrainConfig(
        model=str(folder), data=str(tmp_path / "pairs.jsonl"), output=str(tmp_path / "out"), task="class", score=plan,
        epochs=0.01, learning_rate=1e-9, bfloat16=False,
    )  # fmt: skip
    model = Plait.from_pretrained(train(config))
    with torch.no_grad():
        states = model.own(model.text.segments("passage", texts), ["states.1", "states.2"])
    for layer in (1, 2):
        x = states.tensors[f"states.{layer}"][: states.layout.used]
        centred = (x - x.mean(0)).numpy()
        least = float((np.linalg.svd(centred, compute_uv=False)[8:] ** 2).sum())
        bottleneck = model.bottlenecks[f"{layer}/8"]
        assert isinstance(bottleneck, Bottleneck) and bottleneck.begun and lost(bottleneck, x) < 1.1 * least
    kept = replace(config, score=f"{plan},keep.passage=3", output=str(tmp_path / "few"))
    few = Plait.from_pretrained(train(kept))
    with torch.no_grad():
        states = few.own(few.text.segments("passage", texts), ["states.1~coreset:3@1"])
    assert torch.allclose(bias(few), states.tensors["states.1~coreset:3@1"][:12].mean(0), atol=1e-5)
    changed = model.bottlenecks["1/8"]
    assert isinstance(changed, Bottleneck)
    with torch.no_grad():
        changed.down.weight.zero_()
    model.save_pretrained(tmp_path / "changed")
    again = replace(config, model=str(tmp_path / "changed"), output=str(tmp_path / "again"))
    same = Plait.from_pretrained(train(again)).bottlenecks["1/8"]
    assert isinstance(same, Bottleneck) and float(same.down.weight.detach().abs().max()) < 1e-3
