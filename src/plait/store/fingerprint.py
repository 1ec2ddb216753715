"""What a store was made by and holds. A store is never read by anything else."""

import json
from dataclasses import asdict, dataclass

from plait.errors import PlaitError
from plait.store.codec import Codec

FORMAT = 1
"""Version of the table's columns and of the blob layout."""


@dataclass(frozen=True)
class Fingerprint:
    """Names the makers and the contents of a store; equal fingerprints can share one.

    model: hash of the weights. tokenizer: its hash. plan: text of what is stored. codec: name of a codec. tensors:
    (name, width) of every stored tensor, in order. format: version of the layout on disk.
    """

    model: str
    tokenizer: str
    plan: str
    codec: str
    tensors: tuple[tuple[str, int], ...]
    format: int = FORMAT

    def to_json(self) -> str:
        """One line of JSON with every field."""
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def from_json(text: str) -> "Fingerprint":
        """What to_json wrote. PlaitError if it is not that."""
        try:
            found = json.loads(text)
            return Fingerprint(
                model=str(found["model"]),
                tokenizer=str(found["tokenizer"]),
                plan=str(found["plan"]),
                codec=str(found["codec"]),
                tensors=tuple((str(name), int(width)) for name, width in found["tensors"]),
                format=int(found["format"]),
            )
        except (ValueError, TypeError, KeyError) as error:
            raise PlaitError(
                f"the fingerprint of a store must be JSON with model, tokenizer, plan, codec, tensors and format, but "
                f"is {_short(text)} ({type(error).__name__}); build a new store with plait index"
            ) from error

    def make_codec(self) -> Codec:
        """The codec of the store. PlaitError if this version has none of that name."""
        return Codec(self.codec, self.tensors)


def check(expected: Fingerprint, found: Fingerprint) -> None:
    """PlaitError that names every field in which a store (found) is not what a model needs (expected)."""
    parts = []
    for field in ("model", "tokenizer", "plan", "codec", "tensors", "format"):
        want, have = getattr(expected, field), getattr(found, field)
        if want != have:
            parts.append(f"{field} (the store has {_short(have)}, this is {_short(want)})")
    if parts:
        raise PlaitError(
            f"a store can only be read by what made it, but these differ: {', '.join(parts)}; open it with the model "
            "that made it, or build a new store with plait index"
        )


def _short(value: object, limit: int = 40) -> str:
    text = str(value)
    return text if len(text) <= limit else f"{text[: limit // 2]}…{text[-limit // 2 + 1 :]}"
