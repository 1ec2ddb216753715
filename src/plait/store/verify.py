"""Reads everything back and compares it with the checksums that were stored beside it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from plait.store.catalog import Catalog, Part
from plait.store.codec import Codec
from plait.store.reader import Reader
from plait.store.row import Damage, checksum
from plait.store.schema import IDENTITY

if TYPE_CHECKING:
    import lance

ROWS = 64
"""Passages read at once: bounds the memory."""


def damages(dataset: "lance.LanceDataset", catalog: Catalog, part: Part, codec: Codec, reader: Reader) -> list[Damage]:
    """What is wrong in one part: passages that cannot be read or whose content is not what was stored."""
    found = []
    for start in range(0, len(part.ids), ROWS):
        rows = list(range(start, min(start + ROWS, len(part.ids))))
        try:
            found += _compare(dataset, catalog, part, rows, codec, reader)
        except BaseException as error:
            _let_go(error)
            for row in rows:  # Something of these cannot be read at all: which?
                try:
                    found += _compare(dataset, catalog, part, [row], codec, reader)
                except BaseException as one:
                    _let_go(one)
                    found.append(Damage(part.ids[row], f"cannot be read: {' '.join(str(one).split())[:160]}"))
    return found


def _compare(
    dataset: "lance.LanceDataset", catalog: Catalog, part: Part, rows: list[int], codec: Codec, reader: Reader
) -> list[Damage]:
    wanted = [*IDENTITY, "n_tokens", "offsets", "checksum"]
    wanted += ["vector"] if "vector" in dataset.schema.names else []
    places = [(part, row) for row in rows]
    table = dataset.take(catalog.offsets(places), columns=wanted).to_pylist()
    lengths = [int(part.lengths[row]) for row in rows]
    sizes = [[codec.size(name, length) for length in lengths] for name in codec.widths]
    states = [
        b"".join(piece.tobytes() for piece in reader.gather(dataset, places, i, right)) for i, right in enumerate(sizes)
    ]
    found, begins = [], [0] * len(sizes)
    for number, (row, values) in enumerate(zip(rows, table, strict=True)):
        matrices = []
        for i, right in enumerate(sizes):
            matrices.append(states[i][begins[i] : begins[i] + right[number]])
            begins[i] += right[number]
        if _sum(values, matrices) != values["checksum"] or values["id"] != part.ids[row]:
            found.append(Damage(part.ids[row], "its content differs from what was stored (checksum)"))
    return found


def _sum(values: dict[str, Any], matrices: Sequence[bytes | memoryview]) -> int:
    vector = values.get("vector")
    return checksum(
        tuple(values[name] for name in IDENTITY),
        values["n_tokens"],
        np.array(values["offsets"], dtype=np.int32),
        matrices,
        None if vector is None else np.array(vector, dtype=np.float32),
    )


def _let_go(error: BaseException) -> None:
    """Raise again what is not a failure to read; a panic of the native library is one, though no Exception."""
    if not isinstance(error, Exception) and type(error).__module__ != "pyo3_runtime":
        raise error
