"""Texts to be scored together: one or more a row, in columns of known names."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from plait.data.document import checked_text, listed, named
from plait.data.table import Row, rows
from plait.errors import PlaitError

FIELDS = (
    ("query", "passage"),
    ("text1", "text2"),
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("sentence_A", "sentence_B"),
    ("question", "sentence"),
    ("question", "passage"),
    ("question1", "question2"),
    ("claim", "evidence"),
    ("#1 String", "#2 String"),
    ("anchor", "positive"),
)


def read_pairs(path: str | Path, *, texts: Sequence[str] = ()) -> Iterator[tuple[str, ...]]:
    """The texts of each row, in the order in which a model reads them.

    .jsonl (also .gz, .xz): objects with two names of FIELDS (query and passage, text1 and text2, premise and
    hypothesis, …), where a list of strings is several texts, or none if it is empty and the last; or lists of two or
    more strings. .csv, .tsv, .parquet: two of these columns; others are ignored. `texts` names other columns. Raises
    PlaitError that names the line for anything else, and for an empty text.
    """
    path = Path(path)
    return _pairs(rows(path, "pairs"), path, texts)


def _pairs(rows: Iterator[Row], path: Path, names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    found = False
    for place, _, row in rows:
        yield texts(row, place, names)
        found = True
    if not found:
        raise PlaitError(f"{path} must hold at least one pair, but holds none; fill it or name another file")


def texts(row: object, place: str, names: Sequence[str] = ()) -> tuple[str, ...]:
    """The texts of one row: of its columns `names`, or of the first FIELDS that it has; or of the list that it is.

    One column that is named may hold one text. Where a row has fewer texts, the last columns hold an empty list or, of
    three columns or more, are empty or null; the first never. PlaitError that names `place` for a row without these
    columns, a list of fewer than two texts, and a text that is none.
    """
    if isinstance(row, dict):
        chosen = names or next((pair for pair in FIELDS if all(name in row for name in pair)), ())
        if chosen:
            return _of_columns(row, chosen, place)
        found = listed(row)
    elif isinstance(row, list):
        if len(row) >= 2 and not names:
            return tuple(checked_text(text, f"text {number}", place) for number, text in enumerate(row, start=1))
        found = "a list without names" if names else "a list of fewer than two"
    else:
        found = "no object and no list"
    if names:
        raise PlaitError(f"{place} must have the columns {listed(names)}, but has {found}; write an object there")
    wanted = ", ".join(" and ".join(f"'{name}'" for name in pair) for pair in FIELDS)
    raise PlaitError(
        f"{place} must have {wanted}, or be a list of strings, but has {found}; rename its fields, or name them by "
        "texts (--texts first+second)"
    )


def _of_columns(row: Mapping[str, object], names: Sequence[str], place: str) -> tuple[str, ...]:
    found: list[str] = []
    for name in names:
        named(row, name, (), place)
    last = len(names)
    while last > 1 and _absent(row[names[last - 1]], len(names)):
        last -= 1
    for name in names[:last]:
        value = row[name]
        if value == []:
            raise PlaitError(f"{place}: '{name}' must hold a text, but is an empty list; write a text there")
        found += [checked_text(text, f"'{name}'", place) for text in (value if isinstance(value, list) else [value])]
    return tuple(found)


def _absent(value: object, columns: int) -> bool:
    """Whether a row has no text there; a blank one of two is rather a mistake."""
    return value == [] or (columns > 2 and (value is None or not str(value).strip()))
