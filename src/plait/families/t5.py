"""T5 and mT5: the encoder of a model that writes. Norms before each half of a layer, a bias by distance, no scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from plait.cost import Shape
from plait.families.buckets import Buckets
from plait.families.family import Family, common_shape
from plait.relation import Relation

LONGEST = 512
"""Tokens of the texts that T5 was pretrained on (section 3.1.2). Distances are in buckets; the last one has no end."""


def shape(config: Any) -> Shape:
    """The sizes that a config states."""
    return replace(
        common_shape(config, config.d_ff, LONGEST),
        gated=config.is_gated_act,
        absolute=False,
        reads_all=True,
        head_width=config.d_kv,
    )


class Adapter(Family):
    """Of the encoder's stack."""

    def __init__(self, base: PreTrainedModel) -> None:
        stack: Any = base
        self._stack, self._blocks = stack, stack.block
        self.shape = shape(base.config)

    def embed(self, ids: Tensor, types: Tensor, positions: Tensor) -> Tensor:
        """ids int64 [T] -> [T, H]; there are neither types nor positions."""
        return self._stack.dropout(self._stack.embed_tokens(ids))  # type: ignore[no-any-return]

    def projections(self, layer: int) -> Sequence[nn.Module]:
        """Of queries, keys and values."""
        attention = self._blocks[layer].layer[0].SelfAttention
        return attention.q, attention.k, attention.v

    def normed(self, layer: int, x: Tensor) -> Tensor:
        """[T, H] -> [T, H]."""
        return self._blocks[layer].layer[0].layer_norm(x)  # type: ignore[no-any-return]

    def merge(self, layer: int, x: Tensor, context: Tensor) -> Tensor:
        """States [T, H] and context [T, A, D] -> [T, H]."""
        block = self._blocks[layer]
        x = x + block.layer[0].dropout(block.layer[0].SelfAttention.o(context.flatten(1)))
        return block.layer[-1](x)  # type: ignore[no-any-return]

    def finish(self, x: Tensor) -> Tensor:
        """The norm behind the last layer."""
        return self._stack.dropout(self._stack.final_layer_norm(x))  # type: ignore[no-any-return]

    @property
    def scale(self) -> float:
        """The initialisation makes up for it."""
        return 1.0

    def relation(self, layer: int) -> Relation:
        """The first layer's table, for all."""
        attention = self._blocks[0].layer[0].SelfAttention
        buckets, most = attention.relative_attention_num_buckets, attention.relative_attention_max_distance
        number = partial(
            attention._relative_position_bucket, bidirectional=True, num_buckets=buckets, max_distance=most
        )
        return Buckets(attention.relative_attention_bias, number)
