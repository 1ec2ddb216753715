"""XLNet: post-norm layers whose attention knows distances and segments; its classification token stands last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from plait.cost import Shape
from plait.errors import PlaitError
from plait.families.deberta import met
from plait.families.family import Family, Projection, common_shape
from plait.relation import SEGMENT, Relation

LONGEST = 512
"""Tokens of the texts that XLNet was pretrained on (section 3.1). Distances are sinusoids, which have no end."""
DISTANCES = 2 * SEGMENT


def shape(config: Any) -> Shape:
    """The sizes that a config states."""
    return replace(
        common_shape(config, config.d_inner, LONGEST),
        absolute=False,
        types=2,
        last=True,
        c2p=True,
        distances=2 * config.clamp_len + 1 if config.clamp_len > 0 else DISTANCES,
    )


def pooler(model: Any) -> nn.Module:
    """[B, 1, H] -> [B, H], a module of the score head."""
    return model.sequence_summary  # type: ignore[no-any-return]


def classifier(model: Any) -> nn.Module:
    """[B, H] -> [B, labels]."""
    return model.logits_proj  # type: ignore[no-any-return]


class Adapter(Family):
    """Of XLNet's content stream."""

    def __init__(self, base: PreTrainedModel) -> None:
        model: Any = base
        if model.attn_type != "bi" or model.bi_data:
            raise PlaitError(
                "every token must be able to read every other, but this checkpoint's config has attn_type="
                f"{model.attn_type!r} and bi_data={model.bi_data}; choose one with 'bi' and False"
            )
        if base.config.summary_type not in ("last", "cls_index"):
            raise PlaitError(
                "an XLNet's score must be read from its classification token, which stands last, but this checkpoint's "
                f"config has summary_type={base.config.summary_type!r}; choose one with 'last'"
            )
        self._model, self._layers = model, model.layer
        self.shape = shape(base.config)

    def embed(self, ids: Tensor, types: Tensor, positions: Tensor) -> Tensor:
        """ids int64 [T] -> [T, H]; attention knows types and positions."""
        return self._model.dropout(self._model.word_embedding(ids))  # type: ignore[no-any-return]

    def projections(self, layer: int) -> Sequence[Projection]:
        """Of queries, keys and values."""
        attention = self._layers[layer].rel_attn
        return [partial(_product, weight) for weight in (attention.q, attention.k, attention.v)]

    def query(self, layer: int, x: Tensor) -> Tensor:
        """[T, H] -> [T, A, D], with what is added where they meet contents."""
        query = super().query(layer, x)
        bias: Tensor = self._layers[layer].rel_attn.r_w_bias
        return query + bias.to(query.dtype)

    def merge(self, layer: int, x: Tensor, context: Tensor) -> Tensor:
        """States [T, H] and context [T, A, D] -> [T, H]."""
        block = self._layers[layer]
        out = block.rel_attn.dropout(context.flatten(1) @ block.rel_attn.o.flatten(1).T.to(context.dtype))
        return block.ff(block.rel_attn.layer_norm(out + x))  # type: ignore[no-any-return]

    def finish(self, x: Tensor) -> Tensor:
        """Dropout, in training."""
        return self._model.dropout(x)  # type: ignore[no-any-return]

    @property
    def segments(self) -> bool:
        """Attention minds them."""
        return True

    def relation(self, layer: int) -> Relation:
        """The layer's own matrices for distances and segments."""
        return Shifted(self._model, self._layers[layer].rel_attn)


@dataclass(frozen=True)
class Shifted:
    """A Relation: queries also meet sinusoids of distances, and whether a token is of their own segment (XLNet, NeurIPS
    2019, section 2.5; Transformer-XL, ACL 2019, section 3.3).
    """

    model: Any
    attention: Any

    def turned(self, x: Tensor, places: Tensor) -> Tensor:
        """As they are."""
        return x

    def bias(self, query: Tensor, key: Tensor, distance: Tensor) -> Tensor:
        """[G, A, M, keys]."""
        attention = self.attention
        further = torch.div(distance + SEGMENT // 2, SEGMENT, rounding_mode="floor")
        distance = distance - further * SEGMENT
        if self.model.clamp_len > 0:
            distance = distance.clamp(-self.model.clamp_len, self.model.clamp_len)
        first = int(distance.min())
        numbers = torch.arange(first, int(distance.max()) + 1, device=query.device)
        asked = query - attention.r_w_bias.to(query.dtype)
        table = self._projected(numbers, query)
        bias = met(asked + attention.r_r_bias.to(query.dtype), table, (distance - first)[:, None])
        kinds = attention.seg_embed.to(query.dtype)  # of the same segment, of another one
        bias = bias + met(asked + attention.r_s_bias.to(query.dtype), kinds, (further != 0).long()[:, None])
        scale: float = attention.scale
        return bias * scale

    def _projected(self, distances: Tensor, like: Tensor) -> Tensor:
        """Distances int64 [R] -> [R, A, D]."""
        model = self.model
        frequencies = 10_000.0 ** -(torch.arange(0, model.d_model, 2.0, device=distances.device) / model.d_model)
        sinusoids = model.dropout(model.positional_embedding(distances.float(), frequencies)[:, 0].to(like.dtype))
        return _product(self.attention.r, sinusoids).view(len(distances), *like.shape[2:])


def _product(weight: Tensor, x: Tensor) -> Tensor:
    """[T, H] by [H, A, D] -> [T, A * D]."""
    return x @ weight.flatten(1).to(x.dtype)
