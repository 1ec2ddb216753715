"""BERT and its likes, from RoBERTa to ERNIE: one adapter, for they differ in two places of the embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from plait.cost import Shape
from plait.errors import PlaitError
from plait.families.family import Family, common_shape

COUNTS_FROM_PADDING = ("roberta", "xlm-roberta", "camembert", "data2vec-text")
"""Families whose first position is the one after the padding token's number."""


def shape(config: Any) -> Shape:
    """The sizes that a config states."""
    skipped = config.pad_token_id + 1 if config.model_type in COUNTS_FROM_PADDING else 0
    narrow = getattr(config, "embedding_size", config.hidden_size)  # ELECTRA projects only where the two differ
    return replace(
        common_shape(config, config.intermediate_size, config.max_position_embeddings - skipped),
        embedding=0 if narrow == config.hidden_size else narrow,
        types=config.type_vocab_size,
    )


def pooler(model: Any) -> nn.Module | None:
    """BERT's, a module of the encoder: [B, 1, H] -> [B, H]. None for the others, whose classifier reads [B, 1, H]; but
    for multiple choice they have it too.
    """
    return getattr(getattr(model, model.base_model_prefix), "pooler", None)


class Adapter(Family):
    """Of encoders built from BERT's layers (post-norm, learned absolute positions)."""

    def __init__(self, base: PreTrainedModel) -> None:
        config: Any = base.config
        if config.is_decoder or getattr(config, "add_cross_attention", False):
            raise PlaitError("the checkpoint must be an encoder, but its config says is_decoder; set is_decoder=false")
        self._embeddings: Any = base.embeddings
        self._project: Any = getattr(base, "embeddings_project", None)  # ELECTRA, where embeddings are narrower
        encoder: Any = base.encoder
        self._layers = encoder.layer
        self.shape = shape(config)
        self._first_position = config.max_position_embeddings - self.shape.positions

    def embed(self, ids: Tensor, types: Tensor, positions: Tensor) -> Tensor:
        """ids, types, positions int64 [T] -> [T, H]."""
        positions = positions + self._first_position
        x = self._embeddings(input_ids=ids[None], token_type_ids=types[None], position_ids=positions[None])[0]
        return x if self._project is None else self._project(x)  # type: ignore[no-any-return]

    def position_table(self) -> tuple[nn.Embedding, int]:
        """Its table."""
        return self._embeddings.position_embeddings, self._first_position

    def projections(self, layer: int) -> Sequence[nn.Module]:
        """Of queries, keys and values."""
        attention = self._layers[layer].attention.self
        return attention.query, attention.key, attention.value

    def merge(self, layer: int, x: Tensor, context: Tensor) -> Tensor:
        """States [T, H] and context [T, A, D] -> [T, H]."""
        block = self._layers[layer]
        x = block.attention.output(context.flatten(1), x)
        return block.output(block.intermediate(x), x)  # type: ignore[no-any-return]
