"""Tables: files of rows with named columns, of whichever kind."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from plait.data import arrow, delimited, jsonl, parquet
from plait.data.document import Record
from plait.data.source import kind
from plait.errors import PlaitError

Reader = Callable[[Path], Iterator[Record]]
TABLES: dict[str, tuple[Reader, str]] = {
    ".jsonl": (jsonl.records, "line"),
    ".ndjson": (jsonl.records, "line"),
    ".csv": (delimited.records, "line"),
    ".tsv": (delimited.records, "line"),
    ".parquet": (parquet.records, "row"),
}


class Row(NamedTuple):
    """One row: where it stands, as messages say it; the id it gets if it brings none; its columns, or a bare list."""

    place: str
    default_id: str
    value: object


def rows(path: Path, what: str) -> Iterator[Row]:
    """The rows of a file of TABLES, in JSON Lines any values, or of a folder that Hugging Face datasets wrote. `what`
    they are, for messages.

    Raises PlaitError at once for a file of another kind, and while reading for the first bad row, by place.
    """
    if path.is_dir() and arrow.is_dataset(path):
        return placed(arrow.records(path), f"{path} row")
    if path.is_dir() or kind(path) not in TABLES:
        raise PlaitError(f"{what} must be a file of {', '.join(TABLES)}, but are {path}; convert or rename it")
    reader, unit = TABLES[kind(path)]
    if reader is jsonl.records:
        return (Row(f"{path} {unit} {number}", str(number), value) for number, value in jsonl.values(path))
    return placed(reader(path), f"{path} {unit}")


def placed(records: Iterable[Record], source: str) -> Iterator[Row]:
    """The records as rows; `source` is the file and the unit that `where` counts, like "pairs.csv line"."""
    return (Row(f"{source} {where}", default_id, fields) for where, default_id, fields in records)
