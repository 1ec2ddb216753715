"""A query with its passages in one row: triplets, FlagEmbedding's, Tevatron's, and lists with their numbers."""

import json
from pathlib import Path
from typing import Any

import pytest

from plait.data import Example, read_examples
from tests.data.test_bad_input import refused
from tests.data.test_examples import write

PASSAGES = [("Ships sail.", 1.0), ("Stones sink.", 0.0), ("Birds fly.", 0.0)]
EXPECTED = [Example(f"1/{n}", ("What sails?", text), label) for n, (text, label) in enumerate(PASSAGES, start=1)]


def read(tmp_path: Path, *rows: object) -> list[Example]:
    write(tmp_path / "lists.jsonl", *(json.dumps(row) for row in rows))
    return read_examples(tmp_path / "lists.jsonl")


@pytest.mark.parametrize(
    "row",
    [
        {"anchor": "What sails?", "positive": "Ships sail.", "negative_1": "Stones sink.", "negative_2": "Birds fly."},
        {"query": "What sails?", "positive": "Ships sail.", "negative": ["Stones sink.", "Birds fly."]},
        {"query": "What sails?", "pos": ["Ships sail."], "neg": ["Stones sink.", "Birds fly."], "pos_scores": [1.5]},
        {"question": "What sails?", "answer": "Ships sail.", "negative_1": "Stones sink.", "negative_2": "Birds fly."},
        {"query": "What sails?", "docs": ["Ships sail.", "Stones sink.", "Birds fly."], "labels": [1, 0, 0]},
    ],
    ids=["triplets", "a list of negatives", "flag embedding", "answers", "numbers"],
)
def test_forms(tmp_path: Path, row: Any) -> None:
    assert read(tmp_path, row) == EXPECTED


def test_tevatron(tmp_path: Path) -> None:
    row = {
        "query_id": 7, "query": "What sails?",
        "positive_passages": [{"docid": "3", "title": "Sea", "text": "Ships sail."}],
        "negative_passages": [{"docid": "4", "title": "", "text": "Stones sink."}],
    }  # fmt: skip
    assert read(tmp_path, row) == [
        Example("1/1", ("What sails?", "Sea Ships sail."), 1.0, "7"),
        Example("1/2", ("What sails?", "Stones sink."), 0.0, "7"),
    ]


def test_a_table_of_triplets_with_cells_that_are_empty(tmp_path: Path) -> None:
    write(tmp_path / "t.csv", "anchor,positive,negative", "What sails?,Ships sail.,Stones sink.", "Who?,Me.,")
    found = read_examples(tmp_path / "t.csv")
    assert [(e.texts[1], e.label) for e in found] == [("Ships sail.", 1.0), ("Stones sink.", 0.0), ("Me.", 1.0)]
    assert len({e.id for e in found}) == 3


def test_a_column_of_numbers_that_is_named(tmp_path: Path) -> None:
    row = {"query": "What sails?", "docs": [text for text, _ in PASSAGES], "gains": [1, 0, 0], "labels": [9, 9, 9]}
    write(tmp_path / "a.jsonl", json.dumps(row))
    assert read_examples(tmp_path / "a.jsonl", label="gains") == EXPECTED
    refused(lambda: read_examples(tmp_path / "a.jsonl", label="none"), "rename its fields")


def test_rows_of_one_query(tmp_path: Path) -> None:
    """MS MARCO's way: a line a triplet, with the query's id in each."""
    rows = [{"qid": 7, "query": "What sails?", "positive": "Ships sail.", "negative": text} for text, _ in PASSAGES[1:]]
    found = read(tmp_path, *rows)
    assert [(e.id, e.group) for e in found] == [("1/1", "7"), ("1/2", "7"), ("2/1", "7"), ("2/2", "7")]
    found = read(tmp_path, *({"id": n, "anchor": "What sails?", "positive": f"A ship {n}."} for n in (4, 5)))
    assert [(e.id, e.group) for e in found] == [("4/1", ""), ("5/1", "")]


def test_columns_that_are_named_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    write(path, json.dumps({"anchor": "What sails?", "positive": "Ships sail."}))
    assert read_examples(path, texts=["anchor", "positive"]) == [Example("1", ("What sails?", "Ships sail."), None)]
    assert read_examples(path) == [Example("1/1", ("What sails?", "Ships sail."), 1.0)]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"query": "a", "docs": ["b", "c"], "labels": [1]}, "one number for each of them in 'labels', but has 2 items"),
        ({"query": "a", "docs": "b", "labels": [1]}, "but has a text and 1 items"),
        ({"query": "a", "pos": ["b", 3]}, "'pos' must be a text, but is a number"),
        ({"query": "a", "pos": [{"title": "b"}]}, "the text of 'pos' must be a text, but is null"),
        ({"query": " ", "pos": ["b"]}, "'query' must not be empty"),
        ({"anchor": "a", "positive": "", "negative": "b"}, "'positive' must hold a text, but is empty"),
        ({"question": "a", "answer": "b"}, "'anchor' and 'positive'"),
    ],
)
def test_refusals(tmp_path: Path, row: object, words: str) -> None:
    refused(lambda: read(tmp_path, row), words)
