"""Groups: what a selector sees of tokens that are to become fewer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

ENTRIES = 1 << 20
"""Groups that are worked on at once have products of at most this many entries: memory that stays small."""


@dataclass(frozen=True)
class Groups:
    """Groups that all lose tokens, in padded form: G of them, the longest of M tokens.

    Attributes:
        x: states of the whole batch, [T, H], without gradients.
        tokens: number in the batch of the token at each place, int64 [G, M]; past its end a group's last one.
        lengths, counts: tokens of each group and how many to keep, int64 [G].
        fixed: what is kept whatever the selector says, bool [G, M]; False in padding.
        weights: what each token counts in a mean: how many it stands for, float32 [G, M].
        scores: what a selector of SCORED ranks tokens by, float32 [G, M], if known.
    """

    x: Tensor
    tokens: Tensor
    lengths: Tensor
    counts: Tensor
    fixed: Tensor
    weights: Tensor
    scores: Tensor | None

    @cached_property
    def places(self) -> Tensor:
        """0 ... M - 1, int64 [M]."""
        return torch.arange(self.tokens.shape[1], device=self.tokens.device)

    @cached_property
    def mask(self) -> Tensor:
        """False in padding, bool [G, M]."""
        return self.places < self.lengths[:, None]

    @cached_property
    def free(self) -> Tensor:
        """What a selector decides about, bool [G, M]."""
        return self.mask & ~self.fixed

    @cached_property
    def room(self) -> Tensor:
        """How many free tokens to keep, int64 [G]."""
        return self.counts - self.fixed.sum(1)

    @cached_property
    def states(self) -> Tensor:
        """float32 [G, M, H]."""
        states = self.x.index_select(0, self.tokens.flatten()).float()
        return states.view(*self.tokens.shape, -1)

    @cached_property
    def products(self) -> Tensor:
        """Inner products of all pairs of states of a group, float32 [G, M, M]."""
        return self.states @ self.states.mT

    @cached_property
    def squares(self) -> Tensor:
        """Squared norms, float32 [G, M]."""
        return self.products.diagonal(dim1=1, dim2=2)

    @cached_property
    def salience(self) -> Tensor:
        """Exponentials of scores, 1 for the highest of a group and e^-30 at least, float32 [G, M]."""
        assert self.scores is not None
        scores = self.scores.float().masked_fill(~self.mask, -torch.inf)
        return (scores - scores.amax(1, keepdim=True)).clamp(min=-30).exp()

    def weighed(self) -> Groups:
        """The same, each token's salience in its weight."""
        return replace(self, weights=self.weights * self.salience)

    def away(self, places: Tensor) -> Tensor:
        """Squared Euclidean distances of these tokens of each group (int64 [G, n]) to all of its tokens, float32
        [G, n, M]; rounding can make them negative.
        """
        groups, width = self.tokens.shape
        first = torch.arange(0, groups * width, width, device=places.device)[:, None]
        rows = self.products.flatten(0, 1).index_select(0, (first + places).flatten()).view(groups, -1, width)
        return rows.mul_(-2).add_(self.squares[:, None]).add_(self.squares.gather(1, places)[:, :, None])


def highest(scores: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
    """The `number` (int64 [G]) highest scores of each group, among equal ones the first.

    Args:
        scores: [G, M]; what may not be taken is lower than all else.

    Returns:
        Their places, int64 [G, n], and which of these count, bool [G, n], where n is the largest number.
    """
    most = int(number.max())
    if most == 1:
        places = scores.argmax(1, keepdim=True)  # the first of equal ones, and far cheaper than to sort
    else:
        places = scores.sort(dim=1, descending=True, stable=True).indices[:, :most]  # topk: no order among equal ones
    return places, torch.arange(most, device=scores.device) < number[:, None]


def marked(places: Tensor, valid: Tensor, width: int) -> Tensor:
    """True at these places of each group: int64 [G, n], bool [G, n] -> bool [G, width]. Valid places are distinct."""
    found = torch.zeros(len(places), width, dtype=torch.bool, device=places.device)
    return found.scatter_(1, places, valid)  # places of one group that do not count are distinct from those that do


def runs(lengths: Sequence[int], groups: Sequence[int]) -> Iterator[list[int]]:
    """`groups` in runs of like length, each of at most ENTRIES padded pairs of tokens (or one group)."""
    run: list[int] = []
    for group in sorted(groups, key=lambda group: lengths[group]):
        if run and (len(run) + 1) * lengths[group] ** 2 > ENTRIES:
            yield run
            run = []
        run.append(group)
    if run:
        yield run
