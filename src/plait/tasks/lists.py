"""Ranking and multiple choice: the right candidate of a list before all others. The score head's with one label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from plait.distill import distillation, listwise_loss, margin_loss, pairwise_loss
from plait.layout import Layout
from plait.tasks.target import Weights


def group_name(group: str, texts: Sequence[str]) -> str:
    """What an example is an alternative within: its group, or, where the data name none, its first text."""
    return group or texts[0]


@dataclass(frozen=True)
class Lists:
    """Lists of candidates, one after the other, the right one first in each.

    Attributes:
        examples: int64 [B, roles], of all lists.
        lengths: candidates of each list, B together.
        own: the first candidates of each list that belong to it, the right one among them; those behind are a sample,
            of which plans may take a smaller one. None: all belong to it.
    """

    examples: Tensor
    lengths: Sequence[int]
    own: Sequence[int] | None = None
    head: ClassVar[str] = "score"
    written: ClassVar[None] = None

    def loss(self, logits: Tensor, layout: Layout, weights: Weights) -> Tensor:
        """`weights.ranking_loss` of logits [B, 1]; nothing to learn where no list has a wrong candidate."""
        if max(self.lengths, default=1) < 2:
            return logits.sum() * 0
        scores = self._scores(logits)
        return weights.ranking * (listwise_loss if weights.ranking_loss == "listwise" else pairwise_loss)(scores)

    def distance(self, logits: Tensor, taught: Tensor, layout: Layout, weights: Weights) -> Tensor:
        """MarginMSE and listwise KL to the teacher's scores."""
        total = logits.sum() * 0
        if max(self.lengths, default=1) < 2:
            return total
        ours, theirs = self._scores(logits), self._scores(taught)
        if weights.margin:
            total = total + weights.margin * margin_loss(ours, theirs)
        if weights.listwise:
            total = total + weights.listwise * distillation(ours, theirs, weights.temperature)
        return total

    def heeds_teacher(self, weights: Weights) -> bool:
        """Whether `distance` has any weight."""
        return weights.margin > 0 or weights.listwise > 0

    def thinned(self, negatives: float, generator: torch.Generator) -> tuple[Lists, Tensor | None]:
        """Each list's `own` candidates, and beside them one of the sample for a share of the lists; what has no wrong
        candidate then is left out.

        With `negatives` of 1 or more each list keeps so many of the sample, or all it has.
        """
        if self.own is None:
            return self, None
        kept: list[int] = []
        lengths: list[int] = []
        own: list[int] = []
        begin = 0
        for length, first in zip(self.lengths, self.own, strict=True):
            rest = torch.arange(0)
            if length > first and torch.rand((), generator=generator).item() < negatives:
                rest = torch.randperm(length - first, generator=generator)[: max(1, int(negatives))]
            if first + len(rest) > 1:
                kept += [*range(begin, begin + first), *(begin + first + rest).tolist()]
                lengths.append(first + len(rest))
                own.append(first)
            begin += length
        rows = torch.tensor(kept, dtype=torch.int64)
        return Lists(self.examples[rows], lengths, own), rows

    def _scores(self, logits: Tensor) -> Tensor:
        """Logits [B, 1] -> [Q, C], minus infinity where a list has ended."""
        scores = logits.squeeze(-1).float().split(list(self.lengths))
        return torch.nn.utils.rnn.pad_sequence(list(scores), batch_first=True, padding_value=float("-inf"))
