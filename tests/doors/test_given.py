"""Vectors that another model made, in place of an encoder: compared, trained, stored, searched."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from plait.data import Document, read_examples
from plait.errors import PlaitError
from plait.evaluate import example_quality
from plait.given import write_vectors
from plait.index import Index
from plait.model import Plait
from tests.command import done, refused

TEXTS = [
    "[PAD]",
    "is [UNK] known?",
    *(f"text {i} of some,\nwith\tblanks  and lines" for i in range(38)),
    "河 水",
    "x" * 3000,
]


def made(folder: Path, width: int = 12) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    rows = np.random.default_rng(0).standard_normal((len(TEXTS), width)).astype(np.float32)
    write_vectors(TEXTS, rows, folder)
    return rows


def test_vectors_are_compared_as_they_are(tmp_path: Path) -> None:
    rows = made(tmp_path / "v")
    model = Plait.from_pretrained(tmp_path / "v", plan="join=0,compare=cosine")
    pairs = [(0, 1), (3, 40), (41, 7), (5, 5)]
    ours = model.predict([(TEXTS[i], TEXTS[j]) for i, j in pairs], activation_fn=lambda x: x)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(ours / 20, [unit[i] @ unit[j] for i, j in pairs], atol=1e-6)
    with pytest.raises(PlaitError, match="letter by letter, but 1 "):
        model.predict([("text 0", TEXTS[1])])
    with pytest.raises(PlaitError, match="without layers compares vectors"):
        Plait.from_pretrained(tmp_path / "v", new_heads=["score"], plan="join=0").predict([(TEXTS[0], TEXTS[1])])


def test_blanks_around_a_text_do_not_count(tmp_path: Path) -> None:
    """An index cuts texts without them."""
    texts = ["a river", "  a garden \n", "b"]
    write_vectors(texts, np.eye(3, dtype=np.float32), tmp_path / "v")
    model = Plait.from_pretrained(tmp_path / "v", plan="join=0,compare=cosine")
    index = Index.create(tmp_path / "s.plait", model)
    index.add([Document(str(i), text) for i, text in enumerate(texts)])
    assert [index.rank(text).hits[0].document for text in texts] == ["0", "1", "2"]
    with pytest.raises(PlaitError, match="texts 0 and 1 are equal with two"):
        write_vectors(["a", " a"], np.eye(2, dtype=np.float32), tmp_path / "w")


def test_an_index_of_vectors_is_searched_by_them(tmp_path: Path) -> None:
    rows = made(tmp_path / "v")
    model = Plait.from_pretrained(tmp_path / "v", plan="join=0,compare=cosine")
    index = Index.create(tmp_path / "s.plait", model, name="v", codec="float32", vectors="pooled")
    index.add([Document(str(i), text) for i, text in enumerate(TEXTS[:40])])
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for query in (2, 41):
        right = np.argsort(-(unit[:40] @ unit[query]))[:5]
        hits = index.rank(TEXTS[query], 5, candidates=5, first_stage="vector").hits
        assert [hit.document for hit in hits] == [str(i) for i in right]


def test_a_head_over_vectors_is_trained_by_the_command(tmp_path: Path) -> None:
    """Whether two texts are of one kind, which their vectors' first numbers say."""
    chance = np.random.default_rng(1)
    rows = chance.standard_normal((60, 8)).astype(np.float32)
    kinds = chance.integers(0, 2, 60)
    rows[:, 0] = 3 * (2 * kinds - 1)
    texts = [f"sentence {i}" for i in range(60)]
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n")
    np.save(tmp_path / "m.npy", rows)
    said = done("vectors", tmp_path / "texts.txt", "--matrix", tmp_path / "m.npy", "--out", tmp_path / "v")
    assert "60 texts, vectors of 8" in said
    for name, count in (("train", 400), ("dev", 100)):
        picked = chance.integers(0, 60, (count, 2))
        lines = [
            {"query": texts[i], "passage": texts[j], "label": "same" if kinds[i] == kinds[j] else "other"}
            for i, j in picked
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "c.toml").write_text(
        f'model = "{tmp_path}/v"\ndata = "{tmp_path}/train.jsonl"\noutput = "{tmp_path}/out"\ntask = "class"\n'
        'score = "join=0,compare=mlp"\nepochs = 6.0\nlearning_rate = 0.01\nbatch = 16\nbfloat16 = false\n'
    )
    done("train", tmp_path / "c.toml")
    model = Plait.from_pretrained(tmp_path / "out" / "final")
    assert example_quality(model, "class", read_examples(tmp_path / "dev.jsonl"))["accuracy"] > 90


def test_vectors_that_cannot_be(tmp_path: Path) -> None:
    one = np.zeros((1, 3), np.float32)
    for texts, rows, why in (
        ([], one[:0], "every text must have a vector"),
        (["a", "b"], one, "there are 2 texts and vectors of shape"),
        (["a"], one + np.nan, "finite numbers, but number 0"),
        (["a", "a"], np.arange(6, dtype=np.float32).reshape(2, 3), "one vector, but texts 0 and 1"),
        (["a"], np.array([["x"]]), "real numbers"),
        (["a"], one + 1j, "real numbers"),
        (["a", "b"], [[1.0], [1.0, 2.0]], "a vector of one width"),
        (["a", " "], np.zeros((2, 3)), "number 1 is ' '"),
        (["\ud800"], one, "surrogate"),
    ):
        with pytest.raises(PlaitError, match=why):
            write_vectors(texts, rows, tmp_path / "v")  # type: ignore[arg-type]
    (tmp_path / "t.txt").write_text("a\n")
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY")
    np.save(tmp_path / "words.npy", np.array(["x"]))
    said = refused("vectors", tmp_path / "t.txt", "--matrix", tmp_path / "bad.npy", "--out", tmp_path / "v")
    assert "an array that numpy saved" in said
    said = refused("vectors", tmp_path / "t.txt", "--matrix", tmp_path / "words.npy", "--out", tmp_path / "v")
    assert "real numbers" in said
    said = refused("vectors", tmp_path / "none.txt", "--matrix", tmp_path / "words.npy", "--out", tmp_path / "v")
    assert "none.txt" in said
