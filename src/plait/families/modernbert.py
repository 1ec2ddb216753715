"""ModernBERT: rotated queries and keys, windows in most layers, a norm before each half, a gated feed-forward."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from plait.attention import KeyValue
from plait.cost import Shape
from plait.families.family import Family, sizes
from plait.families.rotary import Rotary, angles_of
from plait.layout import Layout
from plait.relation import Relation


def shape(config: Any) -> Shape:
    """The sizes that a config states."""
    return replace(
        sizes(config),
        gated=True,
        absolute=False,
        reads_all=config.classifier_pooling == "mean",
    )


def pooler(model: Any) -> nn.Module:
    """[B, 1, H] -> [B, H], by modules that belong to the score head."""
    return nn.Sequential(nn.Flatten(1), model.head, model.drop)


def outputs(model: Any) -> nn.Module:
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

    def query(self, layer: int, x: Tensor) -> Tensor:
        """[T, H] -> [T, A, D]."""
        (query,) = self._projected(layer, x, slice(0, 1))
        return query

    def key_value(self, layer: int, x: Tensor, layout: Layout) -> KeyValue:
        """[T, H] -> keys and values [T, A, D], not yet rotated."""
        key, value = self._projected(layer, x, slice(1, 3))
        return KeyValue(layout, key, value)

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

    def _projected(self, layer: int, x: Tensor, which: slice) -> list[Tensor]:
        """Some of query, key and value, [T, A, D] each, by their rows of the one matrix."""
        block = self._layers[layer]
        linear, size = block.attn.Wqkv, self.shape.hidden
        x = block.attn_norm(x)
        if type(linear) is not nn.Linear:  # a LoRA's weight is not all that it multiplies with
            return [self.split(part) for part in linear(x).split(size, 1)[which]]
        rows = slice(which.start * size, which.stop * size)
        bias = None if linear.bias is None else linear.bias[rows]
        return [self.split(part) for part in nn.functional.linear(x, linear.weight[rows], bias).split(size, 1)]
