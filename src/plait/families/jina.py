"""Jina embeddings v3: GTE's layers with a feed-forward that is not gated."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

from plait.cost import Shape
from plait.families import gte
from plait.families.bert import pooler

__all__ = ["Adapter", "pooler", "shape"]


def shape(config: Any) -> Shape:
    """The sizes that a config states."""
    return gte.shape(config, gated=False)


class Adapter(gte.Adapter):
    """Of its encoder."""

    def __init__(self, base: PreTrainedModel) -> None:
        super().__init__(base)
        self.shape = shape(base.config)
