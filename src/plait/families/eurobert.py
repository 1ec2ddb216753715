"""EuroBERT: rotated queries and keys, these of fewer heads, a norm before each half, a gated feed-forward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from plait.cost import Shape
from plait.errors import PlaitError
from plait.families.family import Family, common_shape
from plait.families.rotary import Rotary, angles_of
from plait.relation import Relation

POOLINGS = ("bos", "mean", "late")
"""What a classifier reads: the first token, the mean of all, or the mean of what `before_mean` makes of each."""


def shape(config: Any) -> Shape:
    """The sizes that a config states.

    Raises:
        PlaitError: it names another pooling.
    """
    if config.classifier_pooling not in POOLINGS:
        raise PlaitError(
            f"classifier_pooling must be one of {', '.join(POOLINGS)}, but this checkpoint's is "
            f"{config.classifier_pooling!r}; mend its config.json"
        )
    return replace(
        common_shape(config, config.intermediate_size, config.max_position_embeddings),
        gated=True,
        absolute=False,
        reads_all=config.classifier_pooling != "bos",
        head_width=config.head_dim,
        key_heads=config.num_key_value_heads,
    )


def pooler(model: Any) -> nn.Module:
    """[B, 1, H] -> [B, H]; nothing is left to do behind a mean of what `before_mean` gives."""
    behind = [] if model.config.classifier_pooling == "late" else [model.dense, model.activation]
    return nn.Sequential(nn.Flatten(1), *behind)


def before_mean(model: Any) -> nn.Module | None:
    """What each token's last state goes through, [T, H] -> [T, H], where the mean of that is read."""
    return nn.Sequential(model.dense, model.activation) if model.config.classifier_pooling == "late" else None


class Adapter(Family):
    """Of EuroBERT's encoder."""

    def __init__(self, base: PreTrainedModel) -> None:
        self._embed: Any = base.embed_tokens
        self._layers: Any = base.layers
        self._norm: Any = base.norm
        rotary: Any = base.rotary_emb
        self._relation = Rotary(angles_of(rotary, base.config))
        self.shape = shape(base.config)

    def embed(self, ids: Tensor, types: Tensor, positions: Tensor) -> Tensor:
        """ids int64 [T] -> [T, H]; there are neither types nor positions."""
        return self._embed(ids)  # type: ignore[no-any-return]

    def projections(self, layer: int) -> Sequence[nn.Module]:
        """Of queries, keys and values."""
        attention = self._layers[layer].self_attn
        return attention.q_proj, attention.k_proj, attention.v_proj

    def normed(self, layer: int, x: Tensor) -> Tensor:
        """[T, H] -> [T, H]."""
        return self._layers[layer].input_layernorm(x)  # type: ignore[no-any-return]

    def merge(self, layer: int, x: Tensor, context: Tensor) -> Tensor:
        """States [T, H] and context [T, A, D] -> [T, H]."""
        block = self._layers[layer]
        x = x + block.self_attn.o_proj(context.flatten(1))
        return x + block.mlp(block.post_attention_layernorm(x))  # type: ignore[no-any-return]

    def finish(self, x: Tensor) -> Tensor:
        """[T, H] -> [T, H]."""
        return self._norm(x)  # type: ignore[no-any-return]

    def relation(self, layer: int) -> Relation:
        """The same in all layers."""
        return self._relation
