"""What the executor needs to know of an architecture. An adapter holds no weights: it calls the modules that do.

The methods with a body are right for encoders like BERT: positions from a table, a norm behind each half of a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from plait.attention import Hidden, KeyValue
from plait.cost import Shape
from plait.layout import Layout
from plait.relation import Relation


def common_shape(config: Any, feedforward: int, positions: int) -> Shape:
    """What a config states under the names that all of `transformers` have for it, and two things that have several;
    without types, and all else as BERT has it.
    """
    return Shape(
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        feedforward=feedforward,
        embedding=0,
        positions=positions,
        types=1,
    )


Projection = Callable[[Tensor], Tensor]
"""A linear module, or some rows of one."""


class Family(Protocol):
    """One encoder architecture. All tensors are packed: token-wise modules see [T, H]."""

    shape: Shape

    def embed(self, ids: Tensor, types: Tensor, positions: Tensor) -> Tensor:
        """ids, types, positions int64 [T]; positions count from 0 -> states [T, H]."""
        ...

    def projections(self, layer: int) -> Sequence[Projection]:
        """What makes a layer's queries, keys and values, each [T, H] -> [T, A * D], or fewer heads of the last two."""
        ...

    def normed(self, layer: int, x: Tensor) -> Tensor:
        """What the projections read of a layer's input: [T, H] -> [T, H]; a norm, where one comes before attention."""
        return x

    def query(self, layer: int, x: Tensor) -> Tensor:
        """[T, H] -> [T, A, D]."""
        query, _, _ = self.projections(layer)
        return self.split(query(self.normed(layer, x)))

    def key_value(self, layer: int, x: Tensor, layout: Layout) -> KeyValue:
        """Keys and values of states that can be read in `layer`: [T, H] -> two of [T, A, D], or of fewer heads."""
        _, key, value = self.projections(layer)
        x = self.normed(layer, x)
        return KeyValue(layout, self.split(key(x)), self.split(value(x)))

    def hidden(self, layer: int, x: Tensor, layout: Layout) -> Hidden | KeyValue:
        """The same without forming keys and values, where scores are plain products and the projections plain matrices
        (those of a LoRA are not): states [T, H] and the projections.
        """
        if self.shape.absolute:
            _, key, value = self.projections(layer)
            if type(key) is nn.Linear and type(value) is nn.Linear:
                return Hidden.projected(layout, self.normed(layer, x), key, value, self.shape.heads)
        return self.key_value(layer, x, layout)

    def merge(self, layer: int, x: Tensor, context: Tensor) -> Tensor:
        """Output projection, residual, norm, feed-forward: states [T, H], context [T, A, D] -> [T, H]."""
        ...

    def finish(self, x: Tensor) -> Tensor:
        """What the encoder does after its last layer, such as a norm: [T, H] -> [T, H]."""
        return x

    @property
    def scale(self) -> float:
        """What products of queries and keys are multiplied by."""
        return float(self.shape.head_size**-0.5)

    def relation(self, layer: int) -> Relation | None:
        """What the layer's attention makes of where tokens stand; None if nothing."""
        return None

    @property
    def segments(self) -> bool:
        """Whether relations mind which tokens are of one segment, see SEGMENT: those of the first role, those of all
        others, and a classification token that stands last.
        """
        return False

    def position_table(self) -> tuple[nn.Embedding, int] | None:
        """The table of learned positions, and its row for position 0; None where there is none."""
        return None

    def split(self, x: Tensor) -> Tensor:
        """[T, A * D] -> [T, A, D]."""
        return x.view(len(x), x.shape[1] // self.shape.head_size, self.shape.head_size)
