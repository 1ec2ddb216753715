"""Bottlenecks through the doors of a user: trained, stored, bound, searched by."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from plait.data import Document, Example
from plait.errors import PlaitError
from plait.index import Index
from plait.model import Plait
from plait.sweep import sweep
from tests.bound import saved_and_bound
from tests.command import config, done, refused
from tests.copper import labelled
from tests.small import small_checkpoint


def test_a_bottleneck_is_trained_stored_and_bound(tmp_path: Path) -> None:
    """What it makes narrower is what the store holds; other weights of it are another model."""
    folder, plan = small_checkpoint(tmp_path / "m", heads=("score",)), "join=1,mode=oneway,bottleneck=8"
    with pytest.raises(PlaitError, match="must have been trained with the checkpoint"):
        Plait.from_pretrained(folder, plan=plan)
    models = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        models.append(Plait.from_pretrained(folder, plan=plan, new_heads=("score",)))
    _, index = saved_and_bound(tmp_path, models, "int8")
    assert index.stats().bytes_per_token == 2 * (8 + 2)
    refusals = {
        "bottleneck=-1": "1 or more stored", "bottleneck=8,mode=oneway,states=kv": "needs states",
        "bottleneck=64": "no wider than the states of 32 numbers",
    }  # fmt: skip
    for wrong, why in refusals.items():
        with pytest.raises(PlaitError, match=why):
            Plait.from_pretrained(folder, plan=f"join=1,{wrong}", new_heads=("score",))


def test_a_bottleneck_is_of_one_join(tmp_path: Path) -> None:
    """Others would need ones that were never trained."""
    plan = "join=2,mode=oneway,bottleneck=8"
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "m", heads=("score",)), plan=plan, new_heads=["score"])
    examples = [Example(str(n), ("river", text), float(n)) for n, text in enumerate(("garden", "winter stone", "a"))]
    points = sweep(model, "value", examples, codecs=["int8", "int4"], known=3)
    assert [(point.plan, point.codec) for point in points] == [
        ("join=0,mode=joint", ""), (plan, "int8"), (plan, "int4")
    ]  # fmt: skip
    (tmp_path / "pairs.jsonl").write_text(
        "\n".join(json.dumps({"query": "river", "passage": "garden", "label": label}) for label in "aabb")
    )
    settings = {"task": "class", "elastic": "oneway", "score": plan, "data": str(tmp_path / "pairs.jsonl")}
    assert "its bottleneck of 8 was trained for join=2" in refused("train", config(tmp_path, **settings))


@pytest.mark.parametrize("known", ["known=passage", "known="])
def test_narrow_vectors_are_searched_by(tmp_path: Path, known: str) -> None:
    """Nothing need be known for texts to be compared; what is known has vectors as narrow as what is compared."""
    folder, plan = small_checkpoint(tmp_path / "m", heads=()), f"join=3,compare=cosine,bottleneck=8,{known}"
    model = Plait.from_pretrained(folder, plan=plan, new_heads=["score"])
    scores = model.predict([("river", "the garden of stone"), ("river", "winter")], activation_fn=lambda x: x)
    if known == "known=":
        return
    index = Index.create(tmp_path / "s.plait", model, name="", codec="float32", vectors="pooled")
    index.add([Document("a", "the garden of stone"), Document("b", "winter")])
    hits = {hit.document: hit.score for hit in index.rank("river", first_stage="vector").hits}
    assert hits == {"a": pytest.approx(scores[0], abs=1e-5), "b": pytest.approx(scores[1], abs=1e-5)}


def test_a_dual_encoder_of_narrow_vectors_keeps_its_width(tmp_path: Path) -> None:
    folder, plan = small_checkpoint(tmp_path / "m", heads=()), "join=3,compare=mlp,bottleneck=8"
    Plait.from_pretrained(folder, plan=plan, new_heads=["score"]).save_pretrained(tmp_path / "d")
    assert str(Plait.from_pretrained(tmp_path / "d").plan("score")).endswith("compare=mlp,bottleneck=8")
    with pytest.raises(PlaitError, match="must have compare=mlp of 8 numbers, as the checkpoint was trained, but has"):
        Plait.from_pretrained(tmp_path / "d", plan="join=3,compare=mlp")


def test_a_bottleneck_that_no_plan_reads_is_not_kept_through_a_training(tmp_path: Path) -> None:
    """It was fitted to a model that is another by then."""
    labelled(tmp_path / "train.jsonl", "value", 16, seed=1)
    narrow = "join=1,bottleneck=8"
    done("train", config(tmp_path, task="value", score=narrow))
    on = config(
        tmp_path, task="value", score="join=1", model=str(tmp_path / "out" / "final"), output=str(tmp_path / "b")
    )
    done("train", on)
    with pytest.raises(PlaitError, match="must have been trained with the checkpoint"):
        Plait.from_pretrained(tmp_path / "b" / "final", plan=narrow)
