"""RACE: a row an article or a question, an example an option."""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from plait.data import Example, read_examples
from tests.data.test_arrow import saved
from tests.data.test_bad_input import refused
from tests.data.test_examples import write

ARTICLE: dict[str, Any] = {
    "answers": ["B", "A"],
    "options": [["salt", "deep", "cold", "far"], ["Fish.", "Ships."]],
    "questions": ["The sea is _ .", "What is in it?"],
    "article": "The sea is deep. Fish live there.",
    "id": "high1.txt",
}


OPTIONS = [
    Example("high1.txt/1/A", ("The sea is salt .", "The sea is deep. Fish live there."), 0.0, "high1.txt/1"),
    Example("high1.txt/1/B", ("The sea is deep .", "The sea is deep. Fish live there."), 1.0, "high1.txt/1"),
    Example("high1.txt/1/C", ("The sea is cold .", "The sea is deep. Fish live there."), 0.0, "high1.txt/1"),
    Example("high1.txt/1/D", ("The sea is far .", "The sea is deep. Fish live there."), 0.0, "high1.txt/1"),
    Example("high1.txt/2/A", ("What is in it? Fish.", "The sea is deep. Fish live there."), 1.0, "high1.txt/2"),
    Example("high1.txt/2/B", ("What is in it? Ships.", "The sea is deep. Fish live there."), 0.0, "high1.txt/2"),
]


def test_race(tmp_path: Path) -> None:
    (tmp_path / "test" / "high").mkdir(parents=True)
    (tmp_path / "test" / "middle").mkdir()
    write(tmp_path / "test" / "high" / "1.txt", json.dumps(ARTICLE))
    other = {name: value for name, value in ARTICLE.items() if name not in ("id", "answers")}
    write(tmp_path / "test" / "middle" / "2.txt", json.dumps(other))
    found = read_examples(tmp_path / "test")
    assert found[:6] == OPTIONS
    assert [(example.id, example.label) for example in found[6:8]] == [("2.txt/1/A", None), ("2.txt/1/B", None)]
    assert read_examples(tmp_path / "test" / "high") == OPTIONS
    assert read_examples(tmp_path / "test" / "high" / "1.txt") == OPTIONS
    refused(lambda: read_examples(tmp_path), "must be one split of RACE, but holds test; name")
    bare = ARTICLE | {"questions": [], "options": [], "answers": [], "id": "high2.txt"}
    write(tmp_path / "race.jsonl", json.dumps(bare), json.dumps(ARTICLE))
    assert read_examples(tmp_path / "race.jsonl") == OPTIONS


def test_race_with_a_row_a_question(tmp_path: Path) -> None:
    """As the hub has it: an article's questions need not stand together."""
    same = {"example_id": ARTICLE["id"], "article": ARTICLE["article"]}
    rows = [
        {**same, "question": ARTICLE["questions"][n], "options": ARTICLE["options"][n], "answer": ARTICLE["answers"][n]}
        for n in range(2)
    ]
    other = {**rows[0], "example_id": "middle2.txt", "answer": "A"}
    write(tmp_path / "race.jsonl", *map(json.dumps, (rows[0], other, rows[1])))
    found = read_examples(tmp_path / "race.jsonl")
    assert found[:4] + found[8:] == OPTIONS
    assert [(example.group, example.label) for example in found[4:6]] == [("middle2.txt/1", 1.0), ("middle2.txt/1", 0)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "race.parquet")
    assert read_examples(tmp_path / "race.parquet") == OPTIONS
    saved(tmp_path / "race", pyarrow.Table.from_pylist(rows).to_pydict())
    assert read_examples(tmp_path / "race") == OPTIONS
    write(tmp_path / "bad.jsonl", json.dumps({**rows[0], "options": "A, B"}))
    refused(lambda: read_examples(tmp_path / "bad.jsonl"), "question 1 must have a list of two or more options")


BROKEN_RACE: dict[str, tuple[dict[str, object], str]] = {
    "a letter of no option": ({"answers": ["E", "A"]}, "question 1: the answer must be one of A, B, C, D, but is 'E'"),
    "a letter of another question's": ({"answers": ["A", "C"]}, "question 2: the answer must be one of A, B, but"),
    "numbers": ({"answers": [1, 0]}, "question 1: the answer must be one of A, B, C, D, but is 1"),
    "too few answers": ({"answers": ["A"]}, "has 2 questions, options for 2 and 1 answers"),
    "too few options": ({"options": [["a", "b"]]}, "has 2 questions, options for 1 and 2 answers"),
    "one option": ({"options": [["a", "b"], ["c"]]}, "question 2 must have a list of two or more options"),
    "no list": ({"questions": None}, "'questions' must be a list, as in RACE, but is null"),
    "an empty article": ({"article": " "}, "the article must not be empty"),
    "an empty question": ({"questions": ["", "b"]}, "question 1: the question must not be empty"),
    "an empty option": ({"options": [["a", "b", "c", ""], ["a", "b"]]}, "question 1: option D must not be empty"),
    "an empty id": ({"id": ""}, "the article's id must not be empty"),
}


@pytest.mark.parametrize(("change", "said"), BROKEN_RACE.values(), ids=list(BROKEN_RACE))
def test_broken_race(tmp_path: Path, change: dict[str, object], said: str) -> None:
    write(tmp_path / "a.jsonl", json.dumps(ARTICLE), json.dumps(ARTICLE | {"id": "high2.txt"} | change))
    refused(lambda: read_examples(tmp_path / "a.jsonl"), "a.jsonl line 2", said)


def test_folders_of_something_else(tmp_path: Path) -> None:
    refused(lambda: read_examples(tmp_path), f"{tmp_path} must hold RACE's .txt files or what datasets'")
    refused(lambda: read_examples(tmp_path / "no"), "no must be a file or directory that exists")
    (tmp_path / "a.txt").write_text("One.")
    refused(lambda: read_examples(tmp_path), "a.txt must be JSON")
    (tmp_path / "a.txt").write_text('{"data": []}')
    refused(lambda: read_examples(tmp_path), "a.txt must be an article of RACE (an object with article, options, ques")
    for name in ("a.txt", "b.txt"):
        write(tmp_path / name, json.dumps(ARTICLE))
    refused(lambda: read_examples(tmp_path), "'high1.txt/1/A' stands at", "a.txt, question 1 and", "b.txt, question 1;")
