"""What the executor needs to know of an architecture. An adapter holds no weights: it calls the modules that do."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from plait.attention import Hidden, KeyValue
from plait.cost import Shape
from plait.layout import Layout


class Family(Protocol):
    """One encoder architecture. All tensors are packed: token-wise modules see [T, H]."""

    shape: Shape

    def embed(self, ids: Tensor, types: Tensor, positions: Tensor) -> Tensor:
        """ids, types, positions int64 [T]; positions count from 0 -> states [T, H]."""
        ...

    def query(self, layer: int, x: Tensor) -> Tensor:
        """[T, H] -> [T, A, D]."""
        ...

    def key_value(self, layer: int, x: Tensor, layout: Layout) -> KeyValue:
        """Keys and values of states that can be read in `layer`: [T, H] -> two of [T, A, D]."""
        ...

    def hidden(self, layer: int, x: Tensor, layout: Layout) -> Hidden:
        """The same as `key_value` without forming them: states [T, H] and the layer's projections."""
        ...

    def merge(self, layer: int, x: Tensor, context: Tensor) -> Tensor:
        """Output projection, residual, norm, feed-forward: states [T, H], context [T, A, D] -> [T, H]."""
        ...
