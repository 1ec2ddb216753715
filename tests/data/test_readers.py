"""What each kind of file becomes."""

import csv
import datetime
import decimal
import gzip
import json
import lzma
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from plait.data import Document, bundled, read_documents
from plait.errors import DataWarning, PlaitError


def test_beir_jsonl(tmp_path: Path) -> None:
    file = tmp_path / "corpus.jsonl"
    file.write_text(
        '{"_id": "d1", "title": "T", "text": "One.", "metadata": {"url": "u"}}\n\n{"_id": 7, "text": "Two."}\n'
    )
    assert list(read_documents(file)) == [
        Document("d1", "One.", {"title": "T", "url": "u"}),
        Document("7", "Two.", {}),
    ]


def test_missing_ids_are_places(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "One."}\n\n{"text": "Two."}')
    (tmp_path / "a.csv").write_text('text\n"One\nand a half."\nTwo.\n')
    assert [document.id for document in read_documents(tmp_path / "a.jsonl")] == ["a.jsonl/1", "a.jsonl/3"]
    assert list(read_documents(tmp_path / "a.csv")) == [
        Document("a.csv/1", "One\nand a half."),
        Document("a.csv/2", "Two."),
    ]


def test_tsv_with_named_columns(tmp_path: Path) -> None:
    file = tmp_path / "a.TSV"
    file.write_text("docno\tbody\ttext\nx\tOne, two.\tother\n")
    documents = list(read_documents(file, text_column="body", id_column="docno"))
    assert documents == [Document("x", "One, two.", {"text": "other"})]


def test_ids_that_name_several_documents_can_be_numbers_instead(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"id": "a", "text": "One."}\n\n{"id": "a", "text": "Two."}\n')
    with pytest.raises(PlaitError, match=r"give each document its own id, or leave id_column empty \(--id-column ''\)"):
        list(read_documents(file))
    assert list(read_documents(file, id_column="")) == [
        Document("a.jsonl/1", "One.", {"id": "a"}),
        Document("a.jsonl/3", "Two.", {"id": "a"}),
    ]


def test_quotes_in_tsv_are_characters(tmp_path: Path) -> None:
    """As in GLUE's files; but doubled quotes between two more are what pandas writes."""
    rows = {
        '"One" is "first".': '"One" is "first".',
        '"Two': '"Two',
        '"Three"': '"Three"',
        '"So ""four"", and ""five""."': 'So "four", and "five".',
        '"""Six"""': '"Six"',
        '""seven""': '""seven""',
        "a\rb": "a\rb",
    }
    file = tmp_path / "a.tsv"
    file.write_bytes(("text\r\n" + "".join(f"{cell}\r\n" for cell in rows)).encode())
    assert [document.text for document in read_documents(file)] == list(rows.values())


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_parquet(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"id": [5, 6], "text": ["One.", "Two."], "tags": [["a"], None]}), file)
    documents = list(read_documents(packed(file, suffix)))
    assert documents == [Document("5", "One.", {"tags": ["a"]}), Document("6", "Two.", {"tags": None})]


