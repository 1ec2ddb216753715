"""GLUE's files, of which two kinds are no whole tables: CoLA's have no header, and some of QQP's rows are cut short."""

import warnings
from collections.abc import Iterator
from pathlib import Path

from plait.data import delimited
from plait.data.document import Record
from plait.data.source import lines
from plait.errors import DataWarning, PlaitError

COLA = ("source", "label", "mark", "sentence")
CUT = 0.01
"""Most of a file's rows that may be cut short and left out; with more it is rather another kind of file."""


def records(path: Path) -> Iterator[Record]:
    """As `delimited.records`, tabs between the cells; but a file whose first row is one of CoLA's has its columns, and
    rows with fewer cells than the header are left out, with a DataWarning, if they are 1 in 100 at most.
    """
    cut: list[PlaitError] = []
    count = 0
    first = next(lines(path)).rstrip("\r\n").split("\t")
    cola = len(first) == len(COLA) and first[1] in ("0", "1") and first[2] in ("", "*")
    for record in delimited.records(path, COLA if cola else None, cut):
        yield record
        count += 1
    if not cut:
        return
    if len(cut) > CUT * (count + len(cut)):
        raise cut[0]
    warnings.warn(
        f"{len(cut)} of {count + len(cut)} rows have too few cells and are left out; the first: {cut[0]}",
        DataWarning,
        stacklevel=2,
    )
