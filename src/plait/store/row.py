"""The rows that go into a store and what comes back out."""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from plait.errors import PlaitError
from plait.store.codec import Codec


@dataclass(frozen=True, eq=False)
class Row:
    """One passage to be stored.

    id: unique in the store. document: id of the text it is cut from; ordinal: its number in there; start: its first
    character there. content: hash of the whole document, the same in all its rows. offsets: int32 [n_tokens, 2], the
    characters of `text` that each token covers. blob: what the store's codec wrote. vector: float32 [D] or None.
    metadata: anything that JSON can hold.
    """

    id: str
    document: str
    ordinal: int
    start: int
    text: str
    content: str
    n_tokens: int
    offsets: NDArray[np.int32]
    blob: bytes
    vector: NDArray[np.float32] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def check(self, codec: Codec, vector_width: int) -> None:
        """PlaitError unless every part has the shape that the store keeps."""
        if not self.id or not self.document:
            raise PlaitError(
                f"a passage needs an id and a document id, but has id={self.id!r}, document={self.document!r}; "
                "give both a text of at least one character"
            )
        if self.offsets.shape != (self.n_tokens, 2):
            raise PlaitError(
                f"offsets of passage {self.id!r} must have shape [{self.n_tokens}, 2], one pair for each of its tokens,"
                f" but have {list(self.offsets.shape)}; pass those that the tokenizer gave for the kept tokens"
            )
        if self.vector is not None and self.vector.shape != (vector_width,):
            raise PlaitError(
                f"the vector of passage {self.id!r} must have shape [{vector_width}], but has "
                f"{list(self.vector.shape)}; create the store with vector_width={self.vector.shape[-1]}"
            )
        if self.vector is not None and not (np.isfinite(self.vector).all() and self.vector.any()):
            raise PlaitError(
                f"the vector of passage {self.id!r} must have a direction to be searched by, but is "
                f"{'zero' if np.isfinite(self.vector).all() else 'not finite'}; give another"
            )
        codec.split(self.blob, self.n_tokens)

    def metadata_json(self) -> str:
        """The metadata as it is stored. PlaitError if JSON cannot hold it."""
        try:
            return json.dumps(self.metadata, ensure_ascii=False, allow_nan=False, sort_keys=True)
        except (TypeError, ValueError) as error:
            raise PlaitError(
                f"metadata of passage {self.id!r} must be something that JSON can hold, but is not ({error}); "
                "keep texts, finite numbers, lists and dicts"
            ) from error


@dataclass(frozen=True, eq=False)
class Passage:
    """One stored passage without its states; the fields are those of Row."""

    id: str
    document: str
    ordinal: int
    start: int
    text: str
    offsets: NDArray[np.int32]
    metadata: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Batch:
    """States of passages in the order asked. states: name to [rows of all, width]; a passage of n tokens has
    `plait.keep.rows(name, n)` of them, n unless the name says that it was reduced.
    """

    ids: tuple[str, ...]
    lengths: tuple[int, ...]
    states: dict[str, Tensor]


@dataclass(frozen=True)
class Hit:
    """One result of a search: a passage's id and its score, higher is better."""

    id: str
    score: float


@dataclass(frozen=True)
class Damage:
    """One finding of verify(): the passage and what is wrong."""

    id: str
    reason: str


def checksum(
    identity: tuple[str, str, int, int, str, str, str],
    n_tokens: int,
    offsets: NDArray[np.int32],
    matrices: Sequence[bytes | memoryview],
    vector: NDArray[np.float32] | None,
) -> int:
    """CRC-32 over everything that is stored of one passage.

    identity: id, document, ordinal, start, text, content, metadata as stored. matrices: the blob, in order.
    """
    crc = zlib.crc32(json.dumps([*identity, n_tokens, vector is None]).encode())
    crc = zlib.crc32(offsets.astype("<i4").tobytes(), crc)
    for matrix in matrices:
        crc = zlib.crc32(matrix, crc)
    if vector is not None:
        crc = zlib.crc32(vector.astype("<f4").tobytes(), crc)
    return crc
