"""GTE and Nomic BERT: BERT's layers with rotated queries and keys, gated feed-forward, and no table of positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from plait.cost import Shape
from plait.families.bert import pooler
from plait.families.family import Family, common_shape
from plait.families.rotary import Rotary, angles_of
from plait.relation import Relation

__all__ = ["Adapter", "pooler", "shape"]


def shape(config: Any, *, gated: bool = True) -> Shape:
    """The sizes that a config states."""
    return replace(
        common_shape(config, config.intermediate_size, config.max_position_embeddings),
        types=config.type_vocab_size or 1,
        gated=gated,
        absolute=False,
        head_width=getattr(config, "head_dim", None) or 0,
    )


class Adapter(Family):
    """Of their encoders (post-norm)."""

    def __init__(self, base: PreTrainedModel) -> None:
        self._embeddings: Any = base.embeddings
        self._layers: Any = base.layers
        rotary: Any = base.rotary_emb
        self._relation = Rotary(angles_of(rotary, base.config))
        self.shape = shape(base.config)

    def embed(self, ids: Tensor, types: Tensor, positions: Tensor) -> Tensor:
        """ids, types int64 [T] -> [T, H]; there are no positions."""
        return self._embeddings(input_ids=ids[None], token_type_ids=types[None])[0]  # type: ignore[no-any-return]

    def projections(self, layer: int) -> Sequence[nn.Module]:
        """Of queries, keys and values."""
        attention = self._layers[layer].self_attn
        return attention.q_proj, attention.k_proj, attention.v_proj

    def merge(self, layer: int, x: Tensor, context: Tensor) -> Tensor:
        """States [T, H] and context [T, A, D] -> [T, H]."""
        block = self._layers[layer]
        x = block.post_attention_layernorm(x + block.post_attention_dropout(block.self_attn.o_proj(context.flatten(1))))
        return block.post_mlp_layernorm(x + block.post_mlp_dropout(block.mlp(x)))  # type: ignore[no-any-return]

    def relation(self, layer: int) -> Relation:
        """The same in all layers."""
        return self._relation
