"""Runs and relevance judgements as TREC writes them: a line a document, columns parted by blanks."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from plait import files
from plait.data.source import OPENERS, lines
from plait.errors import PlaitError

RUN = ("query", "Q0", "document", "rank", "score", "tag")
QRELS = ("query", "0", "document", "relevance")
T = TypeVar("T")
WHOLE = re.compile(r"[+-]?\d+", re.ASCII)


def read_run(path: str | Path) -> dict[str, dict[str, float]]:
    """Query -> document -> score, in the order of the lines; the score ranks, the column `rank` is not read.

    Raises PlaitError that names the line for anything else, and for a document that a query has twice.
    """
    run: dict[str, dict[str, float]] = {}
    for place, (query, _, document, _, cell, _) in _rows(Path(path), RUN):
        try:
            score = float(cell)
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            raise PlaitError(f"{place}: the score must be a finite number, but is '{cell}'; write the number there")
        add(run, query, document, score, place)
    return run


def read_qrels(path: str | Path) -> dict[str, dict[str, int]]:
    """Query -> document -> relevance, in the order of the lines.

    Raises PlaitError that names the line for anything else, and for a document that a query has twice.
    """
    qrels: dict[str, dict[str, int]] = {}
    for place, (query, _, document, cell) in _rows(Path(path), QRELS):
        add(qrels, query, document, relevance(cell, place), place)
    return qrels


def write_run(path: str | Path, run: Mapping[str, Mapping[str, float]], tag: str = "plait") -> None:
    """A run as `read_run` reads it: each query's documents by falling score, equal ones in the order of `run`. The file
    is written whole or not at all.

    A query without documents has no line. Raises PlaitError for an id or a tag that is empty or holds a blank, a score
    that is not finite, a run without documents, and a path that cannot be written.
    """
    path = Path(path)
    _check_suffix(path)
    written = []
    for query, scores in run.items():
        ranked = sorted(scores.items(), key=lambda pair: -pair[1])
        for rank, (document, score) in enumerate(ranked, start=1):
            if not math.isfinite(score):
                raise PlaitError(f"a score must be finite, but is {score} for '{document}' of query '{query}'; mend it")
            cells = (_cell(query, "a query's id"), _cell(document, "a document's id"), _cell(tag, "the tag"))
            written.append(f"{cells[0]} Q0 {cells[1]} {rank} {float(score)!r} {cells[2]}\n")
    if not written:
        raise PlaitError(f"a run must hold at least one document, but holds none; {path} is not written")
    files.write(path, "".join(written))


def check_run(path: str | Path, queries: Iterable[str], documents: Iterable[str]) -> None:
    """Refuse what `write_run` would, before the work that a run is of: a path, and ids that may come in one."""
    path = Path(path)
    _check_suffix(path)
    if path.is_dir():
        raise PlaitError(f"a run must be written to a file, but {path} is a folder; name a file in it")
    for what, ids in (("a query's id", queries), ("a document's id", documents)):
        for id in ids:
            _cell(id, what)
    files.require_writable(path.parent)


def _check_suffix(path: Path) -> None:
    if path.suffix.lower() in OPENERS:
        raise PlaitError(f"a run must be written as plain text, but {path} ends in {path.suffix}; leave that out")


def relevance(cell: str, place: str) -> int:
    """A judgement: a whole number, below 0 too."""
    if not WHOLE.fullmatch(cell):
        raise PlaitError(f"{place}: the relevance must be a whole number, but is '{cell}'; write 0, 1 or more there")
    return int(cell)


def add(found: dict[str, dict[str, T]], query: str, document: str, value: T, place: str) -> None:
    """Notes what a line says; PlaitError if one before it said something of the same query and document."""
    of_query = found.setdefault(query, {})
    if document in of_query:
        raise PlaitError(
            f"a query must name each document once, but {place} names '{document}' again for '{query}'; delete one line"
        )
    of_query[document] = value


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    found = False
    for number, line in enumerate(lines(path), start=1):
        cells = line.split()
        if not cells:
            continue
        if len(cells) != len(columns):
            raise PlaitError(
                f"{path} line {number} must have {len(columns)} columns ({', '.join(columns)}), but has {len(cells)}; "
                "mend that line or name a TREC file"
            )
        found = True
        yield f"{path} line {number}", cells
    if not found:
        raise PlaitError(f"{path} must hold at least one line, but holds none; fill it or name another file")


def _cell(text: str, what: str) -> str:
    if text.split() != [text]:
        raise PlaitError(f"{what} must hold no blank and not be empty in a run, but is '{text}'; rename it")
    return text
