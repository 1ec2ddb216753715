"""Test collections in BEIR's folders."""

import gzip
import json
import lzma
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data import Collection, Document, read_collection, read_corpus, read_documents
from plait.errors import DataWarning
from plait.mining import judged_lists
from tests.data.test_bad_input import refused

CORPUS = (
    '{"_id": "d1", "title": "Sea", "text": "It is salt.", "metadata": {"url": "u"}}\n'
    '{"_id": "d2", "title": "", "text": "It is wet."}\n'
    '{"_id": "d3", "title": "A title alone", "text": ""}\n'
)
QUERIES = (
    '{"_id": "q1", "text": "salt?", "metadata": {}}\n{"_id": "q2", "text": "wet?"}\n{"_id": "q3", "text": "dry?"}\n'
)
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq3\td3\t-1\n"


def beir(folder: Path, corpus: str = CORPUS, queries: str = QUERIES, qrels: str = QRELS) -> Path:
    """A folder as BEIR has them, with two splits."""
    (folder / "qrels").mkdir(exist_ok=True)
    (folder / "corpus.jsonl").write_text(corpus)
    (folder / "queries.jsonl").write_text(queries)
    (folder / "qrels" / "test.tsv").write_text(qrels)
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nq2\td2\t1\n")
    return folder


def test_beir_folder(tmp_path: Path) -> None:
    documents = {
        "d1": Document("d1", "Sea It is salt.", {"title": "Sea", "url": "u"}),
        "d2": Document("d2", "It is wet.", {"title": ""}),
        "d3": Document("d3", "A title alone", {"title": "A title alone"}),
    }
    folder = beir(tmp_path)
    assert read_collection(folder) == Collection(
        documents, {"q1": "salt?", "q3": "dry?"}, {"q1": {"d1": 2, "d2": 0}, "q3": {"d3": -1}}
    )
    assert read_collection(str(folder), "dev") == Collection(documents, {"q2": "wet?"}, {"q2": {"d2": 1}})
    (folder / "README.md").write_text("what a folder of texts would have for a document")
    assert list(read_corpus(folder)) == list(read_documents(folder)) == list(documents.values())


def test_a_judged_document_without_a_text(tmp_path: Path) -> None:
    """It stays judged, for nothing can find it, and is in no list to be ranked."""
    folder = beir(tmp_path, CORPUS + '{"_id": "d4", "title": "", "text": " "}\n', qrels=QRELS + "q1\td4\t1\n")
    left_out = "corpus.jsonl: 1 of 4 documents have no text, 'd4' first, and are left out"
    with pytest.warns(DataWarning, match=left_out):
        found = read_collection(folder)
    assert found.without == {"d4"} and "d4" not in found.documents and found.qrels["q1"]["d4"] == 1
    run = tmp_path / "run.trec"
    run.write_text("q1 Q0 d4 1 2.0 x\nq1 Q0 d1 2 1.0 x\nq3 Q0 d3 1 1.0 x\n")
    for named in ("", str(run)):
        with pytest.warns(DataWarning, match=left_out):
            assert {e.id for e in judged_lists(folder, "test", named) if e.group == "q1"} <= {
                "q1 d1", "q1 d2", "q1 d3"
            }  # fmt: skip


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_compressed(tmp_path: Path, suffix: str, pack: type) -> None:
    expected = read_collection(beir(tmp_path))
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        (tmp_path / f"{name}{suffix}").write_bytes(pack((tmp_path / name).read_bytes()))
        (tmp_path / name).unlink()
    assert read_collection(tmp_path) == expected


def test_documents_come_before_a_bad_line(tmp_path: Path) -> None:
    documents = read_corpus(beir(tmp_path, corpus='{"_id": "d1", "text": "One."}\n{'))
    assert next(documents).text == "One."
    refused(lambda: next(documents), "corpus.jsonl line 2 must be JSON")


