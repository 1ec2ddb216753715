"""Pair classification: a class for every example. Choosing among classes is the score head's with several labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from plait.distill import distillation
from plait.layout import Layout
from plait.tasks.target import Weights


def class_name(label: str | float) -> str:
    """A label as a class: a whole number without its point."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


@dataclass(frozen=True)
class Classes:
    """Examples int64 [B, roles] and their classes int64 [B], or None: a teacher alone says something of them."""

    examples: Tensor
    classes: Tensor | None
    head: ClassVar[str] = "score"
    written: ClassVar[None] = None

    def loss(self, logits: Tensor, layout: Layout, weights: Weights) -> Tensor:
        """Cross entropy of logits [B, labels], mean."""
        assert self.classes is not None
        return F.cross_entropy(logits, self.classes.to(logits.device))

    def distance(self, logits: Tensor, taught: Tensor, layout: Layout, weights: Weights) -> Tensor:
        """KL to the teacher's classes at the temperature."""
        return weights.distillation * distillation(logits, taught, weights.temperature)

    def heeds_teacher(self, weights: Weights) -> bool:
        """Whether `distance` has any weight."""
        return weights.distillation > 0

    def thinned(self, negatives: float, generator: torch.Generator) -> tuple[Classes, None]:
        """All of them."""
        return self, None
