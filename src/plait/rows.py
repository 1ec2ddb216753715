"""The rows of a store, made of documents: of every passage its states, as a codec writes them, and its vector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from plait.commits import COMMIT_PASSAGES, Pending
from plait.model import Plait
from plait.passages import Passage
from plait.settings import Vectors
from plait.store import Codec, Row
from plait.vectors import Given, given_vectors, pooled, vector_name


def store_rows(
    model: Plait, role: str, codec: Codec, vectors: Vectors, given: Given | None, documents: Sequence[Pending]
) -> list[Row]:
    """The rows of documents, in order; `vectors` are pooled of the passages' states, or `given` of their texts."""
    parts = [(pending, number, part) for pending in documents for number, part in enumerate(pending.passages)]
    rows: list[Row] = []
    for begin in range(0, len(parts), COMMIT_PASSAGES):  # of a long document, what is stored is held, no more
        rows += _encoded(model, role, codec, vectors, given, parts[begin : begin + COMMIT_PASSAGES])
    return rows


def _encoded(
    model: Plait,
    role: str,
    codec: Codec,
    vectors: Vectors,
    given: Given | None,
    parts: Sequence[tuple[Pending, int, Passage]],
) -> Iterator[Row]:
    texts = [part.text for _, _, part in parts]
    brought = given_vectors(given, texts) if given else None
    names = list(model.needs(role))
    extra = [vector_name(model, role)] if vectors == "pooled" else []
    encoded = model.encode(role, texts, sorted({*names, *extra}))
    for i, ((pending, number, part), one) in enumerate(zip(parts, encoded, strict=True)):
        document = pending.document
        yield Row(
            id=document.id if len(pending.passages) == 1 else f"{document.id}#{number}",
            document=document.id,
            ordinal=number,
            start=part.start,
            text=part.text,
            content=pending.content,
            n_tokens=len(one.offsets),
            offsets=one.offsets,
            vector=pooled(one, extra[0]) if extra else (None if brought is None else brought[i]),
            metadata=dict(document.metadata),
            blob=codec.encode({name: one.states[name] for name in names}, len(one.offsets)),
        )
