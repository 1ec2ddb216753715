"""DeBERTa v2 and v3: BERT's layers with disentangled attention, in which contents also meet distances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

from plait.cost import Shape
from plait.errors import PlaitError
from plait.families.family import Family, common_shape
from plait.relation import Relation


def shape(config: Any) -> Shape:
    """The sizes that a config states."""
    narrow = getattr(config, "embedding_size", config.hidden_size)
    return replace(
        common_shape(config, config.intermediate_size, config.max_position_embeddings),
        embedding=0 if narrow == config.hidden_size else narrow,
        types=max(1, config.type_vocab_size),
        absolute=False,
        c2p="c2p" in _kinds(config),
        p2c="p2c" in _kinds(config),
        distances=2 * (config.position_buckets if config.position_buckets > 0 else config.max_position_embeddings),
    )


def pooler(model: Any) -> nn.Module:
    """[B, 1, H] -> [B, H], a module of the score head."""
    return model.pooler  # type: ignore[no-any-return]


def _kinds(config: Any) -> tuple[str, ...]:
    """Which of c2p and p2c its attention has."""
    return tuple(config.pos_att_type or ()) if config.relative_attention else ()


class Adapter(Family):
    """Of DeBERTa's encoder (post-norm)."""

    def __init__(self, base: PreTrainedModel) -> None:
        config: Any = base.config
        encoder: Any = base.encoder
        if encoder.conv is not None:
            raise PlaitError(
                "a layer must treat each token alone but for attention, but this checkpoint's config has "
                f"conv_kernel_size={config.conv_kernel_size}, a convolution over neighbours; choose one without"
            )
        self._embeddings: Any = base.embeddings
        self._encoder, self._layers = encoder, encoder.layer
        self._factor = 1 + len(tuple(config.pos_att_type or ()))
        self.shape = shape(config)

    def embed(self, ids: Tensor, types: Tensor, positions: Tensor) -> Tensor:
        """ids, types, positions int64 [T] -> [T, H]; positions only where the table has not been left out."""
        return self._embeddings(ids[None], types[None], positions[None])[0]  # type: ignore[no-any-return]

    def position_table(self) -> tuple[nn.Embedding, int] | None:
        """Its table, where it has one beside the distances."""
        table = self._embeddings.position_embeddings
        return None if table is None else (table, 0)

    def projections(self, layer: int) -> Sequence[nn.Module]:
        """Of queries, keys and values."""
        attention = self._layers[layer].attention.self
        return attention.query_proj, attention.key_proj, attention.value_proj

    def merge(self, layer: int, x: Tensor, context: Tensor) -> Tensor:
        """States [T, H] and context [T, A, D] -> [T, H]."""
        block = self._layers[layer]
        x = block.attention.output(context.flatten(1), x)
        return block.output(block.intermediate(x), x)  # type: ignore[no-any-return]

    @property
    def scale(self) -> float:
        """Of scores that are sums of up to three products."""
        return float((self.shape.head_size * self._factor) ** -0.5)

    def relation(self, layer: int) -> Relation | None:
        """The distances' own projections."""
        if not self._encoder.relative_attention:
            return None
        return Disentangled(self._encoder, self._layers[layer].attention.self, self.scale)


@dataclass(frozen=True)
class Disentangled:
    """A Relation: contents times distances (DeBERTa, ICLR 2021, section 3.1, equation 4).

    Queries meet the distances' keys (c2p), and keys the distances' queries (p2c); only distances that occur are formed.
    """

    encoder: Any
    attention: Any
    scale: float

    def turned(self, x: Tensor, places: Tensor) -> Tensor:
        """As they are."""
        return x

    def bias(self, query: Tensor, key: Tensor, distance: Tensor) -> Tensor | None:
        """[G, A, M, keys]."""
        kinds, span = self.attention.pos_att_type, int(self.attention.pos_ebd_size)
        if not kinds:
            return None
        if self.attention.position_buckets > 0:
            most = self.attention.max_relative_positions
            distance = make_log_bucket_position(distance, self.attention.position_buckets, most).long()
        number = (distance + span).clamp(0, 2 * span - 1)
        first = int(number.min())
        table = self.attention.pos_dropout(self.encoder.get_rel_embedding()[first : int(number.max()) + 1])  # [R, H]
        number = (number - first)[:, None]  # [G or 1, 1, M, keys]
        bias = None
        if "c2p" in kinds:
            bias = met(query, self._projected("key", table, query), number)
        if "p2c" in kinds:
            read = met(key, self._projected("query", table, key), number.mT).mT
            bias = read if bias is None else bias + read
        return bias

    def _projected(self, role: str, table: Tensor, like: Tensor) -> Tensor:
        """[R, H] -> [R, A, D], scaled, by the layer's own matrices for contents where it shares them."""
        name = f"{role}_proj" if self.attention.share_att_key else f"pos_{role}_proj"
        projected: Tensor = getattr(self.attention, name)(table) * self.scale
        return projected.to(like.dtype).view(len(table), *like.shape[2:])


def met(content: Tensor, distances: Tensor, number: Tensor) -> Tensor:
    """Products of contents [G, M, A, D] with the distances [R, A, D] that `number` [G or 1, 1, M, N] names:
    [G, A, M, N].
    """
    products = torch.einsum("gmad,rad->gamr", content, distances)
    groups = max(len(products), len(number))
    products = products.expand(groups, -1, -1, -1)
    return products.gather(3, number.expand(groups, products.shape[1], -1, -1))
