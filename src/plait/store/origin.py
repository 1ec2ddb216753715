"""Which store a table is: made once, by something, under an id of its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from plait.errors import Failure, PlaitError
from plait.store.fingerprint import FORMAT, Fingerprint
from plait.store.schema import ID, KEY, TABLE

if TYPE_CHECKING:
    import lance


@dataclass(frozen=True)
class Origin:
    """fingerprint: what made the store. id: which one it is: its id, or of stores without one the folder's inode."""

    fingerprint: Fingerprint
    id: str


def origin_of(path: Path, dataset: "lance.LanceDataset") -> Origin:
    """Of a table, in the store at path. PlaitError if it is no store's, or of another format."""
    found = dataset.schema.metadata or {}
    if KEY not in found:
        raise PlaitError(f"{path} is a table but no Plait store; build one with plait index")
    fingerprint = Fingerprint.from_json(found[KEY].decode())
    if fingerprint.format != FORMAT:
        raise PlaitError(
            f"this version reads stores of format {FORMAT}, but {path} has format {fingerprint.format}; "
            "build a new store with plait index"
        )
    return Origin(fingerprint, found[ID].decode() if ID in found else f"inode {(path / TABLE).stat().st_ino}")


def require_same(path: Path, opened: Origin, dataset: "lance.LanceDataset") -> None:
    """Failure unless a table that is at path now is that of the store that was opened there."""
    if origin_of(path, dataset) != opened:
        raise Failure(
            f"a store that is open must stay where it is, but {path} was built anew since, and what is open is gone; "
            "open it again"
        )
