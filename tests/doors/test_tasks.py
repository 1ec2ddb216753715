"""`plait train` and `plait sweep` on every task: a small model learns something that can be learned, at every join."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from plait.config import TrainConfig
from plait.data import Example, Question, read_examples
from plait.errors import DataWarning, PlaitError
from plait.evaluate import example_quality, raw_scores
from plait.lessons import example_lessons
from plait.metrics import answer_metrics, example_metrics
from plait.model import Plait
from plait.plan import Plan
from plait.tasks import Lists
from plait.training import train
from tests.command import config, done, refused, run
from tests.copper import labelled
from tests.small import small_checkpoint

CHANCE = {"class": 60.0, "value": 20.0, "rank": 0.75, "choice": 50.0}
MAIN = {"class": "accuracy", "value": "spearman", "rank": "rr10", "choice": "accuracy"}


@pytest.mark.parametrize("task", list(CHANCE))
def test_a_model_learns_every_task_and_is_swept(tmp_path: Path, task: str) -> None:
    """Lists are learned by an elastic model, which holds at every join; it takes three times as long."""
    elastic = task == "rank"
    labelled(tmp_path / "train.jsonl", task, 200, seed=1)
    held_out = labelled(tmp_path / "dev.jsonl", task, 60, seed=2)
    plan = "join=2,mode=oneway"
    done("train", config(tmp_path, task=task, elastic="joint+oneway" * elastic, score=plan, dev=str(held_out)))
    final = tmp_path / "out" / "final"
    examples = read_examples(held_out)
    card = (final / "README.md").read_text()
    measured = example_quality(Plait.from_pretrained(final), task, examples)
    assert f"| {' | '.join(measured)} |" in card and f"| `score` | `{plan}` |" in card
    assert f"| this model | {' | '.join(f'{value:.4g}' for value in measured.values())} |" in card
    assert tomllib.loads(card.split("```toml")[1].split("```")[0])["score"] == plan
    for other in ("join=0", "join=1", plan)[0 if elastic else 2 :]:
        found = example_quality(Plait.from_pretrained(final, plan=other), task, examples)
        assert found[MAIN[task]] > CHANCE[task], (other, found)
    facts = json.loads(done("evaluate", final, held_out, "--task", task, "--plan", plan, "--json"))
    assert facts["quality"] == pytest.approx(measured, abs=0.5) and facts["plans"] == {"score": plan}
    assert f"{MAIN[task]}  " in done("evaluate", final, held_out, "--task", task, "--limit", 30)
    swept = tmp_path / "sweep"
    said = done("sweep", final, held_out, "--task", task, "--out", swept, "--known", 5, "--min-quality", 0,
                "--keep", "3", "--selectors", "first+coreset", "--codecs", "bfloat16+int8")  # fmt: skip
    rows = [json.loads(line) for line in (swept / "rows.jsonl").read_text().splitlines()]
    assert [(row["plan"], row["codec"]) for row in rows] == [("join=0,mode=joint", "")] + [
        (f"join={join},mode={mode}{keep}", codec)
        for mode in ("joint", "oneway")
        for keep in ("", ",keep.passage=3,selector=first", ",keep.passage=3")
        for join in (1, 2)
        for codec in ("bfloat16", "int8")
    ]
    assert rows[0]["flops"] > rows[1]["flops"] > rows[3]["flops"] and all(row["ms"] > 0 for row in rows)
    assert rows[5]["flops"] < rows[1]["flops"] and rows[6]["bytes"] == 3 * (34 + 4) < rows[5]["bytes"] == 3 * (64 + 4)
    least = min((row for row in rows if row["quality"] >= 0), key=lambda row: (row["flops"], -row["join"]))
    chosen = min((row for row in rows if row["plan"] == least["plan"]), key=lambda row: row["bytes"])
    stored = f", stored as {chosen['codec']}" if chosen["codec"] else ""
    assert said.splitlines()[-1] == f"chosen: {chosen['plan']}{stored}"
    assert f"**{chosen['plan']}**" in (swept / "table.md").read_text()
    assert (swept / "chart.png").read_bytes().startswith(b"\x89PNG")
    assert "but none has; the best has" in refused("sweep", final, held_out, "--task", task, "--max-ms", 1e-6)


def test_a_config_may_be_written_in_python(tmp_path: Path) -> None:
    """With paths and plans as they are there; a value of a wrong type is told before the work."""
    data = labelled(tmp_path / "train.jsonl", "class", 8, seed=1)
    start = small_checkpoint(tmp_path / "start", heads=())
    said: Any = {"model": start, "data": data, "output": tmp_path / "out", "task": "class", "score": Plan(join=1)}
    final = train(TrainConfig(**said, dev=str(labelled(tmp_path / "dev.jsonl", "class", 8, seed=2)), bfloat16=False))
    assert Plait.from_pretrained(final).plan("score").join == 1 and (final / "README.md").exists()
    for key, value in {"epochs": "1", "batch": 8.0, "data": 3}.items():
        with pytest.raises(PlaitError, match=f"{key} of a training must be of type"):
            TrainConfig(**{**said, key: value})


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
    failed = run("train", config(tmp_path, task=task))
    assert failed.code == 1 and words in failed.err and "Traceback" not in failed.err


def test_a_loss_that_is_no_number(tmp_path: Path) -> None:
    labelled(tmp_path / "train.jsonl", "value", 10, seed=1)
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "bad", heads=("score",)))
    with torch.no_grad():
        next(model.parameters()).mul_(float("inf"))
    model.save_pretrained(tmp_path / "bad")
    failed = run("train", config(tmp_path, task="value", model=str(tmp_path / "bad")))
    assert failed.code == 1 and "must be a finite number" in failed.err and "Traceback" not in failed.err


def test_several_processes_and_curves(tmp_path: Path) -> None:
    """Two processes, as `accelerate launch` starts them for several GPUs, on this machine's processor; gradients of two
    batches summed.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    labelled(tmp_path / "train.jsonl", "class", 200, seed=1)
    path = config(tmp_path, task="class", score="join=1", accumulate=2, tensorboard=True, epochs=30.0, batch=20)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "plait", "train", str(path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(launch, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    state = json.loads(next((tmp_path / "out").glob("checkpoint-*/trainer_state.json")).read_text())
    assert state["global_step"] == 3 * 30  # ten batches, five a process, two a step and the last alone
    [events] = (tmp_path / "out" / "runs").rglob("events.*")
    curves = EventAccumulator(str(events))
    curves.Reload()
    losses = [event.value for event in curves.Scalars("train/loss")]
    assert losses[-1] < losses[0]
    held_out = labelled(tmp_path / "dev.jsonl", "class", 60, seed=2)
    found = example_quality(Plait.from_pretrained(tmp_path / "out" / "final"), "class", read_examples(held_out))
    assert found["accuracy"] > CHANCE["class"]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("step", "drawn"),
    [
        (4, {"elastic": "joint+oneway", "score": "join=1"}),
        (5, {"elastic": "joint+oneway", "score": "join=1"}),
        (4, {"budgets": "all+6+3", "score": "join=1,keep.passage=4"}),
    ],
)
def test_a_stopped_training_that_draws_its_plans_ends_equal(tmp_path: Path, step: int, drawn: dict[str, str]) -> None:
    """Also where batches are no multiple of what is averaged: what is drawn depends on all batches before."""
    labelled(tmp_path / "train.jsonl", "class", 100, seed=1)
    changes: dict[str, object] = {
        "task": "class", "batch": 20, "accumulate": 2, "epochs": 2.0, "save_steps": step, **drawn,
    }  # fmt: skip
    train(TrainConfig.read(config(tmp_path, **changes)))
    expected = Plait.from_pretrained(tmp_path / "out" / "final").state_dict()
    shutil.rmtree(tmp_path / "out" / "final")
    shutil.rmtree(tmp_path / "out" / "checkpoint-6")  # as if it had been stopped after `step`
    train(TrainConfig.read(config(tmp_path, **changes)), resume=True)
    found = Plait.from_pretrained(tmp_path / "out" / "final").state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    (tmp_path / "train.jsonl").write_text((tmp_path / "train.jsonl").read_text().replace("stone", "sand"))
    with pytest.raises(PlaitError, match="contents of data was"):
        train(TrainConfig.read(config(tmp_path, **changes)), resume=True)


def test_equal_scores_are_no_success() -> None:
    examples = [Example(str(i), ("river", "stone"), float(i % 3 == 0), f"q{i // 3}") for i in range(9)]
    flat = np.zeros((9, 1), np.float32)
    found = example_metrics("rank", examples, flat, ())
    assert found["rr10"] == pytest.approx(1 / 3) and found["ndcg10"] == pytest.approx(0.5)
    assert example_metrics("choice", examples, flat, ())["accuracy"] == 0
    with pytest.raises(PlaitError, match="must be finite numbers"):
        example_metrics("rank", examples, flat * np.nan, ())


def test_groups_in_which_nothing_can_be_found_do_not_count() -> None:
    labels = [0.1, 0.5, 1.0, 0.0, 0.0, 0.0]
    examples = [Example(str(i), ("river", "stone"), label, f"q{i // 3}") for i, label in enumerate(labels)]
    right, wrong = (np.array([[s] for s in scores], np.float32) for scores in ([1, 2, 3, 1, 2, 3], [3, 2, 1, 3, 2, 1]))
    with pytest.warns(DataWarning, match="1 of 2 groups have no right candidate, and are left out"):
        found = example_metrics("rank", examples, right, ())
    assert found == {"rr10": 1.0, "ndcg10": pytest.approx(1.0), "groups": 1, "examples": 6}
    with pytest.warns(DataWarning):
        gains = np.array([0.1, 0.5, 1.0]) / np.log2([2, 3, 4])
        best = np.array([1.0, 0.5, 0.1]) / np.log2([2, 3, 4])
        assert example_metrics("rank", examples, wrong, ())["ndcg10"] == pytest.approx(gains.sum() / best.sum())


def test_what_is_measured_must_be_measurable(tmp_path: Path) -> None:
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "m", heads=("score",)))
    alone = [Example(str(i), (f"river {i}", "stone"), float(i)) for i in range(2)]
    with pytest.raises(PlaitError, match="must have one right and some wrong options, but 'river 0' has 0 right and 1"):
        example_quality(model, "choice", alone)
    many = [*alone, Example("row-3", ("a", "b", "c"), 1.0)]
    with pytest.raises(PlaitError, match=r"at most 2 texts .* but example row-3 has 3"):
        example_quality(model, "value", many)
    with pytest.raises(PlaitError, match=r"a question must have an answer to be measured by, .* but q has none"):
        answer_metrics([("river", Question("q", "who", "a/0", "A river.", ()))])


