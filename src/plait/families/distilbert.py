"""DistilBERT: BERT's layers under other names, without token types and without a pooler in the encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from plait.cost import Shape
from plait.families.family import Family, common_shape


def shape(config: Any) -> Shape:
    """The sizes that a config states."""
    return common_shape(config, config.hidden_dim, config.max_position_embeddings)


def pooler(model: Any) -> nn.Module:
    """[B, 1, H] -> [B, H], by a module that belongs to the score head."""
    return nn.Sequential(nn.Flatten(1), model.pre_classifier, nn.ReLU())


class Adapter(Family):
    """Of DistilBERT's encoder (post-norm, positions from a table)."""

    def __init__(self, base: PreTrainedModel) -> None:
        self._embeddings: Any = base.embeddings
        transformer: Any = base.transformer
        self._layers = transformer.layer
        self.shape = shape(base.config)

    def embed(self, ids: Tensor, types: Tensor, positions: Tensor) -> Tensor:
        """ids, positions int64 [T] -> [T, H]; there are no types."""
        return self._embeddings(ids[None], position_ids=positions[None])[0]  # type: ignore[no-any-return]

    def position_table(self) -> tuple[nn.Embedding, int]:
        """Its table."""
        return self._embeddings.position_embeddings, 0

    def projections(self, layer: int) -> Sequence[nn.Module]:
        """Of queries, keys and values."""
        attention = self._layers[layer].attention
        return attention.q_lin, attention.k_lin, attention.v_lin

    def merge(self, layer: int, x: Tensor, context: Tensor) -> Tensor:
        """States [T, H] and context [T, A, D] -> [T, H]."""
        block = self._layers[layer]
        x = block.sa_layer_norm(block.attention.out_lin(context.flatten(1)) + x)
        # Not block.ffn itself, which may cut its second dimension into chunks: here that is H.
        return block.output_layer_norm(block.ffn.ff_chunk(x) + x)  # type: ignore[no-any-return]
