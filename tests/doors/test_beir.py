"""A BEIR folder is trained on, measured and swept."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from plait.metrics import example_metrics
from plait.mining import judged_lists
from tests.command import config, done, refused
from tests.copper import labelled


def collection(folder: Path) -> Path:
    """A BEIR folder: which of five passages speaks of copper, for each of some queries, in three splits."""
    rng = random.Random(3)
    words = ["river", "stone", "lantern", "winter", "garden", "music", "engine", "harbour"]
    corpus, queries = [], []
    qrels: dict[str, list[str]] = {"train": [], "dev": [], "test": []}
    for number in range(60):
        query = rng.choice(words)
        split = "dev" if number % 6 == 0 else "test" if number % 6 == 1 else "train"
        queries.append({"_id": f"q{number}", "text": f"{query} {words[number % 8]} number{number}"})
        for place in range(3):
            passage = [query, f"number{number}", *rng.sample(words, 2), "copper" if place == 0 else "winter"]
            corpus.append({"_id": f"d{number}-{place}", "title": "", "text": " ".join(passage)})
        qrels[split].append(f"q{number}\td{number}-0\t1")
    (folder / "qrels").mkdir(parents=True)
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for split, lines in qrels.items():
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(lines) + "\n")
    return folder


@pytest.mark.usefixtures("one_thread")
def test_a_beir_folder_is_trained_on_and_swept(tmp_path: Path) -> None:
    """Wrong candidates are what BM25 finds and nobody judged, or what a run names."""
    folder = collection(tmp_path / "beir")
    run = tmp_path / "run.trec"
    run.write_text(
        "".join(f"q{n} Q0 d{n}-{place} {place} {3.0 - place} bm25\n" for n in range(60) for place in range(3))
    )
    fields = {"task": "rank", "data": str(folder), "dev": str(folder), "score": "join=1", "epochs": 20.0, "longest": 24}
    done("train", config(tmp_path, **fields, run=str(run)))
    final = tmp_path / "out" / "final"
    card = (final / "README.md").read_text()
    assert "rr10" in card and "On the split `dev` of `beir`, which was not trained on" in card
    assert "the split `train` of `beir`" in card
    swept = ("sweep", final, folder, "--task", "rank", "--modes", "joint", "--known", 3, "--min-quality", 0, "--json")
    of_run, of_words = (json.loads(done(*swept, *more))["points"][1]["metrics"] for more in (("--run", run), ()))
    assert of_run["groups"] == of_words["groups"] == 10 and of_run["examples"] == 30 < of_words["examples"]
    assert of_run["rr10"] > 0.8  # by chance 0.6
    assert [e.label for e in judged_lists(folder, "test", str(run), depth=2)] == [1.0, 0.0] * 10
    found = [line for line in run.read_text().splitlines(keepends=True) if not line.startswith("q1 ")]
    run.write_text("".join(found) + "q1 Q0 d1-1 1 2.0 bm25\n")  # which misses what is relevant
    lists = judged_lists(folder, "test", str(run))
    assert [(e.id, e.label, e.found) for e in lists if e.group == "q1"] == [
        ("q1 d1-0", 1.0, False), ("q1 d1-1", 0.0, True)
    ]  # fmt: skip
    perfect = np.array([[float(e.label or 0)] for e in lists], np.float32)
    measured = example_metrics("rank", lists, perfect, ())
    assert measured["rr10"] == measured["ndcg10"] == pytest.approx(0.9)  # of ten queries one has nothing to find
    run.write_text(run.read_text() + "q1 Q0 nowhere 9 0.5 bm25\n")
    assert "a run must name documents of the corpus" in refused(*swept, "--run", run)
    run.write_text("q0 Q0 d0-1 1 2.0 bm25\n")
    assert "has none of 10 of the 10 of" in refused(*swept, "--run", run)
    pairs = labelled(tmp_path / "train.jsonl", "class", 20, seed=1)
    (tmp_path / "link.jsonl").symlink_to(pairs)
    for same in (pairs, f"{tmp_path}/beir/../train.jsonl", tmp_path / "link.jsonl"):
        assert "dev must be held out" in refused("train", config(tmp_path, task="class", dev=str(same)))
    assert "dev must be held out" in refused("train", config(tmp_path, **fields | {"task": "class"}))
    assert "dev must be held out" in refused("train", config(tmp_path, **fields, split="dev"))
    assert "split must be one of dev, test, train" in refused("train", config(tmp_path, **fields, split="all"))
    assert "texts and label are columns of a file" in refused("train", config(tmp_path, **fields, label="score"))


@pytest.mark.usefixtures("one_thread")
def test_columns_are_those_of_a_file_beside_a_beir_folder(tmp_path: Path) -> None:
    folder = collection(tmp_path / "beir")
    rows = [
        {"q": f"{word}?", "p": f"{word} {n}", "right": float(not n), "group": word}
        for word in ("river", "stone")
        for n in (0, 1)
    ]
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    fields = {"task": "rank", "data": str(data), "dev": str(folder), "texts": "q+p", "label": "right", "epochs": 1.0}
    done("train", config(tmp_path, **fields))
    assert "of `beir`" in (tmp_path / "out" / "final" / "README.md").read_text()
