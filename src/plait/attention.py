"""attend: one face, kernels behind it. Queries of group g read the source's group g; nothing else exists for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plait import kernels
from plait.cost import reads_states
from plait.layout import Layout
from plait.relation import Where, added, related, side_by_side

CHUNK_TOKENS = 4096
"""Padded source tokens that one kernel call sees without gradients: groups of like length that fit a core's cache."""

GROUPS = 2
"""With gradients, so many groups are multiplied at a time: their scores stay in a core's cache."""

WIDTH = 32
"""Matrix units multiply this many bfloat16 numbers at once."""


@dataclass(frozen=True)
class KeyValue:
    """Tokens that can be read: keys and values of rows, each [rows, A, D], or of fewer heads that neighbouring heads of
    queries share (GQA); token t is row rows[t], or row t without.

    A row that stands for several merged tokens says how many in `sizes`, float32 [rows], and is read as if it came so
    many times (ToMe, ICLR 2023, section 3: log size added to the scores). `places`: where tokens stand for a Relation,
    int64 [T]; None where they count from 0 in each group.
    """

    layout: Layout
    key: Tensor
    value: Tensor
    rows: Tensor | None = None
    sizes: Tensor | None = None
    places: Tensor | None = None

    def gathered(self) -> KeyValue:
        """The same without `rows`."""
        if self.rows is None:
            return self
        sizes = None if self.sizes is None else self.sizes.index_select(0, self.rows)
        key, value = self.key.index_select(0, self.rows), self.value.index_select(0, self.rows)
        return KeyValue(self.layout, key, value, None, sizes, self.places)

    def part(self, groups: slice) -> KeyValue:
        """Some neighbouring groups."""
        tokens, layout = self.layout.part(groups)
        rows = torch.arange(tokens.start, tokens.stop, device=layout.device) if self.rows is None else self.rows[tokens]
        return replace(self, layout=layout, rows=rows, places=None if self.places is None else self.places[tokens])


