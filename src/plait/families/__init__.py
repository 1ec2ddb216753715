"""A shelf: one adapter file per architecture, chosen by a checkpoint's `model_type` and by nothing else."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from plait.cost import Shape
from plait.errors import PlaitError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from plait.families.family import Family

FILES = {
    "bert": "bert", "roberta": "bert", "xlm-roberta": "bert", "camembert": "bert", "electra": "bert",
    "ernie": "bert", "data2vec-text": "bert",
    "distilbert": "distilbert", "albert": "albert", "mpnet": "mpnet", "modernbert": "modernbert",
    "eurobert": "eurobert", "gte": "gte", "nomic_bert": "gte", "jina_embeddings_v3": "jina",
    "deberta-v2": "deberta", "xlnet": "xlnet", "t5": "t5", "mt5": "t5", "umt5": "umt5",
}  # fmt: skip
"""Which file of this folder adapts a `model_type`. Each holds `shape(config)` and `Adapter(base)`; where models have a
score head `pooler(model)` too, and `span_outputs(model)` or `classifier(model)` where these have another name or more
parts than in BERT, and `before_mean(model)` where scores are read from a mean behind which less is done than before it.
"""
MODEL_TYPES = tuple(FILES)
OURS = {"vectors": "vectors"}
"""What `transformers` does not have: vectors of texts made elsewhere, see plait.given."""


def adapter(base: PreTrainedModel) -> Family:
    """The adapter of a `transformers` encoder (the base model, without heads).

    Raises:
        PlaitError: no adapter knows this `model_type`.
    """
    return _file(base.config).Adapter(base)  # type: ignore[no-any-return]


def shape(config: Any) -> Shape:
    """The sizes of the encoder that a `transformers` config describes; no weights are needed."""
    return _file(config).shape(config)  # type: ignore[no-any-return]


def pooler(model: Any) -> nn.Module | None:
    """What a `...ForSequenceClassification` model has between its encoder and its classifier, dropout apart: the first
    token's last state [B, 1, H] -> [B, H]. None where the classifier reads [B, 1, H] itself.
    """
    return _file(model.config).pooler(model)  # type: ignore[no-any-return]


def classifier(model: Any) -> nn.Module:
    """The last module of a `...ForSequenceClassification` model: [B, H] -> [B, labels], see `pooler`."""
    found: nn.Module = getattr(_file(model.config), "classifier", _classifier)(model)
    return found


def before_mean(model: Any) -> nn.Module | None:
    """What a `...ForSequenceClassification` model does with each token's last state before it takes their mean, [T, H]
    -> [T, H]; None for nothing.
    """
    found: nn.Module | None = getattr(_file(model.config), "before_mean", _nothing)(model)
    return found


def span_outputs(model: Any) -> nn.Module:
    """The head of a `...ForQuestionAnswering` model: [T, H] -> [T, 2]."""
    found: nn.Module = getattr(_file(model.config), "span_outputs", _qa_outputs)(model)
    return found


def _nothing(model: Any) -> None:
    return None


def _classifier(model: Any) -> nn.Module:
    return model.classifier  # type: ignore[no-any-return]


def _qa_outputs(model: Any) -> nn.Module:
    return model.qa_outputs  # type: ignore[no-any-return]


def register() -> None:
    """Tell `transformers` of OURS."""
    for file in OURS.values():
        importlib.import_module(f"plait.families.{file}").register()


def check_model_type(model_type: str) -> None:
    """Refuse a `model_type` that no adapter knows."""
    if model_type not in FILES | OURS:
        raise PlaitError(
            f"model_type must be one of {', '.join(MODEL_TYPES)}, but this checkpoint's is {model_type!r}; "
            "docs/adding-a-family.md says how to add one"
        )


def _file(config: Any) -> Any:
    """Imported when it is wanted, for it brings torch."""
    check_model_type(str(config.model_type))
    return importlib.import_module(f"plait.families.{(FILES | OURS)[config.model_type]}")