def test_parquet_types_that_json_lacks_become_texts(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    columns = {
        "text": ["One."],
        "day": [datetime.date(2020, 2, 29)],
        "at": [datetime.datetime(2020, 2, 29, 12, 30)],
        "price": [decimal.Decimal("1.50")],
        "took": [datetime.timedelta(seconds=90)],
    }
    parquet.write_table(pyarrow.table(columns), file)
    [document] = read_documents(file)
    document.check()
    assert document.metadata == {
        "day": "2020-02-29",
        "at": "2020-02-29T12:30:00",
        "price": "1.50",
        "took": "0:01:30",
    }


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_compressed_files_are_read_as_what_they_hold(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / "a.csv"
    file.write_text("id,text\n1,One.\n")
    assert list(read_documents(packed(file, suffix))) == [Document("1", "One.")]


def test_text_file_keeps_every_character(tmp_path: Path) -> None:
    file = tmp_path / "chapter.txt"
    file.write_bytes("\ufeffEins.\r\nZwei: ü.\r\n".encode())
    assert list(read_documents(file)) == [Document("chapter.txt", "Eins.\r\nZwei: ü.\r\n")]


def test_times_that_python_lacks_become_texts(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    nested = pyarrow.struct([("day", pyarrow.date32())])
    columns = {
        "text": ["One."],
        "at": pyarrow.array([1700000000123456789], pyarrow.timestamp("ns")),
        "clock": pyarrow.array([5], pyarrow.time64("ns")),
        "in": pyarrow.array([{"day": datetime.date(2024, 1, 2)}], nested),
    }
    parquet.write_table(pyarrow.table(columns), file)
    [document] = read_documents(file)
    assert document.metadata == {
        "at": "2023-11-14 22:13:20.123456789",
        "clock": "00:00:00.000000005",
        "in": {"day": "2024-01-02"},
    }
    parquet.write_table(pyarrow.Table.from_arrays([pyarrow.array(["a"])] * 2, names=["text", "text"]), file)
    with pytest.raises(PlaitError, match="must name each column once, but has 'text' twice"):
        list(read_documents(file))


def test_metadata_that_json_lacks_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    columns = {"text": ["One.", "Two."], "raw": [b"x", None], "price": [1.5, float("nan")], "tags": [["a"], ["b"]]}
    parquet.write_table(pyarrow.table(columns), file)
    with pytest.warns(DataWarning, match="'raw' of 1, 'price' of 1 of 2 documents; write"):
        found = [document.metadata for document in read_documents(file)]
    assert found == [{"price": 1.5, "tags": ["a"]}, {"raw": None, "tags": ["b"]}]
    lines = tmp_path / "b.jsonl"
    lines.write_text('{"text": "One.", "title": "half \\ud83d", "url": "u"}\n')
    with pytest.warns(DataWarning, match="'title' of 1 of 1 documents"):
        assert [document.metadata for document in read_documents(lines)] == [{"url": "u"}]


def test_directory_is_its_text_files_in_order(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.md", "a/b.txt", "image.png", "a/table.csv", ".git/b.md", "a/.z.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"text of {name}")
    (tmp_path / "none.txt.gz").write_bytes(gzip.compress(b""))
    with pytest.warns(DataWarning) as said:
        found = list(read_documents(tmp_path))
    assert "of a folder .txt and .md files are read, but not 1 of .csv, 1 of .png" in str(said[0].message)
    assert "none.txt.gz" in str(said[1].message) and len(said) == 2
    assert [document.id for document in found] == ["a/b.txt", "a/z.md", "b.txt"]


@pytest.mark.parametrize("name", ["huge.txt", "huge.jsonl", "huge.csv"])
def test_document_of_ten_megabytes(tmp_path: Path, name: str) -> None:
    file, text = tmp_path / name, "Ten letters and more. " * 500_000
    head = {"huge.txt": text, "huge.jsonl": json.dumps({"text": text}), "huge.csv": f'text\n"{text}"\n'}
    file.write_text(head[name])
    (document,) = read_documents(file)
    assert document.text == text


def test_bundled_corpus() -> None:
    documents = list(read_documents(bundled("squad-dev")))
    assert len(documents) == 2067
    assert len({document.metadata["title"] for document in documents}) == 48
    assert documents[0].id == "1973_oil_crisis/1"
    assert documents[0].text.startswith("The 1973 oil crisis began in October 1973")
    assert bundled("squad-dev").with_name("SQUAD-LICENSE.md").is_file()


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=50).filter(str.strip)
metadata = st.dictionaries(st.text(max_size=5).filter(lambda name: name not in ("id", "_id", "text")), json_values)
unlike_ids = st.lists(st.tuples(texts, texts, metadata), min_size=1, max_size=8, unique_by=lambda triple: triple[0])


@given(triples=unlike_ids)
@settings(deadline=None)
def test_jsonl_round_trip(
    triples: list[tuple[str, str, dict[str, object]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any id, text and metadata come back exactly as they were written."""
    documents = [Document(*triple) for triple in triples if "metadata" not in triple[2]]
    documents = documents or [Document("1", "One.")]
    file = tmp_path_factory.mktemp("round") / "a.jsonl"
    with file.open("w", encoding="utf-8", newline="") as stream:
        for document in documents:
            fields = {"id": document.id, "text": document.text, "metadata": document.metadata}
            stream.write(json.dumps(fields, ensure_ascii=len(document.text) % 2 == 0) + "\n")
    assert list(read_documents(file)) == documents


cells = texts.map(lambda text: text.replace("\0", "0")).filter(str.strip)


@given(rows=st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=8, unique_by=lambda row: row[0]))
@settings(deadline=None)
def test_csv_round_trip(rows: list[tuple[str, str, str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Quotes, commas, tabs and line ends in cells come back exactly as the csv module wrote them."""
    file = tmp_path_factory.mktemp("round") / "a.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([("id", "text", "note"), *rows])
    assert list(read_documents(file)) == [Document(name, text, {"note": note}) for name, text, note in rows]


def packed(file: Path, suffix: str) -> Path:
    """The file, compressed as its new suffix says."""
    if not suffix:
        return file
    target = file.with_name(file.name + suffix)
    content = file.read_bytes()
    target.write_bytes(gzip.compress(content) if suffix == ".gz" else lzma.compress(content))
    return target


def test_tables_without_ids_can_be_added_to_one_store(tmp_path: Path) -> None:
    """Their rows have numbers, which would be the same."""
    for name, first in (("a.csv", "Cats"), ("b.csv", "Dogs")):
        (tmp_path / name).write_text(f"text\n{first} sleep.\n{first} run.\n")
    found = [document.id for name in ("a.csv", "b.csv") for document in read_documents(tmp_path / name)]
    assert found == ["a.csv/1", "a.csv/2", "b.csv/1", "b.csv/2"]