@dataclass(frozen=True)
class Hidden:
    """Tokens that can be read, given by their states.

    Where few queries read them, their keys and values are never formed: it is cheaper to carry each query through the
    key matrix and to read the states themselves ((q W) x instead of q (W x)), and to apply the value matrix to the
    weighted mean; both are exact. A key bias adds the same to all scores of a query, which softmax takes away again, so
    there is none.

    Shapes: states [rows, H], token t is row rows[t], or row t without; key_weight, value_weight [A, D, H];
    value_bias [A, D]; sizes as in KeyValue.
    """

    layout: Layout
    states: Tensor
    key_weight: Tensor
    value_weight: Tensor
    value_bias: Tensor
    rows: Tensor | None = None
    sizes: Tensor | None = None

    @classmethod
    def projected(cls, layout: Layout, x: Tensor, key: nn.Linear, value: nn.Linear, heads: int) -> Hidden:
        """States [T, H] that a layer with these projections reads, in the dtype of the states."""
        split = (heads, key.out_features // heads)
        keys, values = (linear.weight.to(x.dtype).view(*split, -1) for linear in (key, value))
        return cls(layout, x, keys, values, value.bias.to(x.dtype).view(split))

    def formed(self) -> KeyValue:
        """Keys and values of all rows."""
        key, value = self.key_weight, self.value_weight
        size = (-1, *key.shape[:2])
        keys = F.linear(self.states, key.flatten(0, 1)).view(size)
        return KeyValue(
            self.layout,
            keys,
            F.linear(self.states, value.flatten(0, 1), self.value_bias.flatten()).view(size),
            self.rows,
            self.sizes,
        )

    def valued(self, mean: Tensor) -> Tensor:
        """Mean states of each query's head [T, A, H] -> contexts [T, A, D]."""
        # Head by head: one product over all heads would first copy the means, heads first.
        heads = zip(mean.unbind(1), self.value_weight, self.value_bias, strict=True)
        return torch.stack([F.linear(x, weight, bias) for x, weight, bias in heads], 1)

    def whole(self) -> KeyValue:
        """The states themselves, as keys and as values of one head as wide as they are."""
        states = self.states[:, None]
        return KeyValue(self.layout, states, states, self.rows, self.sizes)


Sources = Sequence[KeyValue | Hidden]
"""What the queries of a group read: their softmax runs over the tokens of all sources."""


def attend(query: Tensor, layout: Layout, sources: Sources, scale: float, where: Where | None = None) -> Tensor:
    """Softmax attention of every group's queries over all tokens of the same group of all sources.

    Args:
        query: [T, A, D], packed by `layout`. A layout of one group stands for as many equal groups as the sources have.
        sources: one or more, of one kind.
        scale: multiplies the scores.
        where: for families whose attention minds where tokens stand, whose sources are keys and values.

    Returns:
        Context vectors [T, A, D], packed by `layout`, or by as many copies of its one group as the sources have groups.
    """
    with torch.autocast(query.device.type, enabled=False):  # autocast would carry the scores to float32 and back
        hidden = [source for source in sources if isinstance(source, Hidden)]
        if not hidden:
            return _chunked(query, layout, [s for s in sources if isinstance(s, KeyValue)], scale, where)
        heads, width = query.shape[1], hidden[0].states.shape[-1]
        if not reads_states(width, heads, layout.longest):
            return _chunked(query, layout, [source.formed() for source in hidden], scale)
        carried = torch.einsum("tad,adh->tah", query, hidden[0].key_weight)
        parts = [(source.layout, source.states, source.rows, source.sizes) for source in hidden]
        if not torch.is_grad_enabled() and kernels.can_read(carried, parts, hidden[0].value_weight):
            return kernels.read(carried, layout, parts, hidden[0].value_weight, hidden[0].value_bias, scale)
        # To a kernel of PyTorch this is one head as wide as the states, with A queries for each.
        queries = carried.flatten(0, 1)[:, None]  # [T * A, 1, H]
        mean = _chunked(queries, layout.times(heads), [source.whole() for source in hidden], scale)
        return hidden[0].valued(mean.view(-1, heads, width))


def _chunked(
    query: Tensor, layout: Layout, sources: Sequence[KeyValue], scale: float, where: Where | None = None
) -> Tensor:
    """By the kernel for this processor if it takes them; else, without gradients, runs of groups of like length, one
    after the other.
    """
    plain = where is None and all(source.sizes is None for source in sources)
    if plain and kernels.can_attend(query, layout, [(s.layout, s.key, s.value) for s in sources]):
        read = map(KeyValue.gathered, sources)
        return kernels.attend(query, layout, [(s.layout, s.key, s.value) for s in read], scale)
    if torch.is_grad_enabled():  # few shapes: training rounds its layouts instead
        return _kernel(query, layout, sources, scale, where)
    lengths = [sum(group) for group in zip(*(source.layout.lengths for source in sources), strict=True)]
    runs = runs_of(lengths, CHUNK_TOKENS)
    if len(runs) == 1:
        return _kernel(query, layout, sources, scale, where)
    shared = len(layout.lengths) < len(lengths)
    parts = []
    for groups in runs:
        queries, of = (slice(None), layout) if shared else layout.part(groups)
        here = where if where is None or where.places is None else replace(where, places=where.places[queries])
        parts.append(_kernel(query[queries], of, [source.part(groups) for source in sources], scale, here))
    context = torch.cat(parts)
    nobody = layout.tokens - context.shape[0]  # runs leave out the tokens of nobody
    return context if nobody <= 0 else F.pad(context, (0, 0, 0, 0, 0, nobody))  # [T, A, D]


def runs_of(lengths: Sequence[int], tokens: int) -> list[slice]:
    """Cut groups of these lengths into runs of neighbours of at most `tokens` padded tokens each (or one group)."""
    bounds, longest = [0], 0
    for group, length in enumerate(lengths):
        longest = max(longest, length)
        if group > bounds[-1] and longest * (group - bounds[-1] + 1) > tokens:
            bounds.append(group)
            longest = length
    return [slice(a, b) for a, b in zip(bounds, [*bounds[1:], len(lengths)], strict=True)]


def _kernel(
    query: Tensor, layout: Layout, sources: Sequence[KeyValue], scale: float, where: Where | None = None
) -> Tensor:
    if torch.is_grad_enabled():
        sources = [source.gathered() for source in sources]
    padded = layout.pad(query)  # [G, M, A, D]
    layouts = [source.layout for source in sources]
    key, mask = _together(layouts, [(s.key, s.rows) for s in sources])  # [G, keys, A, D]
    same = all(s.value is s.key for s in sources)
    value = key if same else _together(layouts, [(s.value, s.rows) for s in sources])[0]
    if any(source.sizes is not None for source in sources):
        ones = [s.key.new_ones(len(s.key), dtype=torch.float32) if s.sizes is None else s.sizes for s in sources]
        sizes, _ = _together(layouts, [(size, s.rows) for size, s in zip(ones, sources, strict=True)])
        logs = sizes.log() if mask is None else sizes.log().masked_fill(~mask, float("-inf"))
        mask = logs.to(padded.dtype)  # [G, keys]
    allowed = None if mask is None else mask[:, None, None]  # [G, 1, 1, keys]
    if where is not None:
        read = side_by_side([(source.layout, source.places) for source in sources], key.shape[1])
        padded, key, bias = related(where, padded, key, layout, read)
        allowed = bias if allowed is None else added(bias, allowed)
    key, value = _for_all(key, padded.shape[2]), _for_all(value, padded.shape[2])
    kernel = _explicit if torch.is_grad_enabled() and query.device.type == "cpu" else _fused
    context = kernel(padded, key, value, allowed, scale)
    if len(layout.lengths) < context.shape[0]:
        return context[:, : layout.used].flatten(0, 1)
    return layout.pack(context)  # [T, A, D]


def _for_all(x: Tensor, heads: int) -> Tensor:
    """Keys or values [G, keys, fewer, D] for so many heads of queries."""
    return x if x.shape[2] == heads else x.repeat_interleave(heads // x.shape[2], 2)


def _together(layouts: Sequence[Layout], parts: Sequence[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, Tensor | None]:
    """Rows of all sources, padded, side by side: [G, keys, ...]; and which are real, bool [G, keys], unless all are.

    Without gradients the largest source is gathered into the whole at once and the others are copied over it, and the
    whole is as wide as matrix units like it.
    """
    if len(parts) == 1 or torch.is_grad_enabled():
        mask = None if all(x.even for x in layouts) else torch.cat([x.mask for x in layouts], 1)
        padded = [layout.pad(x, rows) for layout, (x, rows) in zip(layouts, parts, strict=True)]
        return (padded[0] if len(padded) == 1 else torch.cat(padded, 1)), mask
    wide = [layout.longest for layout in layouts]
    keys, groups = -(-sum(wide) // WIDTH) * WIDTH, len(layouts[0].lengths)
    mask = torch.zeros(groups, keys, dtype=torch.bool, device=layouts[0].device)
    base = max(range(len(parts)), key=lambda i: wide[i])
    x, rows = parts[base]
    place = torch.zeros(groups, keys, dtype=torch.int64, device=mask.device)
    begin = sum(wide[:base])
    place[:, begin : begin + wide[base]] = layouts[base].places
    place = place.flatten() if rows is None else rows[place.flatten()]
    whole = x.index_select(0, place).view(groups, keys, *x.shape[1:])
    for number, (layout, (other, at)) in enumerate(zip(layouts, parts, strict=True)):
        here = slice(sum(wide[:number]), sum(wide[: number + 1]))
        mask[:, here] = layout.mask
        if number != base:
            whole[:, here] = layout.pad(other, at)
    return whole, mask


def _fused(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """PyTorch's own kernel, whose gradients are slow on a CPU.

    query, key, value [G, tokens, A, D], mask [G or 1, A or 1, M or 1, keys], bool or added to scores -> [G, M, A, D].
    """
    query = query.transpose(1, 2).expand(key.shape[0], -1, -1, -1)  # [G, A, M, D]
    context = F.scaled_dot_product_attention(query, key.transpose(1, 2), value.transpose(1, 2), mask, scale=scale)
    return context.transpose(1, 2)


def _explicit(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """The same as product, softmax, product, a few groups at a time: with gradients twice as fast on a CPU."""
    if mask is not None and mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape, dtype=query.dtype, device=mask.device).masked_fill_(~mask, float("-inf"))
    groups = key.shape[0]
    some = (x.expand(groups, *x.shape[1:]).split(GROUPS) for x in (query * scale, key, value, mask) if x is not None)
    contexts = []
    for q, k, v, *allowed in zip(*some, strict=True):
        scores = q.transpose(1, 2) @ k.permute(0, 2, 3, 1)  # [G, A, M, keys]
        for x in allowed:
            scores = scores.add_(x)  # an addition, because masked_fill is slow, and its gradient too
        contexts.append(scores.softmax(-1) @ v.transpose(1, 2))
    return torch.cat(contexts).transpose(1, 2)


def received(query: Tensor, source: KeyValue, scale: float, where: Where | None = None) -> Tensor:
    """Attention that each token gets from the other tokens of its group, summed over queries, mean over heads
    (PoWER-BERT, ICML 2020, section 3.2). query [T, A, D] packed as the source is -> float32 [T].
    """
    layout = source.layout
    queries, keys, bias = layout.pad(query), layout.pad(source.key), None  # [G, M, A, D]
    if where is not None:
        read = side_by_side([(layout, where.places)], layout.longest)
        queries, keys, bias = related(where, queries, keys, layout, read)
    keys = _for_all(keys, queries.shape[2])
    scores = (queries.transpose(1, 2) @ keys.permute(0, 2, 3, 1)).float() * scale  # [G, A, M, M]
    if bias is not None:
        scores = scores + bias
    if source.sizes is not None:
        scores = scores + layout.pad(source.sizes).log()[:, None, None]
    weights = scores.masked_fill(~layout.mask[:, None, None], float("-inf")).softmax(-1)
    weights = weights.masked_fill(torch.eye(layout.longest, dtype=torch.bool, device=query.device), 0.0)
    weights = weights.masked_fill(~layout.mask[:, None, :, None], 0.0)  # padding asks for nothing
    return layout.pack(weights.mean(1).sum(1))
