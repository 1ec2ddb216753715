"""What must hold of ids before anything is read or written."""

from collections.abc import Iterable, Sequence

from plait.errors import PlaitError
from plait.store.catalog import Catalog, Part
from plait.store.row import Row


def find(catalog: Catalog, ids: Sequence[str]) -> list[tuple[Part, int]]:
    """Where the passages lie. PlaitError naming ids that are not there."""
    try:
        return [catalog.places[id] for id in ids]
    except KeyError:
        missing = [id for id in ids if id not in catalog.places]
        raise PlaitError(
            f"only stored passages can be read, but {some(missing)} are not there; they may have been deleted"
        ) from None


def unique(rows: Sequence[Row]) -> None:
    """PlaitError if an id comes twice, or one document carries several content hashes."""
    seen: set[str] = set()
    twice = {row.id for row in rows if row.id in seen or seen.add(row.id)}  # type: ignore[func-returns-value]
    if twice:
        raise PlaitError(f"ids must be given once, but {some(twice)} come twice in one call; rename or drop one")
    contents: dict[str, str] = {}
    mixed = {row.document for row in rows if contents.setdefault(row.document, row.content) != row.content}
    if mixed:
        raise PlaitError(
            f"all passages of a document must carry one content hash, but {some(mixed)} have several; "
            "pass the hash of the whole document"
        )


def refuse(kind: str, taken: Iterable[str], fix: str) -> None:
    """PlaitError naming what is taken already, if anything is."""
    found = list(taken)
    if found:
        raise PlaitError(f"{kind} to add must not be in the store, but {some(found)} are; {fix}")


def some(ids: Iterable[str], limit: int = 5) -> str:
    """The first few ids, quoted, and how many more."""
    found = sorted(ids)
    more = f" and {len(found) - limit} more" if len(found) > limit else ""
    return ", ".join(repr(id) for id in found[:limit]) + more


def among(documents: set[str]) -> str:
    """A condition on rows: they belong to one of the documents."""
    quoted = ", ".join("'" + document.replace("'", "''") + "'" for document in sorted(documents))
    return f"document IN ({quoted})"
