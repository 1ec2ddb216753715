"""Text to text: what is to be written of an example (LAIT). The text head's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from plait.data import Example
from plait.distill import distillation
from plait.errors import PlaitError
from plait.layout import Layout
from plait.tasks.classes import class_name
from plait.tasks.target import Weights
from plait.writer import ENDED


def text_of(example: Example) -> str:
    """The label of an example as a text; PlaitError if there is none to write."""
    text = "" if example.label is None else class_name(example.label)
    if not text.strip():
        raise PlaitError(
            f"a text task needs a label that is not blank, but that of example {example.id} is {example.label!r}; "
            "write one, leave the example out, or name the column with label"
        )
    return text


@dataclass(frozen=True)
class Texts:
    """Examples int64 [B, roles] and what is to be written of them, int64 [B, W] with -100 behind its end."""

    examples: Tensor
    written: Tensor
    head: ClassVar[str] = "text"

    def loss(self, logits: Tensor, layout: Layout, weights: Weights) -> Tensor:
        """Cross entropy of logits [T, vocabulary], mean over the tokens of all texts."""
        written = self.written.to(logits.device)
        return F.cross_entropy(logits, written[written != ENDED])

    def distance(self, logits: Tensor, taught: Tensor, layout: Layout, weights: Weights) -> Tensor:
        """KL to what the teacher would write next at every token, at the temperature, mean over tokens."""
        return weights.distillation * distillation(logits, taught, weights.temperature)

    def heeds_teacher(self, weights: Weights) -> bool:
        """Whether `distance` has any weight."""
        return weights.distillation > 0

    def thinned(self, negatives: float, generator: torch.Generator) -> tuple[Texts, None]:
        """All of them."""
        return self, None
