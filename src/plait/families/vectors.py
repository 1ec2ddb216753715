"""Vectors of texts, made elsewhere, in place of an encoder: no layers, one token a text, whose state is its vector."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel

from plait.cost import Shape
from plait.errors import PlaitError
from plait.families.family import Family

PADDING, UNKNOWN = 0, 1
"""Rows of the table that are no text's."""
LONGEST = 512
"""Tokens of a text; there is one."""


class VectorsConfig(PreTrainedConfig):
    """Sizes of a table of vectors."""

    model_type = "vectors"
    vocab_size: int = 2
    hidden_size: int = 1
    num_hidden_layers: int = 0
    num_attention_heads: int = 1
    initializer_range: float = 0.02


class VectorsModel(PreTrainedModel):
    """The table."""

    config_class = VectorsConfig
    base_model_prefix = "vectors"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.table = nn.Embedding(config.vocab_size, config.hidden_size)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The table, which `freeze_embeddings` leaves as it is."""
        return self.table

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.initializer_range)


class VectorsForSequenceClassification(PreTrainedModel):
    """As `transformers` names what has a head; plans put one that compares two vectors in its place."""

    config_class = VectorsConfig
    base_model_prefix = "vectors"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.vectors = VectorsModel(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The table."""
        return self.vectors.table

    def _init_weights(self, module: nn.Module) -> None:
        self.vectors._init_weights(module)


def register() -> None:
    """Tell `transformers` of these classes."""
    AutoConfig.register("vectors", VectorsConfig, exist_ok=True)
    AutoModel.register(VectorsConfig, VectorsModel, exist_ok=True)
    AutoModelForSequenceClassification.register(VectorsConfig, VectorsForSequenceClassification, exist_ok=True)


def shape(config: Any) -> Shape:
    """The sizes that a config states."""
    return Shape(layers=0, hidden=config.hidden_size, heads=1, feedforward=0, embedding=0, positions=LONGEST, types=1)


def pooler(model: Any) -> None:
    """None: a classifier reads the vector."""


class Adapter(Family):
    """Of a table of vectors."""

    def __init__(self, base: PreTrainedModel) -> None:
        self._base: Any = base
        self.shape = shape(base.config)

    def embed(self, ids: Tensor, types: Tensor, positions: Tensor) -> Tensor:
        """ids int64 [T] -> [T, H].

        Raises:
            PlaitError: a text that no vector was given for.
        """
        if (ids == UNKNOWN).any():
            raise PlaitError(
                "every text must be one that a vector was given for, letter by letter, but "
                f"{int((ids == UNKNOWN).sum())} of those here are not; give theirs too"
            )
        return self._base.table(ids)  # type: ignore[no-any-return]
