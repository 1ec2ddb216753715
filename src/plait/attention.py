"""attend: one face, kernels behind it. Queries of group g read every source's group g; nothing else exists for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from plait.layout import Layout


@dataclass(frozen=True)
class KeyValue:
    """Tokens that can be read: their keys and values, each [T, A, D]."""

    layout: Layout
    key: Tensor
    value: Tensor


@dataclass(frozen=True)
class Hidden:
    """Tokens that can be read although their keys and values are never formed.

    With few queries it is cheaper to carry each query through the key matrix and to read the states themselves
    ((q W) x instead of q (W x)), and to apply the value matrix to the weighted mean; both are exact.

    Shapes: states [T, H]; key_weight, value_weight [A, D, H]; key_bias, value_bias [A, D].
    """

    layout: Layout
    states: Tensor
    key_weight: Tensor
    key_bias: Tensor
    value_weight: Tensor
    value_bias: Tensor


Source = KeyValue | Hidden


def attend(query: Tensor, layout: Layout, sources: Sequence[Source], scale: float) -> Tensor:
    """Softmax attention of every group's queries over all tokens of the same group in all sources.

    Args:
        query: [T, A, D], packed by `layout`.
        sources: one or more; the softmax runs over their union.
        scale: multiplies the scores.

    Returns:
        Context vectors [T, A, D].
    """
    padded = layout.pad(query).transpose(1, 2)  # [G, A, M, D]
    only = sources[0] if len(sources) == 1 else None
    if isinstance(only, KeyValue) and not torch.is_grad_enabled():
        context = _fused(padded, only, scale)
    else:
        with torch.autocast(query.device.type, enabled=False):  # autocast would carry the scores to float32 and back
            context = _explicit(padded * scale, sources)
    return layout.pack(context.transpose(1, 2))  # [T, A, D]


def _explicit(query: Tensor, sources: Sequence[Source]) -> Tensor:
    """Scores, softmax over the union of the sources, weighted values: [G, A, M, D] -> [G, A, M, D]."""
    scores = [_scores(query, source) for source in sources]  # each [G, A, M, keys]
    if len(scores) == 1:
        return _context(scores[0].softmax(-1), sources[0])
    weights = torch.cat(scores, -1).softmax(-1).split([s.shape[-1] for s in scores], -1)
    parts = [_context(w, source) for w, source in zip(weights, sources, strict=True)]
    return torch.stack(parts).sum(0)


def _fused(query: Tensor, source: KeyValue, scale: float) -> Tensor:
    key = source.layout.pad(source.key).transpose(1, 2)  # [G, A, keys, D]
    value = source.layout.pad(source.value).transpose(1, 2)
    mask = None if source.layout.uniform else source.layout.mask[:, None, None, :]
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)


def _scores(query: Tensor, source: Source) -> Tensor:
    if isinstance(source, KeyValue):
        key = source.layout.pad(source.key)  # [G, keys, A, D]
        scores = query @ key.permute(0, 2, 3, 1)  # [G, A, M, keys]
    else:
        groups, heads, longest, _ = query.shape
        carried = torch.einsum("gamd,adh->gamh", query, source.key_weight).flatten(1, 2)  # [G, A * M, H]
        scores = carried @ source.layout.pad(source.states).transpose(1, 2)  # [G, A * M, keys]
        offset = (query * source.key_bias[:, None]).sum(-1, keepdim=True)  # [G, A, M, 1]
        scores = scores.view(groups, heads, longest, -1) + offset
    if not source.layout.uniform:
        scores = scores.masked_fill_(~source.layout.mask[:, None, None, :], float("-inf"))
    return scores


def _context(weights: Tensor, source: Source) -> Tensor:
    if isinstance(source, KeyValue):
        return weights @ source.layout.pad(source.value).transpose(1, 2)  # [G, A, M, D]
    groups, heads, longest, _ = weights.shape
    mean = weights.flatten(1, 2) @ source.layout.pad(source.states)  # [G, A * M, H]
    context = torch.einsum("gamh,adh->gamd", mean.view(groups, heads, longest, -1), source.value_weight)
    return context + weights.sum(-1, keepdim=True) * source.value_bias[:, None]  # [G, A, M, D]
