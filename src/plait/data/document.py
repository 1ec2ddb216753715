"""Document: one text with a name; and the one way from a record of named fields to it."""

import json
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from plait.errors import DataWarning, PlaitError, reason

ID_FIELDS = ("id", "_id")
TEXT_FIELD = "text"


@dataclass(frozen=True)
class Document:
    """One text of a corpus: `id` and `text` are not empty; `metadata` holds whatever else the file said about it."""

    id: str
    text: str
    metadata: dict[str, object] = field(default_factory=dict)

    def check(self) -> None:
        """PlaitError unless it can be stored: texts that are Unicode and not blank, metadata that JSON can hold."""
        checked_text(self.id, "the id", f"document {self.id!r}")
        checked_text(self.text, "the text", f"document {self.id!r}")
        if problem := _beyond_json(self.metadata):
            raise PlaitError(
                f"document {self.id!r}: metadata must be something that JSON can hold, but is not ({problem}); keep "
                "texts, finite numbers, lists and dicts"
            )


class Record(NamedTuple):
    """Named fields as a file holds them: where they stand (line 3), and the id they get if they bring none."""

    where: int
    default_id: str
    fields: Mapping[str, object]


def documents(
    records: Iterable[Record],
    source: str,
    text_column: str | None = None,
    id_column: str | None = None,
    what: str = "document",
    before: str = "",
    without: set[str] | None = None,
) -> Iterator[Document]:
    """One document a record; `source` is the file and the unit that `where` counts, like "docs.jsonl line"; `what` is
    the word for one of them in messages; `before` begins the ids of those that bring none, or of all where `id_column`
    is empty.

    Metadata that JSON cannot hold (bytes, NaN, half a character) is left out, and a DataWarning names its fields; so
    are documents whose text is blank or null, as collections have some: `without` gets their ids.

    Raises PlaitError for a record without a text field, a query without a text, a wrong id, an id that two records
    have, and no record at all.
    """
    seen: dict[str, int] = {}
    left_out: Counter[str] = Counter()
    blank: list[str] = []
    for where, default_id, fields in records:
        place = f"{source} {where}"
        text_name = named(fields, text_column, (TEXT_FIELD,), place)
        id_name = None if id_column == "" else named(fields, id_column, ID_FIELDS, place)
        if text_name is None:
            raise PlaitError(
                f"{place} must have a field '{TEXT_FIELD}', but has {listed(fields)}; rename one, or name it by "
                "text_column (plait index --text-column)"
            )
        identity = before + default_id if id_name is None else identified(fields[id_name], f"field '{id_name}'", place)
        if identity in seen:
            numbers = ", or leave id_column empty (--id-column '') to number them" if before else ""
            raise repeated(what, identity, f"{source} {seen[identity]}", place, numbers)
        seen[identity] = where
        text = fields[text_name]
        if what == "document" and (text is None or (isinstance(text, str) and not text.strip())):
            blank.append(identity)
            continue
        text = checked_text(text, f"field '{text_name}'", place)
        metadata = _metadata(fields, (text_name, id_name), place)
        beyond = [name for name, value in metadata.items() if _beyond_json({name: value})]
        left_out.update(beyond)
        yield Document(identity, text, {name: value for name, value in metadata.items() if name not in beyond})
    path = source.rsplit(" ", 1)[0]
    if left_out:
        counts = ", ".join(f"{name!r} of {count}" for name, count in left_out.items())
        warnings.warn(
            f"{path}: metadata that JSON cannot hold is left out: {counts} of {len(seen)} {what}s; write texts or "
            "finite numbers to keep it",
            DataWarning,
            stacklevel=2,
        )
    if len(seen) == len(blank):
        lacking = f"{len(blank)} without a text" if blank else "none"
        raise PlaitError(f"{path} must hold at least one {what}, but holds {lacking}; fill it or name another path")
    if blank:
        warnings.warn(
            f"{path}: {len(blank)} of {len(seen)} {what}s have no text, {blank[0]!r} first, and are left out",
            DataWarning,
            stacklevel=2,
        )
    if without is not None:
        without.update(blank)


def _beyond_json(metadata: Mapping[str, object]) -> str:
    """Why JSON cannot hold it, or nothing."""
    try:
        json.dumps(metadata, allow_nan=False, ensure_ascii=False, sort_keys=True).encode()
    except (TypeError, ValueError) as error:
        return reason(error)
    return ""


def unique(columns: Sequence[str], path: Path) -> Sequence[str]:
    """The names of a table's columns; PlaitError if two are the same."""
    if twice := [name for name, count in Counter(columns).items() if count > 1]:
        raise PlaitError(f"{path} must name each column once, but has '{twice[0]}' twice; rename one")
    return columns


def repeated(what: str, identity: str, first: str, again: str, fix: str = "") -> PlaitError:
    """The error for an id that stands at two places; `fix` is what can be done beside giving each its own."""
    return PlaitError(
        f"an id must name one {what}, but '{identity}' stands at {first} and again at {again}; "
        f"give each {what} its own id{fix}"
    )


def checked_text(value: object, what: str, place: str) -> str:
    """The value, if it is a text that can be read and stored; PlaitError that names `what` and `place` if not."""
    if not isinstance(value, str):
        raise PlaitError(f"{place}: {what} must be a text, but is {described(value)}; write a string there")
    if not value or value.isspace():
        raise PlaitError(f"{place}: {what} must not be empty, but is; write a text there or delete the record")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise PlaitError(
            f"{place}: {what} must be Unicode text, but character {error.start} is half of a surrogate pair; "
            "write the whole character"
        ) from None
    return value


def named(fields: Mapping[str, object], wanted: str | None, usual: tuple[str, ...], place: str) -> str | None:
    """The name of a column: `wanted`, which must be there, or the first of the usual ones that is; None if none is."""
    if wanted is None:
        return next((name for name in usual if name in fields), None)
    if wanted not in fields:
        raise PlaitError(f"{place} must have the column '{wanted}', but has {listed(fields)}; pass one of these")
    return wanted


def identified(value: object, what: str, place: str) -> str:
    """A value as an id: a text, or an integer as its digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return checked_text("" if value is None else value, what, place)


def _metadata(fields: Mapping[str, object], used: tuple[str | None, ...], place: str) -> dict[str, object]:
    """All other fields; those of a nested object "metadata" (BEIR writes one) stand beside them."""
    rest = {name: value for name, value in fields.items() if name not in used}
    nested = rest.get("metadata")
    if not isinstance(nested, dict):
        return rest
    del rest["metadata"]
    if clash := rest.keys() & nested.keys():
        raise PlaitError(
            f"{place}: a field must be said once, but '{min(clash)}' stands beside 'metadata' and in it; delete one"
        )
    return rest | nested


def listed(fields: Iterable[str]) -> str:
    """The names of columns as messages say them."""
    return ", ".join(f"'{name}'" for name in fields) or "no field"


def described(value: object) -> str:
    """What a value is, as messages say it."""
    names = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return "null" if value is None else names.get(type(value), f"a {type(value).__name__}")
