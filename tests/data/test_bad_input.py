"""Every kind of bad input gets one sentence with the place and the value in it."""

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from plait.data import bundled, read_documents
from plait.errors import DataWarning, PlaitError


def refused(read: Callable[[], object], *said: str) -> None:
    """One sentence, on one line, that holds every one of `said`."""
    with pytest.raises(PlaitError) as caught:
        read()
    message = str(caught.value)
    assert "\n" not in message and not message.endswith(".")
    for part in said:
        assert part in message


FILES = {
    "empty file": ("a.jsonl", b"", "a.jsonl must hold text, but is empty"),
    "empty text file": ("a.txt", b"", "a.txt must hold text, but is empty"),
    "only blank lines": ("a.jsonl", b"\n \n", "must hold at least one document"),
    "header without rows": ("a.csv", b"id,text\n", "must hold at least one document"),
    "NUL in JSON lines": ("a.jsonl", b'{"text": "a"}\n{"te\0xt": "b"}\n', "byte 18 is NUL"),
    "NUL in text": ("a.txt", b"ab\0cd", "byte 2 is NUL"),
    "Latin-1": ("a.txt", "Müller".encode("latin-1"), "must be UTF-8 text, but byte 1 is not"),
    "Latin-1 after a byte-order mark": ("a.txt", b"\xef\xbb\xbfM\xfcller", "byte 4 is not"),
    "Latin-1 on a later line": ("a.csv", b"text\nM\xfcller\n", "byte 6 is not"),
    "UTF-16": ("a.txt", "Müller".encode("utf-16"), "byte 0 is not"),
    "bad JSON": ("a.jsonl", b'{"text": "a"}\n{"text": \n', "a.jsonl line 2 must be JSON", "column"),
    "deep JSON": ("a.jsonl", b"[" * 100_000, "line 1 must be JSON that Python can hold"),
    "huge number": ("a.jsonl", b'{"text": "a", "n": ' + b"1" * 5000 + b"}", "line 1 must be JSON that Python can hold"),
    "no object": ("a.jsonl", b'["a"]', "line 1 must be a JSON object", "list"),
    "no text field": ("a.jsonl", b'{"body": "a", "id": 1}', "line 1 must have a field 'text', but has 'body', 'id'"),
    "no text column": ("a.csv", b"id,body\n1,a\n", "line 2 must have a field 'text', but has 'id', 'body'"),
    "empty texts": ("a.jsonl", b'{"text": ""}\n{"text": "  "}', "at least one document, but holds 2 without a text"),
    "blank text file": ("a.txt", b" \n", "at least one document, but holds 1 without a text"),
    "text no string": ("a.jsonl", b'{"text": 5}', "line 1: field 'text' must be a text, but is a number"),
    "text null": ("a.jsonl", b'{"text": null}', "but holds 1 without a text"),
    "half a surrogate pair": ("a.jsonl", rb'{"text": "ab\ud800"}', "character 2 is half of a surrogate pair"),
    "duplicate ids": ("a.jsonl", b'{"id": 1, "text": "a"}\n\n{"id": "1", "text": "b"}', "'1'", "line 1 and", "line 3"),
    "an id like a line number": (
        "a.jsonl",
        b'{"id": "a.jsonl/2", "text": "a"}\n{"text": "b"}',
        "'a.jsonl/2'",
        "line 1 and",
    ),
    "duplicate ids in CSV": ("a.csv", b'id,text\nx,"a\nb"\nx,c\n', "'x'", "line 2 and", "line 4"),
    "empty id": ("a.jsonl", b'{"id": "", "text": "a"}', "line 1: field 'id' must not be empty"),
    "null id": ("a.jsonl", b'{"_id": null, "text": "a"}', "line 1: field '_id' must not be empty"),
    "id no string": ("a.jsonl", b'{"id": [1], "text": "a"}', "field 'id' must be a text, but is a list"),
    "field said twice": ("a.jsonl", b'{"text": "a", "u": 1, "metadata": {"u": 2}}', "'u' stands beside 'metadata'"),
    "column said twice": ("a.csv", b"text,text\na,b\n", "name each column once, but has 'text' twice"),
    "row too long": ("a.csv", b"id,text\n1,a\n2,b,c\n", "line 3 must have 2 cells", "has 3"),
    "row too short": ("a.tsv", b"id\ttext\n1\n", "line 2 must have 2 cells", "has 1"),
    "tab in a TSV cell": ("a.tsv", b'id\ttext\n1\t"a\tb"\n', "line 2 must have 2 cells", "has 3; take tabs"),
    "open quote": ("a.csv", b'id,text\n1,"a\n2,b\n', "line 2 must be a row of cells"),
    "no Parquet": ("a.parquet", b"PAR1 or not", "a.parquet must be a whole Parquet file"),
    "empty Parquet": ("a.parquet", b"", "a.parquet must be a whole Parquet file"),
    "no archive": ("a.jsonl.gz", b"plain", "must be a whole .gz archive"),
    "no xz archive": ("a.jsonl.xz", b"plain", "must be a whole .xz archive"),
    "archive cut off": ("a.txt.gz", gzip.compress(b"text" * 100)[:-12], "must be a whole .gz archive"),
    "unknown kind": ("a.pdf", b"%PDF", "a.pdf", "convert"),
    "no kind": ("a", b"text", "documents must be a directory or a file of .jsonl"),
    "JSON of another shape": ("a.json", b'{"rows": []}', "must be a SQuAD file", ".jsonl"),
    "bad SQuAD JSON": ("a.json", b'{"data":\n[}', "a.json line 2 must be JSON"),
}


