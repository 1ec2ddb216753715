"""Passages without their states."""

import json
from typing import TYPE_CHECKING

import numpy as np

from plait.store.row import Passage

if TYPE_CHECKING:
    import lance

COLUMNS = ["id", "document", "ordinal", "start", "text", "offsets", "metadata"]


def read_passages(dataset: "lance.LanceDataset", offsets: list[int]) -> list[Passage]:
    """Passages of the given row numbers, in that order; a number may come twice."""
    if not offsets:
        return []
    once = list(dict.fromkeys(offsets))
    found = dict(zip(once, dataset.take(once, columns=COLUMNS).to_pylist(), strict=True))
    return [
        Passage(
            id=row["id"],
            document=row["document"],
            ordinal=row["ordinal"],
            start=row["start"],
            text=row["text"],
            offsets=np.array(row["offsets"], dtype=np.int32).reshape(-1, 2),
            metadata=json.loads(row["metadata"]),
        )
        for row in (found[offset] for offset in offsets)
    ]
