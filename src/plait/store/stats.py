"""Figures about a store."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from plait.store.catalog import Catalog
from plait.store.codec import Codec


@dataclass(frozen=True)
class Version:
    """A committed state of the store: its number and when it was made."""

    number: int
    when: datetime


@dataclass(frozen=True)
class Stats:
    """documents, passages, tokens: counts. disk_bytes: all files of the store, old versions included.
    state_bytes: the stored states of live passages. bytes_per_passage: disk_bytes / passages. bytes_per_token:
    stored states of one token that budgets leave. fragments: data files. versions: how many can still be opened.
    """

    documents: int
    passages: int
    tokens: int
    disk_bytes: int
    state_bytes: int
    bytes_per_passage: float
    bytes_per_token: int
    fragments: int
    versions: int


def measure(folder: Path, catalog: Catalog, codec: Codec, versions: int) -> Stats:
    """Figures of a catalog and the files in folder."""
    tokens = sum(int(part.lengths.sum()) for part in catalog.parts.values())
    disk = 0
    for path in folder.rglob("*"):
        try:
            disk += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # A writer may be compacting.
            continue
    return Stats(
        documents=len(catalog.contents),
        passages=len(catalog.places),
        tokens=tokens,
        disk_bytes=disk,
        state_bytes=sum(int(part.sizes.sum()) for part in catalog.parts.values()),
        bytes_per_passage=disk / max(1, len(catalog.places)),
        bytes_per_token=codec.token_bytes,
        fragments=len(catalog.parts),
        versions=versions,
    )
