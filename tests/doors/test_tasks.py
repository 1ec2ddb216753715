"""`plait train` and `plait sweep` on every task: a small model learns something that can be learned, at every join."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from plait.data import read_examples
from plait.evaluate import example_quality
from plait.model import Plait
from tests.command import done, refused, run
from tests.small import small_checkpoint

WORDS = ["river", "stone", "lantern", "winter", "garden", "music", "engine"]


def write(path: Path, task: str, count: int, seed: int) -> Path:
    """Whether the passage speaks of copper, as the labels of a task: what a very small model can learn."""
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        for option in range(3 if task in ("rank", "choice") else 1):
            right = option == 0 if task in ("rank", "choice") else rng.random() < 0.5
            passage = [*rng.sample(WORDS, 2), "copper" if right else rng.choice(WORDS)]
            rng.shuffle(passage)
            label: object = ("yes" if right else "no") if task == "class" else float(right)
            row = {"query": rng.choice(WORDS), "passage": " ".join(passage), "label": label}
            rows.append(row | ({"group": f"q{number}"} if task in ("rank", "choice") else {}))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def config(folder: Path, **changes: object) -> Path:
    fields: dict[str, object] = {
        "model": str(small_checkpoint(folder / "start", heads=())), "data": str(folder / "train.jsonl"),
        "output": str(folder / "out"), "epochs": 8.0, "learning_rate": 3e-3, "batch": 32, "save_steps": 1000,
        "freeze_embeddings": False, "bfloat16": False,
    } | changes  # fmt: skip
    path = folder / "config.toml"
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items()))
    return path


CHANCE = {"class": 60.0, "value": 20.0, "rank": 0.75, "choice": 50.0}
MAIN = {"class": "accuracy", "value": "spearman", "rank": "rr10", "choice": "accuracy"}


@pytest.mark.parametrize("task", list(CHANCE))
def test_an_elastic_model_learns_at_every_join_and_is_swept(tmp_path: Path, task: str) -> None:
    write(tmp_path / "train.jsonl", task, 200, seed=1)
    held_out = write(tmp_path / "dev.jsonl", task, 60, seed=2)
    plan = "join=2,mode=oneway"
    done("train", config(tmp_path, task=task, elastic="joint+oneway", score=plan, dev=str(held_out)))
    final = tmp_path / "out" / "final"
    examples = read_examples(held_out)
    card = (final / "README.md").read_text()
    measured = example_quality(Plait.from_pretrained(final), task, examples)  # type: ignore[arg-type]
    assert f"| {' | '.join(measured)} |" in card and f"| `score` | `{plan}` |" in card
    assert f"| this model | {' | '.join(f'{value:.4g}' for value in measured.values())} |" in card
    assert tomllib.loads(card.split("```toml")[1].split("```")[0])["score"] == plan
    for plan in ("join=0", "join=1", "join=2,mode=oneway"):
        found = example_quality(Plait.from_pretrained(final, plan=plan), task, examples)  # type: ignore[arg-type]
        assert found[MAIN[task]] > CHANCE[task], (plan, found)
    swept = tmp_path / "sweep"
    said = done("sweep", final, held_out, "--task", task, "--out", swept, "--known", 5, "--min-quality", 0.5)
    rows = [json.loads(line) for line in (swept / "rows.jsonl").read_text().splitlines()]
    assert [row["plan"] for row in rows] == [
        "join=0,mode=joint", "join=1,mode=joint", "join=2,mode=joint", "join=1,mode=oneway", "join=2,mode=oneway",
    ]  # fmt: skip
    assert rows[0]["flops"] > rows[1]["flops"] > rows[2]["flops"] and all(row["ms"] > 0 for row in rows)
    chosen = min((row for row in rows if row["quality"] >= 0.5 * rows[0]["quality"]), key=lambda row: row["flops"])
    assert said.splitlines()[-1] == f"chosen: {chosen['plan']}"
    assert f"**{chosen['plan']}**" in (swept / "table.md").read_text()
    assert (swept / "chart.png").read_bytes().startswith(b"\x89PNG")
    assert "but none has; the best has" in refused("sweep", final, held_out, "--task", task, "--max-bytes", 1)


def test_classes_are_the_checkpoints_where_it_knows_them(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", "class", 40, seed=1)
    done("train", config(tmp_path, task="class", epochs=1.0))
    assert Plait.from_pretrained(tmp_path / "out" / "final").config.id2label == {0: "no", 1: "yes"}
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('["river", "stone river"]\n')
    assert json.loads(done("predict", tmp_path / "out" / "final", pairs))["label"] in ("no", "yes")


def test_a_teacher_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", "rank", 4, seed=1)
    other = small_checkpoint(tmp_path / "other", "roberta", heads=("score",))
    assert "must read the same tokens" in refused("train", config(tmp_path, task="rank", teacher=str(other)))


def test_any_pair_checkpoint_teaches_and_is_asked_once(tmp_path: Path) -> None:
    """An ordinary checkpoint, whose positions run on; its outputs are kept, and serve without it being asked."""
    write(tmp_path / "train.jsonl", "rank", 20, seed=1)
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


@pytest.mark.parametrize(
    ("task", "line", "words"),
    [
        ("value", {"query": "a", "passage": "b", "label": "far"}, "needs a number"),
        ("choice", {"query": "a", "passage": "b", "label": 0.0, "group": "q"}, "one right and some wrong options"),
        ("rank", {"query": "a", "passage": "b", "label": 1.0, "group": "q"}, "a right and a wrong candidate"),
        ("guess", {"query": "a", "passage": "b", "label": 1.0}, "task must be one of"),
    ],
)
def test_data_that_a_task_cannot_have(tmp_path: Path, task: str, line: dict[str, object], words: str) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps(line) + "\n")
    assert words in refused("train", config(tmp_path, task=task))


def test_a_label_outside_the_models_classes(tmp_path: Path) -> None:
    model = small_checkpoint(tmp_path / "model", heads=("score",), num_labels=2, plans={"score": "join=1"})
    data = write(tmp_path / "dev.jsonl", "class", 4, seed=1)
    assert "a label must be one of the model's" in refused("sweep", model, data, "--task", "class")


def test_several_processes_and_curves(tmp_path: Path) -> None:
    """Two processes, as `accelerate launch` starts them for several GPUs, on this machine's processor; gradients of two
    batches summed.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write(tmp_path / "train.jsonl", "class", 200, seed=1)
    path = config(tmp_path, task="class", score="join=1", accumulate=2, tensorboard=True, epochs=30.0, batch=20)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "plait", "train", str(path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(launch, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    state = json.loads(next((tmp_path / "out").glob("checkpoint-*/trainer_state.json")).read_text())
    assert state["global_step"] == round(10 * 30 / 4)  # ten batches, two processes, two batches a step
    [events] = (tmp_path / "out" / "runs").rglob("events.*")
    curves = EventAccumulator(str(events))
    curves.Reload()
    losses = [event.value for event in curves.Scalars("train/loss")]
    assert losses[-1] < losses[0]
    held_out = write(tmp_path / "dev.jsonl", "class", 60, seed=2)
    found = example_quality(Plait.from_pretrained(tmp_path / "out" / "final"), "class", read_examples(held_out))
    assert found["accuracy"] > CHANCE["class"]
