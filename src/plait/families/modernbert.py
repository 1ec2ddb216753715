"""ModernBERT: rotated queries and keys, windows in most layers, a norm before each half, a gated feed-forward."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from plait.cost import Shape
from plait.families.family import Family, Projection, common_shape
from plait.families.rotary import Rotary, angles_of
from plait.relation import Relation


def shape(config: Any) -> Shape:
    """The sizes that a config states."""
    return replace(
        common_shape(config, config.intermediate_size, config.max_position_embeddings),
        gated=True,
        absolute=False,
        reads_all=config.classifier_pooling == "mean",
    )


def pooler(model: Any) -> nn.Module:
    """[B, 1, H] -> [B, H], by modules that belong to the score head."""
    return nn.Sequential(nn.Flatten(1), model.head, model.drop)


def span_outputs(model: Any) -> nn.Module:
    """The span head, which has the names of the score head's modules."""
    return nn.Sequential(OrderedDict(head=model.head, drop=model.drop, classifier=model.classifier))


class Adapter(Family):
    """Of ModernBERT's encoder."""

    def __init__(self, base: PreTrainedModel) -> None:
        config: Any = base.config
        self._embeddings: Any = base.embeddings
        self._layers: Any = base.layers
        self._final_norm: Any = base.final_norm
        self.shape = shape(config)
        windows = [config.sliding_window if kind == "sliding_attention" else None for kind in config.layer_types]
        kinds = zip(config.layer_types, windows, strict=True)
        rotary: Any = base.rotary_emb
        angles = angles_of(rotary, config)
        self._relations = [Rotary(partial(angles, layer_type=kind), window) for kind, window in kinds]

    def embed(self, ids: Tensor, types: Tensor, positions: Tensor) -> Tensor:
        """ids int64 [T] -> [T, H]; there are neither types nor positions."""
        return self._embeddings(ids[None])[0]  # type: ignore[no-any-return]

    def projections(self, layer: int) -> Sequence[Projection]:
        """Of queries, keys and values: rows of one matrix."""
        linear, size = self._layers[layer].attn.Wqkv, self.shape.hidden
        return [partial(_rows, linear, slice(i * size, (i + 1) * size)) for i in range(3)]

    def normed(self, layer: int, x: Tensor) -> Tensor:
        """[T, H] -> [T, H]; the first layer has none."""
        return self._layers[layer].attn_norm(x)  # type: ignore[no-any-return]

    def merge(self, layer: int, x: Tensor, context: Tensor) -> Tensor:
        """States [T, H] and context [T, A, D] -> [T, H]."""
        block = self._layers[layer]
        x = x + block.attn.out_drop(block.attn.Wo(context.flatten(1)))
        return x + block.mlp(block.mlp_norm(x))  # type: ignore[no-any-return]

    def finish(self, x: Tensor) -> Tensor:
        """The norm behind the last layer."""
        return self._final_norm(x)  # type: ignore[no-any-return]

    def relation(self, layer: int) -> Relation:
        """Rotations, and a window in local layers."""
        return self._relations[layer]


def _rows(linear: Any, rows: slice, x: Tensor) -> Tensor:
    """Some of what a linear module gives: [T, H] -> [T, rows]."""
    if type(linear) is not nn.Linear:  # a LoRA's weight is not all that it multiplies with
        return linear(x)[:, rows]  # type: ignore[no-any-return]
    return nn.functional.linear(x, linear.weight[rows], None if linear.bias is None else linear.bias[rows])