def test_values_are_measured_as_predict_answers_them(tmp_path: Path) -> None:
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "m", heads=("score",)))
    pairs = [("river", "stone"), ("garden", "winter music"), ("a letter", "the queen"), ("silver", "copper")]
    values = model.predict(pairs)
    examples = [Example(str(i), pair, float(v)) for i, (pair, v) in enumerate(zip(pairs, values, strict=True))]
    assert example_quality(model, "value", examples)["pearson"] == pytest.approx(100, abs=1e-4)


def test_examples_without_groups_belong_to_their_first_text(tmp_path: Path) -> None:
    text = Plait.from_pretrained(small_checkpoint(tmp_path / "m", heads=("score",))).text
    examples = [Example(f"{q}{i}", (q, f"stone {q} {i}"), float(i == 0)) for q in ("river", "music") for i in range(3)]
    [lesson] = example_lessons("rank", examples, text)
    lists = lesson.targets[0]
    assert isinstance(lists, Lists) and list(lists.lengths) == [3, 3]
    queries = lists.examples[:, 0].split(3)
    assert all(len(set(rows.tolist())) == 1 for rows in queries) and queries[0][0] != queries[1][0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learning_rate": -1.0}, "learning_rate must be between"),
        ({"epochs": -3.0}, "epochs must be between"),
        ({"seed": -1}, "seed must be between"),
        ({"dropout": 2.0}, "dropout must be between"),
        ({"temperature": 0.0, "teacher": "{model}"}, "temperature must be between"),
        ({"dev": "{data}"}, "dev must be held out"),
        ({"teacher": "{model}", "distillation": 0.0}, "a teacher must have a say"),
        ({"score": "join=1,roles=a+b+c"}, "every role must have a text"),
        ({"task": "rank", "run": "nowhere.trec"}, "a run names documents of a BEIR folder"),
        ({"task": "rank", "split": "dev"}, "split is heeded where data is a BEIR folder"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_numbers_and_names_that_cannot_be(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    data = labelled(tmp_path / "train.jsonl", "class", 40, seed=1)
    places = {"{data}": str(data), "{model}": str(tmp_path / "start")}
    given = {key: places.get(value, value) if isinstance(value, str) else value for key, value in changes.items()}
    found = run("train", config(tmp_path, **({"task": "class"} | given)))
    assert found.code == 1 and words in found.err and "Traceback" not in found.err, found.err


def test_values_are_predicted_as_they_are(tmp_path: Path) -> None:
    labelled(tmp_path / "train.jsonl", "value", 100, seed=1)
    done("train", config(tmp_path, task="value"))
    model = Plait.from_pretrained(tmp_path / "out" / "final")
    pair = [("river", "copper stone")]
    assert model.predict(pair) == pytest.approx(raw_scores(model, pair)[:, 0])


@pytest.mark.parametrize("model_type", ["distilbert", "albert"])
def test_families_with_adapters_of_their_own_learn(tmp_path: Path, model_type: str) -> None:
    """A new score head of other modules than BERT's, from a teacher's scores, states and pooled output."""
    labelled(tmp_path / "train.jsonl", "rank", 24, seed=1)
    teacher = small_checkpoint(tmp_path / "teacher", model_type, heads=("score",))
    start = small_checkpoint(tmp_path / "small", model_type, heads=())
    changes = {"task": "rank", "model": str(start), "teacher": str(teacher), "score": "join=1,mode=oneway"}
    done("train", config(tmp_path, **changes, labels=0.0, representation=1.0, dropout=0.1, bfloat16=True, epochs=2.0))
    final = tmp_path / "out" / "final"
    model = Plait.from_pretrained(final, plan="join=0,positions=continue")
    tokenizer, theirs = AutoTokenizer.from_pretrained(final), AutoModelForSequenceClassification.from_pretrained(final)
    with torch.no_grad():
        expected = theirs.eval()(**tokenizer("river", "stone river", return_tensors="pt")).logits[0]
    np.testing.assert_allclose(
        model.predict([("river", "stone river")], activation_fn=lambda x: x), expected, atol=1e-5
    )


def test_a_pair_that_lacks_a_text_is_refused_before_training(tmp_path: Path) -> None:
    """Also where it is measured alone."""
    path = tmp_path / "train.jsonl"
    rows = [{"texts": ["river", "stone"], "label": 1.0}, {"texts": ["river"], "label": 0.0}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "must have both, but example 2 has one text" in refused(
        "train", config(tmp_path, task="value", score="join=1", texts="texts")
    )
    model = small_checkpoint(tmp_path / "m", heads=("score",))
    said = refused("sweep", model, path, "--task", "value", "--texts", "texts")
    assert "must have both, but example 2 has one text" in said


def test_a_file_of_single_texts_needs_a_plan_of_them(tmp_path: Path) -> None:
    """Which the refusal names."""
    path = tmp_path / "texts.jsonl"
    rows = [{"text": word, "label": float(n)} for n, word in enumerate(("river", "stone", "garden"))]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"task": "value", "texts": "text", "epochs": 1.0, "data": str(path)}
    said = "a plan of query and passage needs examples of two texts, but none of the 3 has two; give a plan of "
    said += "single texts, such as join=0,roles=text"
    assert said in refused("train", config(tmp_path, **settings, score="join=1"))
    sweeping = ("sweep", small_checkpoint(tmp_path / "m", heads=("score",)), path, "--task", "value", "--texts", "text")
    assert said == refused(*sweeping)
    for option, value, why in (
        ("--min-quality", 99, "must be a share between 0 and 1, but is 99"), ("--min-quality", "nan", "but is nan"),
        ("--max-ms", -1, "--max-ms must be 0 or more"), ("--max-bytes", -5, "--max-bytes must be 0 or more"),
    ):  # fmt: skip
        assert why in refused(*sweeping, "--plan", "join=0,roles=text", option, value)
    for command in (
        ("sweep", sweeping[1], path),
        ("evaluate", sweeping[1], path),
        ("train", config(tmp_path, data=str(path), task="qa")),
    ):
        assert "as SQuAD, but has" in refused(*command)
    done("train", config(tmp_path, **settings, score="join=0,roles=text"))
    assert "of full" in done(*sweeping, "--plan", "join=0,roles=text", "--known", 2, "--min-quality", 0)
