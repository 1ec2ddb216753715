"""Small stores with real content for the tests of this room."""

import hashlib
from pathlib import Path

import numpy as np
import torch

from plait.store import Codec, Fingerprint, Row, Store

TENSORS = (("states.4", 12), ("states.5", 8))
WORDS = "river stone copper lantern winter garden music engine harbour silver".split()


def fingerprint(codec: str = "int8") -> Fingerprint:
    """A made-up model's."""
    return Fingerprint("weights-1", "tokens-1", "states.4,states.5", codec, TENSORS)


def states(seed: int, length: int) -> dict[str, torch.Tensor]:
    """The states of passage `seed`."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(length, width, generator=generator) * 3 for name, width in TENSORS}


def seed_of(id: str) -> int:
    return int(hashlib.sha256(id.encode()).hexdigest()[:8], 16)


def passage(document: str, ordinal: int, codec: Codec, text: str | None = None, edition: str = "1") -> Row:
    """One row; everything in it follows from document, ordinal and edition."""
    id = f"{document}#{ordinal}"
    seed = seed_of(id + edition)
    length = 3 + seed % 9
    return Row(
        id=id,
        document=document,
        ordinal=ordinal,
        start=100 * ordinal,
        text=text or f"{WORDS[seed % 10]} {WORDS[seed // 10 % 10]} of {document} part {ordinal} edition {edition}",
        content=f"hash of {document} {edition}",
        n_tokens=length,
        offsets=np.stack([np.arange(length), np.arange(length) + 1], axis=1).astype(np.int32),
        blob=codec.encode(states(seed, length)),
        vector=np.random.default_rng(seed).normal(size=4).astype(np.float32),
        metadata={"title": document, "größe": [ordinal, None, 0.5]},
    )


def document(name: str, codec: Codec, passages: int = 3, edition: str = "1") -> list[Row]:
    """All rows of a document."""
    return [passage(name, ordinal, codec, edition=edition) for ordinal in range(passages)]


def make(path: Path, documents: int = 4, codec: str = "int8") -> Store:
    """A store with documents d0, d1, ... of three passages each, one commit each."""
    store = Store.create(path, fingerprint(codec), vector_width=4)
    for number in range(documents):
        store.add(document(f"d{number}", store.codec))
    return store


def assert_holds(store: Store, rows: list[Row]) -> None:
    """The store holds exactly these rows, whole and undamaged."""
    assert sorted(store.ids()) == sorted(row.id for row in rows)
    assert store.verify() == []
    assert store.contents() == {row.document: row.content for row in rows}
    ids = [row.id for row in rows]
    for found, row in zip(store.passages(ids), rows, strict=True):
        assert (found.id, found.document, found.ordinal, found.start, found.text, found.metadata) == (
            row.id,
            row.document,
            row.ordinal,
            row.start,
            row.text,
            row.metadata,
        )
        assert np.array_equal(found.offsets, row.offsets)
    batch = store.read(ids, dtype=torch.float32)
    expected = store.codec.decode([row.blob for row in rows], [row.n_tokens for row in rows], dtype=torch.float32)
    assert batch.lengths == tuple(row.n_tokens for row in rows)
    assert all(torch.equal(batch.states[name], expected[name]) for name, _ in TENSORS)
