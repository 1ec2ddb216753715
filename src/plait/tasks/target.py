"""The one face of the shelf: what a head is to give for the examples of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from plait.layout import Layout


@dataclass(frozen=True)
class Weights:
    """How much each loss counts; labels of spans, classes, values and texts count 1.

    Attributes:
        ranking: labels of lists; ranking_loss: how they are learned.
        distillation, temperature: KL to the teacher's spans, classes and texts (of values: squared distance).
        margin, listwise: MarginMSE and KL to the teacher's scores of a list.
    """

    ranking: float = 1.0
    ranking_loss: Literal["listwise", "pairwise"] = "listwise"
    distillation: float = 1.0
    temperature: float = 2.0
    margin: float = 0.0
    listwise: float = 0.0


class Target(Protocol):
    """Examples for one head, and what is right about them."""

    @property
    def head(self) -> str:
        """`score`, `span` or `text`."""

    @property
    def examples(self) -> Tensor:
        """int64 [B, roles]; numbers of the segments that an example is made of."""

    @property
    def written(self) -> Tensor | None:
        """What a text head is to write of each example, int64 [B, W] with -100 behind its end; nothing of others."""

    def loss(self, logits: Tensor, layout: Layout, weights: Weights) -> Tensor:
        """Weighted distance of the head's logits (`score`: [B, labels], `span`: [T, 2] by layout, `text`:
        [T, vocabulary] of what is to be written, by layout) from the labels.
        """

    def distance(self, logits: Tensor, taught: Tensor, layout: Layout, weights: Weights) -> Tensor:
        """Weighted distance of the head's logits from a teacher's for the same examples; 0 where they are equal."""

    def heeds_teacher(self, weights: Weights) -> bool:
        """Whether `distance` has any weight."""

    def thinned(self, negatives: float, generator: torch.Generator) -> tuple[Target, Tensor | None]:
        """What the full plan and a teacher, who cost most, are asked, and which of the examples that is (None: all)."""
