"""CSV and TSV with a header line."""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from plait.data.document import Record, unique
from plait.data.source import kind, lines
from plait.errors import PlaitError

LONGEST_CELL = 2**31 - 1
"""Python's own limit of 131,072 characters is shorter than many a document."""
DOUBLED = re.compile(r'"[^"]*(""[^"]*)+"')
COLA = ("source", "label", "mark", "sentence")
"""The columns of CoLA's files, whose first line is an example already."""
QQP = {"question1", "question2", "is_duplicate"}
"""Columns of QQP's file, in which some questions are cut by line ends of their own."""


def records(path: Path, header: Sequence[str] | None = None, cut: list[PlaitError] | None = None) -> Iterator[Record]:
    """One record a row, `where` being the line at which it starts; a row without an id gets its number, from 1.

    Cells of .csv may be quoted. In any other file tabs part the cells, no cell holds a tab or a line end, and a quote
    is a character like any other, as in the files of GLUE; but a cell like "the ""best"" one", in which quotes are
    doubled between two more, is what spreadsheets and pandas write for: the "best" one. Semicolons part the
    cells of a .csv whose first line has some and no comma, as spreadsheets write it where numbers have commas.
    `header` names the columns of a file whose first line does not, as CoLA's need not. Rows of QQP with too few cells
    are left out if there is `cut`, to which the error is added that each would be.
    """
    quoted = kind(path) == ".csv"
    rows = _quoted(path) if quoted else _tabbed(path)
    if header is None and not quoted and _is_cola(path):
        header = COLA
    elif header is None:
        _, header = next(rows, (1, []))
    header = unique(header, path)
    for number, (line, cells) in enumerate(rows, start=1):
        if len(cells) != len(header):
            wrong = PlaitError(
                f"{path} line {line} must have {len(header)} cells, one a column, but has {len(cells)}; "
                + ("quote cells that hold a delimiter" if quoted else "take tabs and line ends out of its cells")
            )
            if cut is None or len(cells) > len(header) or not QQP <= {*header}:
                raise wrong
            cut.append(wrong)
            continue
        yield Record(line, str(number), dict(zip(header, cells, strict=True)))


def _is_cola(path: Path) -> bool:
    first = next(lines(path)).rstrip("\r\n").split("\t")
    return len(first) == len(COLA) and first[1] in ("0", "1") and first[2] in ("", "*")


def _tabbed(path: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines(path), start=1):
        if row := line.rstrip("\r\n"):
            yield number, [_unquoted(cell) if DOUBLED.fullmatch(cell) else cell for cell in row.split("\t")]


def _unquoted(cell: str) -> str:
    return cell[1:-1].replace('""', '"')


def _quoted(path: Path) -> Iterator[tuple[int, list[str]]]:
    if csv.field_size_limit() < LONGEST_CELL:
        csv.field_size_limit(LONGEST_CELL)
    first = next(lines(path))
    reader = csv.reader(lines(path), strict=True, delimiter=";" if ";" in first and "," not in first else ",")
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise PlaitError(
                f"{path} line {start} must be a row of cells, but is not ({error}); close or double its quotes"
            ) from None
        if cells is None:
            return
        if cells:
            yield start, cells
