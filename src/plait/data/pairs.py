"""Texts to be scored together: two or more a line."""

from collections.abc import Iterator
from pathlib import Path

from plait.data import delimited, jsonl
from plait.data.document import checked_text
from plait.data.source import kind
from plait.errors import PlaitError

FIELDS = (("query", "passage"), ("text1", "text2"), ("premise", "hypothesis"))


def read_pairs(path: str | Path) -> Iterator[tuple[str, ...]]:
    """The texts of each line, in the order in which a model reads them.

    .jsonl (also .gz, .xz): objects with query and passage, text1 and text2, or premise and hypothesis; or lists of two
    or more strings. .csv, .tsv: a header with two of these names; other columns are ignored. Raises PlaitError that
    names the line for anything else, and for an empty text.
    """
    path = Path(path)
    rows: Iterator[tuple[int, object]]
    match kind(path):
        case ".jsonl" | ".ndjson":
            rows = jsonl.values(path)
        case ".csv" | ".tsv":
            rows = ((record.where, record.fields) for record in delimited.records(path))
        case other:
            raise PlaitError(f"pairs must be a .jsonl, .csv or .tsv file, but {path} is '{other}'; write it as .jsonl")
    return _texts(rows, path)


def _texts(rows: Iterator[tuple[int, object]], path: Path) -> Iterator[tuple[str, ...]]:
    found = False
    for number, row in rows:
        yield _pair(row, f"{path} line {number}")
        found = True
    if not found:
        raise PlaitError(f"{path} must hold at least one pair, but holds none; fill it or name another file")


def _pair(row: object, place: str) -> tuple[str, ...]:
    if isinstance(row, list) and len(row) >= 2:
        return tuple(checked_text(text, f"text {number}", place) for number, text in enumerate(row, start=1))
    if isinstance(row, dict):
        for names in FIELDS:
            if all(name in row for name in names):
                return tuple(checked_text(row[name], f"'{name}'", place) for name in names)
        found = ", ".join(f"'{name}'" for name in row) or "no field"
    else:
        found = "a list of fewer than two" if isinstance(row, list) else "no object and no list"
    wanted = ", ".join(" and ".join(f"'{name}'" for name in names) for names in FIELDS)
    raise PlaitError(f"{place} must have {wanted} or be a list of strings, but has {found}; rename its fields")