@pytest.mark.parametrize(("name", "content", "said"), [(n, c, s) for n, c, *s in FILES.values()], ids=list(FILES))
def test_bad_file(tmp_path: Path, name: str, content: bytes, said: list[str]) -> None:
    (tmp_path / name).write_bytes(content)
    refused(lambda: list(read_documents(tmp_path / name)), *said)


def test_missing_file_is_refused_before_reading(tmp_path: Path) -> None:
    refused(lambda: read_documents(tmp_path / "no.jsonl"), "no.jsonl must be a file or directory that exists")


def test_directory_without_text(tmp_path: Path) -> None:
    (tmp_path / "image.png").touch()
    with pytest.warns(DataWarning, match="but not 1 of .png"):
        refused(lambda: list(read_documents(tmp_path)), f"{tmp_path} must hold at least one document")


def test_documents_without_a_text_are_left_out_and_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One.")
    (tmp_path / "b.md").touch()
    (tmp_path / "c.txt").write_text(" \n")
    with pytest.warns(DataWarning, match="2 of 3 documents have no text, 'b.md' first, and are left out"):
        assert [document.id for document in read_documents(tmp_path)] == ["a.txt"]
    table = tmp_path / "docs.parquet"
    parquet.write_table(pyarrow.table({"id": ["a", "b", "c"], "text": ["One.", None, "Two."]}), table)
    with pytest.warns(DataWarning, match="1 of 3 documents have no text, 'b' first"):
        assert [document.id for document in read_documents(table)] == ["a", "c"]


def test_wrong_columns_are_named(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("id,text\n1,a\n")
    refused(lambda: list(read_documents(file, text_column="body")), "the column 'body', but has 'id', 'text'")
    refused(lambda: list(read_documents(file, id_column="key")), "the column 'key', but has 'id', 'text'")


def test_columns_of_files_without_any(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One.")
    for path in (tmp_path, tmp_path / "a.txt", bundled("squad-dev")):
        refused(lambda path=path: read_documents(path, text_column="body"), "text_column is for files with columns")  # type: ignore[misc]
        refused(lambda path=path: read_documents(path, id_column="key"), "id_column is for files with columns")  # type: ignore[misc]


def test_parquet_rows_are_named(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"id": ["x", "y", "x"], "text": ["a", "b", "c"]}), file)
    refused(lambda: list(read_documents(file)), "'x'", "row 1 and", "row 3")
    parquet.write_table(pyarrow.table({"body": ["a"]}), file)
    refused(lambda: list(read_documents(file)), "row 1 must have a field 'text', but has 'body'")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    refused(lambda: list(read_documents(file)), "must be a whole Parquet file")


def test_unknown_bundled_corpus() -> None:
    refused(lambda: bundled("squad"), "squad-dev", "'squad'")


def test_documents_before_a_bad_line_still_come(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "One."}\n{')
    documents = read_documents(file)
    assert next(documents).text == "One."
    with pytest.raises(PlaitError, match=re.escape("line 2")):
        next(documents)
