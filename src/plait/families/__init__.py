"""A shelf: one adapter file per architecture, chosen by a checkpoint's `model_type` and by nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plait.cost import Shape
from plait.errors import PlaitError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from plait.families.family import Family

MODEL_TYPES = ("bert", "roberta", "xlm-roberta", "camembert", "electra")


def adapter(base: PreTrainedModel) -> Family:
    """The adapter of a `transformers` encoder (the base model, without heads).

    Raises:
        PlaitError: no adapter knows this `model_type`.
    """
    check_model_type(str(base.config.model_type))
    from plait.families.bert import Bert

    return Bert(base)


def shape(config: Any) -> Shape:
    """The sizes of the encoder that a `transformers` config describes; no weights are needed."""
    check_model_type(str(config.model_type))
    from plait.families import bert

    return bert.shape(config)


def check_model_type(model_type: str) -> None:
    """Refuse a `model_type` that no adapter knows."""
    if model_type not in MODEL_TYPES:
        raise PlaitError(
            f"model_type must be one of {', '.join(MODEL_TYPES)}, but this checkpoint's is {model_type!r}; "
            "docs/how-it-works.md says what an adapter has to provide"
        )
