"""Pair regression: a number for every example, such as a similarity. The score head's with one label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from plait.data import Example
from plait.errors import PlaitError
from plait.layout import Layout
from plait.tasks.target import Weights


def number_of(task: str, example: Example) -> float:
    """The label of an example as a number; PlaitError if it is none."""
    if not isinstance(example.label, int | float):
        raise PlaitError(
            f"a {task} task needs a number for a label, but that of example {example.id} is {example.label!r}; write "
            "one"
        )
    return float(example.label)


@dataclass(frozen=True)
class Values:
    """Examples int64 [B, roles] and their values float32 [B], in the units of the data, or None: a teacher alone says
    something of them.
    """

    examples: Tensor
    values: Tensor | None
    head: ClassVar[str] = "score"
    written: ClassVar[None] = None

    def loss(self, logits: Tensor, layout: Layout, weights: Weights) -> Tensor:
        """Mean squared error of logits [B, 1]."""
        assert self.values is not None
        return F.mse_loss(logits.squeeze(-1), self.values.to(logits.device))

    def distance(self, logits: Tensor, taught: Tensor, layout: Layout, weights: Weights) -> Tensor:
        """Mean squared distance of logits from what the teacher answers, in the units of its labels."""
        return weights.distillation * F.mse_loss(logits, taught)

    def heeds_teacher(self, weights: Weights) -> bool:
        """Whether `distance` has any weight."""
        return weights.distillation > 0

    def thinned(self, negatives: float, generator: torch.Generator) -> tuple[Values, None]:
        """All of them."""
        return self, None
