"""Tokens on their way through the layers, fewer after each budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from plait.keep import Step
from plait.layout import Layout
from plait.relation import SEGMENT
from plait.selection import reduce


@dataclass(frozen=True)
class Track:
    """States between two layers.

    Attributes:
        x: [T, H], packed by layout.
        sizes: how many tokens each stands for, float32 [T]; None where each stands for itself.
        places: which token of its segment each is, int64 [T], or of its example where `begins` were given to
            `together`, with SEGMENT for relations that mind segments; None where it is all of them.
        before: the states that the layer before read.
        scores: what a selector of SCORED ranks tokens by, float32 [T].
    """

    x: Tensor
    layout: Layout
    sizes: Tensor | None = None
    places: Tensor | None = None
    before: Tensor | None = None
    scores: Tensor | None = None

    def sized(self) -> Tensor:
        """`sizes`, spelt out."""
        return torch.ones(self.layout.tokens, device=self.x.device) if self.sizes is None else self.sizes

    def placed(self) -> Tensor:
        """`places`, spelt out."""
        return self.layout.within if self.places is None else self.places

    def numbers(self, kind: str) -> Tensor:
        """`sizes` or `places` within a segment as a tensor of width one, float32 [T, 1]."""
        return (self.sized() if kind == "sizes" else self.placed() % SEGMENT).float()[:, None]

    @staticmethod
    def together(parts: Sequence[Track], begins: Sequence[Tensor] | None = None) -> Track:
        """Group g of the result is group g of every part, one after the other. `begins`: which place of its example
        each group of a part begins at, int64 [G] each; without them places are left out.
        """
        whole, source = Layout.concat([part.layout for part in parts])
        x = torch.cat([part.x for part in parts]).index_select(0, source)
        sizes = None
        if any(part.sizes is not None for part in parts):
            sizes = torch.cat([part.sized() for part in parts]).index_select(0, source)
        places = None
        if begins is not None and any(part.places is not None for part in parts):  # else all stand in order
            some = [part.placed() + part.layout.spread(begin) for part, begin in zip(parts, begins, strict=True)]
            places = torch.cat(some).index_select(0, source)
        return Track(x, whole, sizes, places)

    @staticmethod
    def behind(parts: Sequence[Track]) -> Track:
        """The groups of several, one after the other; without what selectors remember of a layer."""
        layout = Layout([n for part in parts for n in part.layout.lengths], device=parts[0].layout.device)
        sizes = places = None
        if any(part.sizes is not None for part in parts):
            sizes = torch.cat([part.sized()[: part.layout.used] for part in parts])
        if any(part.places is not None for part in parts):
            places = torch.cat([part.placed()[: part.layout.used] for part in parts])
        return Track(torch.cat([part.x[: part.layout.used] for part in parts]), layout, sizes, places)

    def of(self, tokens: Tensor, layout: Layout, *, placed: bool) -> Track:
        """Some tokens (int64 [T], by `layout`), with where they stand if that is wanted."""
        x = self.x.index_select(0, tokens)
        if not placed:
            return Track(x, layout)
        return Track(x, layout, places=self.placed()[tokens])

    def apart(self, parts: Sequence[Track], scores: Tensor | None) -> list[Track]:
        """The inverse of `together`: the parts with the states that they have by now."""
        begin, found = self.layout.starts, []
        for part in parts:
            tokens = part.layout.at(begin)
            some = None if scores is None else scores.index_select(0, tokens)
            found.append(replace(part, x=self.x.index_select(0, tokens), scores=some))
            begin = begin + part.layout.lengths_tensor
        return found


def loses(step: Step, lengths: Sequence[int], layout: Layout) -> bool:
    """Whether any group has fewer tokens after a budget; `lengths` of them before any budget, `layout` now."""
    return any(step.count(length, now) < now for length, now in zip(lengths, layout.lengths, strict=True))


def thinned(track: Track, step: Step, lengths: Sequence[int]) -> Track:
    """A track after a budget; `lengths` of its groups before any budget."""
    if not loses(step, lengths, track.layout):
        return replace(track, before=None, scores=None)
    counts = [step.count(length, now) for length, now in zip(lengths, track.layout.lengths, strict=True)]
    kept = reduce(
        track.x, track.layout, counts, step.selector, sizes=track.sizes,
        protected=track.layout.last() if step.ends else None, scores=track.scores,
    )  # fmt: skip
    places = track.placed().index_select(0, kept.rows)
    return Track(kept.states, kept.layout, kept.sizes, places)
