"""ALBERT: layers that share weights, and embeddings narrower than the layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from plait.cost import Shape
from plait.families.family import Family, common_shape


def shape(config: Any) -> Shape:
    """The sizes that a config states; a group's inner layers are layers."""
    return replace(
        common_shape(config, config.intermediate_size, config.max_position_embeddings),
        layers=config.num_hidden_layers * config.inner_group_num,
        embedding=config.embedding_size,  # projected even where it is as wide as the layers
        types=config.type_vocab_size,
    )


def pooler(model: Any) -> nn.Module:
    """[B, 1, H] -> [B, H]; the linear layer is a module of the encoder."""
    return nn.Sequential(nn.Flatten(1), model.albert.pooler, model.albert.pooler_activation)


class Adapter(Family):
    """Of ALBERT's encoder (post-norm, learned absolute positions)."""

    def __init__(self, base: PreTrainedModel) -> None:
        config: Any = base.config
        self._embeddings: Any = base.embeddings
        encoder: Any = base.encoder
        self._project = encoder.embedding_hidden_mapping_in
        groups, turns = encoder.albert_layer_groups, config.num_hidden_layers
        # A turn runs the layers of one group, and neighbouring turns may run the same: one entry for each layer run.
        chosen = [groups[int(turn / (turns / len(groups)))] for turn in range(turns)]  # transformers' own rounding
        self._layers = [block for group in chosen for block in group.albert_layers]
        self.shape = shape(config)

    def embed(self, ids: Tensor, types: Tensor, positions: Tensor) -> Tensor:
        """ids, types, positions int64 [T] -> [T, H]."""
        return self._project(self._embeddings(ids[None], types[None], positions[None])[0])  # type: ignore[no-any-return]

    def position_table(self) -> tuple[nn.Embedding, int]:
        """Its table."""
        return self._embeddings.position_embeddings, 0

    def projections(self, layer: int) -> Sequence[nn.Module]:
        """Of queries, keys and values."""
        attention = self._layers[layer].attention
        return attention.query, attention.key, attention.value

    def merge(self, layer: int, x: Tensor, context: Tensor) -> Tensor:
        """States [T, H] and context [T, A, D] -> [T, H]."""
        block = self._layers[layer]
        attention = block.attention
        x = attention.LayerNorm(x + attention.output_dropout(attention.dense(context.flatten(1))))
        return block.full_layer_layer_norm(block.ff_chunk(x) + x)  # type: ignore[no-any-return]
