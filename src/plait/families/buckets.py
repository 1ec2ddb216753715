"""Scores by distance, from a table of one number a head and a bucket of distances (T5, section 2.1; MPNet)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Buckets:
    """A Relation. `number` gives the bucket of each difference, key's place less query's, int64."""

    table: nn.Embedding
    number: Callable[[Tensor], Tensor]

    def turned(self, x: Tensor, places: Tensor) -> Tensor:
        """As they are."""
        return x

    def bias(self, query: Tensor, key: Tensor, distance: Tensor) -> Tensor:
        """[G or 1, A, M, keys]."""
        return self.table(self.number(-distance)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]
