"""CSV and TSV with a header line."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from plait.data.document import Record
from plait.data.source import kind, lines
from plait.errors import PlaitError

LONGEST_CELL = 2**31 - 1
"""Python's own limit of 131,072 characters is shorter than many a document."""


def records(path: Path) -> Iterator[Record]:
    """One record a row, `where` being the line at which it starts; a row without an id gets its number, from 1."""
    rows = _rows(path)
    _, header = next(rows, (1, []))
    if twice := [name for name, count in Counter(header).items() if count > 1]:
        raise PlaitError(f"{path} must name each column once, but has '{twice[0]}' twice; rename one")
    for number, (line, cells) in enumerate(rows, start=1):
        if len(cells) != len(header):
            raise PlaitError(
                f"{path} line {line} must have {len(header)} cells (the columns of its header), but has {len(cells)}; "
                "quote cells that hold a delimiter"
            )
        yield Record(line, str(number), dict(zip(header, cells, strict=True)))


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    if csv.field_size_limit() < LONGEST_CELL:
        csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(lines(path), delimiter="\t" if kind(path) == ".tsv" else ",", strict=True)
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
