"""Budgets of tokens through the doors of a user: trained, saved, stored, swept."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from plait.data import read_examples
from plait.errors import PlaitError
from plait.evaluate import example_quality
from plait.index import Index
from plait.model import Plait
from tests.command import config, done, refused, run
from tests.copper import WORDS, write
from tests.small import small_checkpoint

ONE_THREAD = pytest.mark.usefixtures("one_thread")


@ONE_THREAD
def test_single_texts_are_pyramid_berts_own_case(tmp_path: Path) -> None:
    """One role, fewer tokens in every layer, classes: learned, saved, predicted from Python and the command."""
    write(tmp_path / "pairs.jsonl", "class", 150, seed=1)
    rows = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    lines = [json.dumps({"text": row["passage"], "label": row["label"]}) + "\n" for row in rows]
    (tmp_path / "train.jsonl").write_text("".join(lines[:240]))
    (tmp_path / "dev.jsonl").write_text("".join(lines[240:]))
    plans = {"whole": "join=0,roles=text", "out": "join=0,roles=text,keep.text=0.7^2"}
    for name, plan in plans.items():
        done("train", config(tmp_path, task="class", texts="text", score=plan, output=str(tmp_path / name)))
    model, whole = (Plait.from_pretrained(tmp_path / name / "final") for name in ("out", "whole"))
    assert model.fingerprint["model"] != whole.fingerprint["model"]  # budgets are in the training too
    examples = read_examples(tmp_path / "dev.jsonl", texts=["text"])
    assert example_quality(model, "class", examples)["accuracy"] > 80
    texts = [example.texts[0] for example in examples[:5]]
    scores = model.predict(texts)
    assert scores.shape == (5, 2)
    np.testing.assert_allclose(model.predict(texts[0]), scores[0], atol=1e-5)
    np.testing.assert_allclose(model.predict([(text,) for text in texts]), scores, atol=1e-5)
    said = [
        json.loads(line) for line in done("predict", tmp_path / "out" / "final", tmp_path / "dev.jsonl").splitlines()
    ]
    assert [row["texts"] for row in said[:5]] == [[text] for text in texts]
    assert [row["label"] for row in said[:5]] == [["no", "yes"][int(score.argmax())] for score in scores]
    (tmp_path / "some.tsv").write_text("text\tlabel\nriver\t-\nstone\tyes\nmusic\n")  # a line for every row, or none
    assert "line 4 must have 2 cells" in refused("predict", tmp_path / "out" / "final", tmp_path / "some.tsv")
    (tmp_path / "some.tsv").write_text("text\tlabel\nriver\t-\nstone\tyes\n")
    assert len(done("predict", tmp_path / "out" / "final", tmp_path / "some.tsv").splitlines()) == 2


def test_budgets_are_seen_in_plan_store_and_fingerprint(tmp_path: Path) -> None:
    plans = {"score": "join=1,mode=oneway,keep.passage=8"}
    folder = small_checkpoint(tmp_path / "m", heads=("score",), plans=plans)
    said = done("plan", folder, "--plan", "join=1,mode=oneway,keep.passage=8", "--lengths", "query=5,passage=40")
    assert "keeps coreset:8" in said and "states.1~coreset:8@1" in said
    docs = tmp_path / "docs.jsonl"
    docs.write_text(
        "".join(json.dumps({"id": str(i), "text": "river stone music " * (i + 4)}) + "\n" for i in range(9))
    )
    store = tmp_path / "s.plait"
    done("index", docs, "--store", store, "--model", folder, "--codec", "float32")
    tokens = Index.open(store).stats()
    assert tokens.state_bytes == 9 * 8 * (32 * 2 + 1) * 4 < tokens.tokens * 32 * 4 * 2
    assert "passages are whole" in done("verify", store)
    other = Plait.from_pretrained(folder, plan="join=1,mode=oneway,keep.passage=7")
    with pytest.raises(PlaitError, match=r"plan \("):
        Index.open(store, other)


def test_budgets_one_after_the_other_have_gradients(tmp_path: Path) -> None:
    """32 passages of 11 tokens keep 8 each: 256 tokens fill a rounded layout to the last."""
    rows = [
        {"query": "river", "passage": " ".join([*WORDS, "copper", "who"]), "label": float(i % 3)} for i in range(64)
    ]
    for i, row in enumerate(rows):
        row["query"], row["passage"] = WORDS[i % 8], f"{WORDS[i // 8]} {row['passage']}"
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = "join=2,mode=oneway,keep.passage=8@1+4@2"
    done("train", config(tmp_path, task="value", score=plan, epochs=1.0))


def test_positions_that_run_on_take_budgets_too(tmp_path: Path) -> None:
    folder, pairs = small_checkpoint(tmp_path / "m", heads=("score",)), [("river", "the garden of stone and music")]
    plans = [f"join=0,positions=continue{keep}" for keep in ("", ",keep.passage=50", ",keep.passage=2")]
    none, long, short = (Plait.from_pretrained(folder, plan=plan).predict(pairs)[0] for plan in plans)
    assert none == pytest.approx(long, abs=1e-6) and none != pytest.approx(short, abs=1e-6)


def test_a_plan_with_budgets_is_swept_as_such(tmp_path: Path) -> None:
    folder = small_checkpoint(tmp_path / "m", heads=("score",), plans={"score": "join=1,keep.passage=2,keep.query=3"})
    dev = write(tmp_path / "dev.jsonl", "rank", 5, seed=2)
    said = done("sweep", folder, dev, "--task", "rank", "--modes", "joint", "--min-quality", 0, "--known", 3, "--json")
    points = json.loads(said)["points"]
    assert [(p["keep"], p["plan"].partition("joint")[2]) for p in points[1:]] == [
        *[("", ",keep.query=3")] * 2, *[("2 coreset", ",keep.passage=2,keep.query=3")] * 2,
    ]  # fmt: skip
    said = done("sweep", folder, dev, "--task", "rank", "--modes", "joint", "--min-quality", 0, "--known", 3,
                "--keep", "0.7^2", "--json")  # fmt: skip
    last = json.loads(said)["points"][-1]
    assert (last["keep"], last["plan"]) == (
        "0.7^2 coreset", "join=1,mode=joint,keep.query=3,keep.passage=0.7@1+0.49@2"
    )  # fmt: skip


def test_a_model_that_can_say_no_needs_its_separator(tmp_path: Path) -> None:
    """Said before the training, not after."""
    text = "the queen found a letter in the garden"
    qas = [{"id": "1", "question": "who?", "answers": [{"text": "queen", "answer_start": 4}]},
           {"id": "2", "question": "why?", "answers": [], "is_impossible": True}]  # fmt: skip
    article = {"title": "t", "paragraphs": [{"context": text, "qas": qas}]}
    (tmp_path / "train.json").write_text(json.dumps({"version": "v2.0", "data": [article]}))
    data = {"task": "qa", "data": str(tmp_path / "train.json"), "epochs": 1.0}
    assert "add protect=ends" in refused("train", config(tmp_path, **data, span="join=1,keep.passage=4"))
    said = run("train", config(tmp_path, **data, span="join=1,keep.passage=4,protect=ends"))
    assert said.code == 0 and "budgets dropped the first or last token of" in said.err
    model = Plait.from_pretrained(tmp_path / "out" / "final")
    assert np.isfinite(model.read(text).ask("who found it?").score)


@ONE_THREAD
def test_one_training_holds_at_several_budgets(tmp_path: Path) -> None:
    """Read at all tokens, at its own budget and at another that it was trained for; stored and swept at these."""
    write(tmp_path / "train.jsonl", "rank", 150, seed=1)
    examples = read_examples(write(tmp_path / "dev.jsonl", "rank", 60, seed=2))
    plan = "join=1,mode=oneway,keep.passage=4"
    done("train", config(tmp_path, task="rank", score=plan, budgets="all+3"))
    folder = tmp_path / "out" / "final"
    for other in ("join=1,mode=oneway", plan, "join=1,mode=oneway,keep.passage=3"):
        model = Plait.from_pretrained(folder, plan=other)
        assert example_quality(model, "rank", examples)["rr10"] > 0.85, other
    found = json.loads(done("sweep", folder, tmp_path / "dev.jsonl", "--task", "rank", "--keep", "3", "--json"))
    assert {"", "4 coreset", "3 coreset"} <= {point["keep"] for point in found["points"] if point["join"]}


@ONE_THREAD
def test_a_split_model_teaches_a_budget_as_it_reads_itself(tmp_path: Path) -> None:
    """From no labels, by a teacher that was trained for its own plan and not for the full one; by chance it is 0.75."""
    write(tmp_path / "train.jsonl", "rank", 150, seed=1)
    examples = read_examples(write(tmp_path / "dev.jsonl", "rank", 60, seed=2))
    done("train", config(tmp_path, task="rank", score="join=1,mode=oneway"))
    teacher = tmp_path / "out" / "final"
    fields = {"task": "rank", "teacher": str(teacher), "teacher_plan": "saved", "labels": 0.0}
    fields |= {"score": "join=1,mode=oneway,keep.passage=3", "output": str(tmp_path / "few"), "representation": 0.1}
    done("train", config(tmp_path, **fields))
    assert example_quality(Plait.from_pretrained(tmp_path / "few" / "final"), "rank", examples)["rr10"] > 0.85
    for changes, words in (
        (
            {"score": "join=1,roles=a+b"},
            "the model's roles and reader, but the plan .*roles=a.b.* and that of .*; give",
        ),
        ({"score": "join=1"}, "representation needs a teacher that has every state .*mode=oneway; set it to 0"),
        ({"score": "join=1,mode=oneway,keep.query=4"}, "representation needs every token that goes through"),
        ({"teacher": ""}, "teacher_plan is heeded by trainings with a teacher"),
        ({"teacher_plan": "its own"}, "teacher_plan must be one of full, saved, but is 'its own'"),
    ):
        said = refused("train", config(tmp_path, **fields | {"output": str(tmp_path / "no")} | changes))
        assert re.search(words, said), said
