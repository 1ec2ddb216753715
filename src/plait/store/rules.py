"""What must hold of ids before anything is read or written."""

from collections.abc import Collection, Iterable, Sequence

from plait.errors import PlaitError
from plait.store.catalog import Catalog, Part
from plait.store.row import Row

SHOWN = 5
"""Ids that a message names."""


def find(catalog: Catalog, ids: Sequence[str]) -> list[tuple[Part, int]]:
    """Where the passages lie. PlaitError naming ids that are not there."""
    try:
        return [catalog.places[id] for id in ids]
    except KeyError:
        missing = {id for id in ids if id not in catalog.places}
        raise PlaitError(f"only stored passages can be read, but {absent(missing)}; search again") from None


def unique(rows: Sequence[Row]) -> None:
    """PlaitError if an id comes twice, in one document or in two, or one document carries several content hashes."""
    seen: set[str] = set()
    twice = {row.id for row in rows if row.id in seen or seen.add(row.id)}  # type: ignore[func-returns-value]
    for id in sorted(twice):
        if len(documents := sorted({row.document for row in rows if row.id == id})) > 1:
            raise PlaitError(
                f"a passage is named document#number, but {id!r} is one of {documents[0]!r} and of {documents[1]!r}; "
                "rename one of them"
            )
    if twice:
        said = some(twice, "comes", "come")
        raise PlaitError(f"ids must be given once, but {said} twice in one call; rename or drop one")
    contents: dict[str, str] = {}
    mixed = {row.document for row in rows if contents.setdefault(row.document, row.content) != row.content}
    if mixed:
        raise PlaitError(
            f"all passages of a document must carry one content hash, but {some(mixed, 'has', 'have')} several; "
            "pass the hash of the whole document"
        )


def refuse(kind: str, taken: Iterable[str], fix: str) -> None:
    """PlaitError naming what is taken already, if anything is."""
    found = list(taken)
    if found:
        raise PlaitError(f"{kind} to add must not be in the store, but {some(found, 'is', 'are')}; {fix}")


def absent(ids: Collection[str]) -> str:
    """`'a' is not there`; ids that differ."""
    return f"{some(ids, 'is', 'are')} not there"


def some(ids: Collection[str], one: str, several: str) -> str:
    """The first few of ids that differ, quoted, how many more, and the verb that they take."""
    more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    return ", ".join(repr(id) for id in sorted(ids)[:SHOWN]) + f"{more} {one if len(ids) == 1 else several}"


def among(documents: set[str]) -> str:
    """A condition on rows: they belong to one of the documents."""
    quoted = ", ".join("'" + document.replace("'", "''") + "'" for document in sorted(documents))
    return f"document IN ({quoted})"
