"""Batches of groups that tokens are to be selected from, drawn by hypothesis."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from plait.layout import Layout
from plait.selection import SELECTORS, Kept, reduce

MERGING = ("nearest", "tome", "kmeans", "ward", "salient-kmeans", "mean")
CHOOSING = tuple(selector for selector in SELECTORS if selector not in MERGING)
EXACT = ("coreset", "coreset-exact", "first", "ends", "random", "even", "norm", "attention", "nearest")
"""Selectors that compute nothing but whole numbers of states that are whole numbers: equal values stay equal."""
WIDTH = 6
few = settings(max_examples=20, deadline=None)


@dataclass
class Case:
    """A batch, what to keep of it, and all that may be said about its tokens."""

    x: Tensor
    layout: Layout
    counts: list[int]
    sizes: Tensor | None
    protected: Tensor | None
    scores: Tensor

    def reduce(self, selector: str) -> Kept:
        return reduce(
            self.x,
            self.layout,
            self.counts,
            selector,
            sizes=self.sizes,
            protected=self.protected,
            scores=self.scores,
        )

    def alone(self, group: int) -> Case:
        """A batch of this group only, without a token of nobody."""
        begin, length = int(self.layout.starts[group]), self.layout.lengths[group]
        part = slice(begin, begin + length)
        return Case(
            self.x[part],
            Layout([length]),
            [self.counts[group]],
            None if self.sizes is None else self.sizes[part],
            None if self.protected is None else self.protected[part],
            self.scores[part],
        )

    def fixed(self, group: int) -> list[int]:
        """Numbers within the group of the tokens that are protected."""
        part = self.alone(group)
        length = part.layout.used
        return [i for i in range(length) if i == 0 or (part.protected is not None and bool(part.protected[i]))]


def drawn(data: st.DataObject, selector: str, kinds: tuple[str, ...] = ("spread", "equal", "whole")) -> Case:
    """Groups of 0 to 14 tokens; what stands at tokens of nobody would be taken first if it could be."""
    lengths = data.draw(st.lists(st.integers(0, 14), min_size=1, max_size=5))
    layout = Layout.few_shapes(lengths, data.draw(st.sampled_from([1, 8, 32])))
    dice = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    kind = data.draw(st.sampled_from(kinds))
    if kind == "spread":
        x = torch.randn(layout.tokens, WIDTH, generator=dice)
    elif kind == "whole":  # many equal distances and some equal states
        x = torch.randint(-1, 2, (layout.tokens, WIDTH), generator=dice).float()
    else:
        x = torch.ones(layout.tokens, WIDTH)
    if selector == "mean":
        counts = [min(1, length) for length in lengths]
        protected = None
    else:
        counts = [data.draw(st.integers(min(1, length), length)) for length in lengths]
        protected = torch.zeros(layout.tokens, dtype=torch.bool)
        for start, length, count in zip(layout.starts.tolist(), lengths, counts, strict=True):
            more = data.draw(st.integers(0, max(0, min(3, count - 1))))
            protected[start + torch.randperm(length, generator=dice)[:more]] = True
        protected[layout.used :] = True
    sizes = torch.randint(1, 5, (layout.tokens,), generator=dice).float() if data.draw(st.booleans()) else None
    scores = torch.rand(layout.tokens, generator=dice)
    x[layout.used :], scores[layout.used :] = 1e4, 1e4
    return Case(x, layout, counts, sizes, protected, scores)


def parts(kept: Kept) -> list[slice]:
    starts = kept.layout.starts.tolist()
    return [slice(start, start + length) for start, length in zip(starts, kept.layout.lengths, strict=True)]