BAD = {
    "an unknown query": ({"qrels": QRELS + "q4\td1\t1\n"}, "test.tsv line 5 must name a query of", "names 'q4'"),
    "an unknown document": ({"qrels": QRELS + "q1\td9\t1\n"}, "test.tsv line 5 must name a document of", "names 'd9'"),
    "a judgement twice": ({"qrels": QRELS + "q1\td1\t1\n"}, "test.tsv line 5 names 'd1' again for 'q1'"),
    "no number": ({"qrels": QRELS + "q2\td1\tyes\n"}, "line 5: the relevance must be a whole number, but is 'yes'"),
    "half a number": ({"qrels": QRELS + "q2\td1\t0.5\n"}, "line 5: the relevance must be a whole number, but is '0.5'"),
    "no header": ({"qrels": "q1\td1\t1\nq3\td3\t1\n"}, "line 2 must have the columns 'query-id', 'corpus-id', 'score'"),
    "a TREC file": ({"qrels": "q1 0 d1 1\nq3 0 d3 1\n"}, "line 2 must have the columns 'query-id'"),
    "a cell too few": ({"qrels": QRELS + "q2\td1\n"}, "line 5 must have 3 cells"),
    "an empty cell": ({"qrels": QRELS + "\td1\t1\n"}, "line 5: 'query-id' must not be empty"),
    "a header alone": ({"qrels": "query-id\tcorpus-id\tscore\n"}, "test.tsv must hold at least one judgement"),
    "no judgements": ({"qrels": ""}, "test.tsv must hold text, but is empty"),
    "no documents": ({"corpus": "\n"}, "corpus.jsonl must hold at least one document"),
    "no queries": ({"queries": "\n"}, "queries.jsonl must hold at least one query"),
    "a document twice": ({"corpus": CORPUS + CORPUS}, "one document, but 'd1' stands at", "line 1 and", "line 4"),
    "a query twice": ({"queries": QUERIES + QUERIES}, "one query, but 'q1' stands at", "line 1 and", "line 4"),
    "an empty document": ({"corpus": '{"_id": "d1", "title": " ", "text": ""}'}, "but holds 1 without a text"),
    "an empty query": (
        {"queries": '{"_id": "q1", "text": ""}'},
        "queries.jsonl line 1: field 'text' must not be empty",
    ),
    "no text": ({"corpus": '{"_id": "d1", "title": "a"}\n'}, "corpus.jsonl line 1 must have a field 'text'"),
    "bad JSON": ({"queries": QUERIES + "{"}, "queries.jsonl line 4 must be JSON"),
}


@pytest.mark.parametrize(("files", "said"), [(files, said) for files, *said in BAD.values()], ids=list(BAD))
def test_bad_collection(tmp_path: Path, files: dict[str, str], said: list[str]) -> None:
    folder = beir(tmp_path, **files)
    refused(lambda: read_collection(folder), *said)


def test_wrong_folders(tmp_path: Path) -> None:
    refused(lambda: read_collection(tmp_path), f"{tmp_path} must be a BEIR folder, but holds no corpus.jsonl")
    refused(lambda: read_corpus(tmp_path / "no"), "must be a BEIR folder, but holds no corpus.jsonl")
    refused(lambda: read_collection(beir(tmp_path), "train"), "split must be one of dev, test in", "but is 'train'")
    (tmp_path / "queries.jsonl").unlink()
    refused(lambda: read_collection(tmp_path), "holds no queries.jsonl")
    for file in (tmp_path / "qrels").iterdir():
        file.unlink()
    (tmp_path / "queries.jsonl").write_text(QUERIES)
    refused(lambda: read_collection(tmp_path), "holds no qrels/test.tsv")


names = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=6)


@given(judged=st.dictionaries(names, st.dictionaries(names, st.integers(-2, 4), min_size=1, max_size=3), min_size=1))
@settings(deadline=None, max_examples=30)
def test_round_trip(judged: dict[str, dict[str, int]], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Any judgements come back as they were written."""
    documents = {document for scores in judged.values() for document in scores}
    folder = beir(
        tmp_path_factory.mktemp("beir"),
        "".join(json.dumps({"_id": name, "text": "x"}) + "\n" for name in documents),
        "".join(json.dumps({"_id": name, "text": "x"}) + "\n" for name in judged),
        "query-id\tcorpus-id\tscore\n"
        + "".join(f"{query}\t{name}\t{value}\n" for query, scores in judged.items() for name, value in scores.items()),
    )
    collection = read_collection(folder)
    assert collection.qrels == judged
    assert collection.queries.keys() == judged.keys()
    assert set(collection.documents) == documents
