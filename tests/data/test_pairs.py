"""Texts to be scored together."""

from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from plait.data import read_pairs
from plait.errors import PlaitError


def test_every_shape_of_line(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(
        '{"passage": "P", "query": "Q", "id": 3}\n{"text1": "A", "text2": "B"}\n\n'
        '{"premise": "It rains.", "hypothesis": "It is wet."}\n["one", "two", "three"]\n'
    )
    expected = [("Q", "P"), ("A", "B"), ("It rains.", "It is wet."), ("one", "two", "three")]
    assert list(read_pairs(file)) == expected


def test_csv_and_tsv(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('label,query,passage\n1,Q,"P, too"\n')
    (tmp_path / "a.tsv").write_text("premise\thypothesis\nA\tB\n")
    assert list(read_pairs(tmp_path / "a.csv")) == [("Q", "P, too")]
    assert list(read_pairs(str(tmp_path / "a.tsv"))) == [("A", "B")]


def test_a_list_of_strings_is_several_texts(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"claim": "C", "evidence": ["one", "two"]}\n')
    assert list(read_pairs(tmp_path / "a.jsonl")) == [("C", "one", "two")]


def test_parquet(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"sentence1": ["A"], "sentence2": ["B"]}), tmp_path / "a.parquet")
    assert list(read_pairs(tmp_path / "a.parquet")) == [("A", "B")]


BAD = {
    "missing": ("no.jsonl", None, "no.jsonl must be a file that exists"),
    "unknown kind": ("a.txt", b"x", "pairs must be a file of .jsonl", "a.txt; convert"),
    "empty": ("a.jsonl", b"", "is empty"),
    "blank": ("a.jsonl", b"\n", "must hold at least one pair"),
    "bad JSON": ("a.jsonl", b'["a", "b"]\n[', "line 2 must be JSON"),
    "other fields": (
        "a.jsonl",
        b'{"query": "a", "text": "b"}',
        "line 1 must have 'query' and 'passage'",
        "'query', 'text'",
    ),
    "other columns": ("a.csv", b"a,b\n1,2\n", "line 2 must have 'query' and 'passage'", "has 'a', 'b'"),
    "empty text": ("a.jsonl", b'{"query": "", "passage": "b"}', "line 1: 'query' must not be empty"),
    "no text": ("a.jsonl", b'["a", 2]', "line 1: text 2 must be a text, but is a number"),
    "one text": ("a.jsonl", b'["a"]', "a list of fewer than two"),
    "a bare string": ("a.jsonl", b'"a"', "no object and no list"),
}


@pytest.mark.parametrize(("name", "content", "said"), [(n, c, s) for n, c, *s in BAD.values()], ids=list(BAD))
def test_bad_pairs(tmp_path: Path, name: str, content: bytes | None, said: list[str]) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(PlaitError) as caught:
        list(read_pairs(tmp_path / name))
    for part in said:
        assert part in str(caught.value)
