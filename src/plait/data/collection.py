"""Test collections: documents, queries, and which document is relevant to which query; folders as BEIR has them."""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from plait.data import delimited, jsonl, table, trec
from plait.data.document import Document, Record, checked_text, documents, listed
from plait.data.source import OPENERS, kind, lines
from plait.errors import PlaitError

COLUMNS = ("query-id", "corpus-id", "score")
QUERY_COLUMNS = {"text": ("text", "query", "question"), "id": ("id", "_id", "qid", "query_id", "query-id")}


@dataclass(frozen=True)
class Collection:
    """A test collection in memory.

    `documents` and `queries` by their ids; `qrels`: query -> document -> relevance, for just these queries; `without`:
    ids of documents that have no text, and may be judged all the same.
    """

    documents: dict[str, Document]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]
    without: frozenset[str] = frozenset()


class _Judgement(NamedTuple):
    place: str
    query: str
    document: str
    relevance: int


def read_collection(folder: str | Path, split: str = "test") -> Collection:
    """A BEIR folder: corpus.jsonl, queries.jsonl and qrels/<split>.tsv, each of which may end in .gz or .xz.

    Only the queries that the split judges are kept. Documents are those of `read_corpus`, and all in memory.

    Raises PlaitError that names file and line for anything missing, empty or said twice, and for a judgement of a query
    or document that does not exist.
    """
    folder = Path(folder)
    corpus, asked, judged = _file(folder, "corpus.jsonl"), _file(folder, "queries.jsonl"), _judged(folder, split)
    judgements = _judgements(judged)
    texts = {query.id: query.text for query in documents(jsonl.records(asked), f"{asked} line", what="query")}
    for judgement in judgements:
        _known(judgement.query, texts, "query", judgement.place, asked)
    without: set[str] = set()
    found = {document.id: document for document in read_corpus(folder, without)}
    there = found.keys() | without
    qrels: dict[str, dict[str, int]] = {}
    for place, query, document, relevance in judgements:
        _known(document, there, "document", place, corpus)
        trec.add(qrels, query, document, relevance, place)
    return Collection(
        found, {query: text for query, text in texts.items() if query in qrels}, qrels, frozenset(without)
    )


def read_queries(path: str | Path) -> dict[str, str]:
    """Queries by id: of .jsonl, .csv, .tsv or .parquet the columns named as in `QUERY_COLUMNS`; or lines of a .tsv or
    .txt without a header, id, tab, text, as MS MARCO and ir_datasets write them; or of a .txt without tabs the lines
    that are not blank, by their numbers from 1. Files may end in .gz or .xz.

    Raises PlaitError by place for a query without a text or an id, and for an id that two have.
    """
    path = Path(path)
    if kind(path) not in (*table.TABLES, ".txt"):
        kinds = ", ".join((*table.TABLES, ".txt"))
        raise PlaitError(f"queries must be a file of {kinds}, but are {path}; convert or rename it")
    reader, unit = table.TABLES.get(kind(path), (delimited.records, "line"))
    if kind(path) == ".txt" and not any("\t" in line for line in lines(path)):
        return {query.id: query.text for query in documents(_lines(path), f"{path} line", what="query")}
    bare = kind(path) in (".tsv", ".txt") and not _has_header(path)
    records = delimited.records(path, ("id", "text")) if bare else reader(path)
    asked = (_as_query(record, f"{path} {unit} {record.where}") for record in records)
    return {query.id: query.text for query in documents(asked, f"{path} {unit}", what="query")}


def is_itself(query: str, document: str, judged: Container[str]) -> bool:
    """Whether a document is the query: it has its id, and nobody judged it. BEIR's evaluation does not count those."""
    return document == query and document not in judged


def is_beir(folder: Path) -> bool:
    """Whether a path is a folder with a corpus as BEIR has it."""
    return any((folder / f"corpus.jsonl{suffix}").is_file() for suffix in ("", *OPENERS))


def read_corpus(folder: str | Path, without: set[str] | None = None) -> Iterator[Document]:
    """The documents of a BEIR folder, one by one and in order; `without` gets the ids of those that have no text, which
    are left out with a DataWarning.

    A document's text is its title, a blank and its text, as BEIR's own models read it; the title is metadata as well.
    """
    corpus = _file(Path(folder), "corpus.jsonl")
    return documents(map(_with_title, jsonl.records(corpus)), f"{corpus} line", without=without)


def _lines(path: Path) -> Iterator[Record]:
    for number, line in enumerate(lines(path), start=1):
        if text := line.strip():
            yield Record(number, str(number), {"text": text})


def _has_header(path: Path) -> bool:
    cells = next(lines(path)).rstrip("\r\n").split("\t")
    return len(cells) != 2 or any(cell in names for names in QUERY_COLUMNS.values() for cell in cells)


def _as_query(record: Record, place: str) -> Record:
    """Its columns under the names that documents have."""
    found = {}
    for wanted, names in QUERY_COLUMNS.items():
        name = next((name for name in names if name in record.fields), None)
        if name is None:
            raise PlaitError(f"{place} must have one of {listed(names)}, but has {listed(record.fields)}; rename one")
        found[wanted] = record.fields[name]
    return record._replace(fields=found)


def _with_title(record: Record) -> Record:
    title, text = record.fields.get("title"), record.fields.get("text")
    if isinstance(title, str) and isinstance(text, str):
        joined = " ".join(part for part in (title, text) if part.strip())
        return record._replace(fields={**record.fields, "text": joined})
    return record


def _judgements(path: Path) -> list[_Judgement]:
    found = []
    for line, _, fields in delimited.records(path):
        place = f"{path} line {line}"
        if any(name not in fields for name in COLUMNS):
            raise PlaitError(
                f"{place} must have the columns {listed(COLUMNS)}, but has {listed(fields)}; "
                "write them into the first line"
            )
        query, document, score = (str(checked_text(fields[name], f"'{name}'", place)) for name in COLUMNS)
        found.append(_Judgement(place, query, document, trec.relevance(score, place)))
    if not found:
        raise PlaitError(f"{path} must hold at least one judgement, but holds none; fill it or name another split")
    return found


def _known(identity: str, those: Container[str], what: str, place: str, file: Path) -> None:
    if identity not in those:
        raise PlaitError(f"{place} must name a {what} of {file}, but names '{identity}'; add it or delete the line")


def _judged(folder: Path, split: str) -> Path:
    qrels = folder / "qrels"
    there = sorted({file.name.split(".tsv")[0] for file in qrels.glob("*.tsv*")})
    if there and split not in there:
        raise PlaitError(f"split must be one of {', '.join(there)} in {qrels}, but is '{split}'; pass one of these")
    return _file(folder, f"qrels/{split}.tsv")


def _file(folder: Path, name: str) -> Path:
    for suffix in ("", *OPENERS):
        if (file := folder / f"{name}{suffix}").is_file():
            return file
    raise PlaitError(f"{folder} must be a BEIR folder, but holds no {name}; name a folder that has one")
