"""Question answering: the first and the last token of the answer, among the reader's. The span head's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from plait.distill import distillation, span_logits, span_loss
from plait.layout import Layout
from plait.tasks.target import Weights


@dataclass(frozen=True)
class Spans:
    """Examples and their answers.

    Attributes:
        examples: int64 [B, roles].
        first, last: tokens of the answer within the reader's segment, int64 [B].
        allowed: which of the readers' tokens, one segment after the other, can be part of an answer; bool [T].
    """

    examples: Tensor
    first: Tensor
    last: Tensor
    allowed: Tensor
    head: ClassVar[str] = "span"
    written: ClassVar[None] = None

    def loss(self, logits: Tensor, layout: Layout, weights: Weights) -> Tensor:
        """Cross entropy of start and end logits [T, 2], mean; of answers that a budget left."""
        return span_loss(self._rows(logits, layout), self.first.to(logits.device), self.last.to(logits.device))

    def distance(self, logits: Tensor, taught: Tensor, layout: Layout, weights: Weights) -> Tensor:
        """KL to the teacher's starts and ends at the temperature; the teacher's padding may be another."""
        taught = F.pad(taught[: layout.used], (0, 0, 0, layout.tokens - layout.used))
        ours, theirs = self._rows(logits, layout), self._rows(taught, layout)
        theirs = theirs.masked_fill(torch.isneginf(ours), float("-inf"))  # what a budget dropped has no say
        some = torch.isfinite(theirs).any(1)
        ours, theirs = ours[some], theirs[some]
        if not len(ours):
            return logits.nan_to_num(0, 0, 0).sum() * 0
        return weights.distillation * distillation(ours, theirs, weights.temperature)

    def dropped(self, logits: Tensor, layout: Layout) -> int:
        """Answers of which a budget dropped the first or the last token, so that nothing is learned of that."""
        rows = self._rows(logits.detach(), layout)
        right = torch.cat([self.first, self.last]).to(rows.device)
        gone = torch.isneginf(rows.gather(1, right[:, None]).squeeze(1)).view(2, -1)
        return int(gone.any(0).sum())

    def heeds_teacher(self, weights: Weights) -> bool:
        """Whether `distance` has any weight."""
        return weights.distillation > 0

    def thinned(self, negatives: float, generator: torch.Generator) -> tuple[Spans, None]:
        """All of them."""
        return self, None

    def _rows(self, logits: Tensor, layout: Layout) -> Tensor:
        allowed = F.pad(self.allowed.to(logits.device), (0, layout.tokens - len(self.allowed)))
        return span_logits(logits, layout, allowed)
