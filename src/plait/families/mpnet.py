"""MPNet: BERT's layers with positions from a table and, in every layer, a bias by distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from plait.cost import Shape
from plait.families.bert import pooler
from plait.families.buckets import Buckets
from plait.families.family import Family, common_shape
from plait.relation import Relation

__all__ = ["Adapter", "pooler", "shape"]

FIRST_POSITION = 2
"""Behind that of padding, whose number `transformers` does not take from the config."""


def shape(config: Any) -> Shape:
    """The sizes that a config states."""
    return replace(
        common_shape(config, config.intermediate_size, config.max_position_embeddings - FIRST_POSITION),
        absolute=False,
    )


class Adapter(Family):
    """Of MPNet's encoder (post-norm)."""

    def __init__(self, base: PreTrainedModel) -> None:
        self._embeddings: Any = base.embeddings
        encoder: Any = base.encoder
        self._layers = encoder.layer
        self._relation = Buckets(encoder.relative_attention_bias, encoder.relative_position_bucket)
        self.shape = shape(base.config)

    def embed(self, ids: Tensor, types: Tensor, positions: Tensor) -> Tensor:
        """ids, positions int64 [T] -> [T, H]; there are no types."""
        return self._embeddings(ids[None], (positions + FIRST_POSITION)[None])[0]  # type: ignore[no-any-return]

    def position_table(self) -> tuple[nn.Embedding, int]:
        """Its table."""
        return self._embeddings.position_embeddings, FIRST_POSITION

    def projections(self, layer: int) -> Sequence[nn.Module]:
        """Of queries, keys and values."""
        attention = self._layers[layer].attention.attn
        return attention.q, attention.k, attention.v

    def merge(self, layer: int, x: Tensor, context: Tensor) -> Tensor:
        """States [T, H] and context [T, A, D] -> [T, H]."""
        block = self._layers[layer]
        attention = block.attention
        x = attention.LayerNorm(attention.dropout(attention.attn.o(context.flatten(1))) + x)
        return block.output(block.intermediate(x), x)  # type: ignore[no-any-return]

    def relation(self, layer: int) -> Relation:
        """One table for all layers."""
        return self._relation
