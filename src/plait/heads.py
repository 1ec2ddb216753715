"""What turns states into scores, classes and spans: the checkpoint's own heads, fed by what the plan says they read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from plait.errors import PlaitError
from plait.families import before_mean, classifier, pooler, span_outputs


class Score(nn.Module):
    """A `...ForSequenceClassification` or `...ForMultipleChoice` head: [B, H] -> logits [B, labels].

    Args:
        pooler: [B, 1, H] -> [B, H], or None where the classifier reads [B, 1, H].
        own: the modules of these that are not the encoder's, by the names that the checkpoint gives them.
        choice: whether it is the latter, which has one label.
        before_mean: [T, H] -> [T, H], what the last states go through where the head reads the mean of that, or None.
    """

    def __init__(
        self,
        pooler: nn.Module | None,
        dropout: nn.Module | None,
        classifier: nn.Module,
        own: Mapping[str, nn.Module],
        choice: bool = False,
        before_mean: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.pooler, self.dropout, self.classifier, self.choice = pooler, dropout, classifier, choice
        self.before_mean = before_mean
        self._own = dict(own)  # in a dict they are not registered a second time

    def forward(self, first: Tensor) -> Tensor:
        """First tokens' last states [B, H] -> logits [B, labels], in the dtype of the states."""
        x = first[:, None]  # transformers' heads take [B, tokens, H] and read token 0
        if self.pooler is None:
            return self.classifier(x)  # type: ignore[no-any-return]
        x = self.pooler(x)
        return self.classifier(x if self.dropout is None else self.dropout(x))  # type: ignore[no-any-return]

    def saved(self) -> dict[str, Tensor]:
        """Weights as a checkpoint names them beside the encoder's, e.g. `classifier.weight`."""
        return {f"{name}.{k}": v for name, module in self._own.items() for k, v in module.state_dict().items()}


class Span(nn.Module):
    """A `...ForQuestionAnswering` head: [T, H] -> start and end logits [T, 2], by a linear layer or several modules.

    Args:
        kind: what the class that has it is called behind the family's name.
    """

    def __init__(self, outputs: nn.Module, kind: str = "ForQuestionAnswering") -> None:
        super().__init__()
        self.qa_outputs, self.kind = outputs, kind

    def forward(self, states: Tensor) -> Tensor:
        """The reader's last states [T, H] -> logits [T, 2]."""
        return self.qa_outputs(states)  # type: ignore[no-any-return]

    def saved(self, beside_score: bool) -> dict[str, Tensor]:
        """Weights as a checkpoint names them; several modules are parts of `qa_outputs` only beside a score head, which
        in such families has the same names.
        """
        alone = not isinstance(self.qa_outputs, nn.Linear) and not beside_score
        return dict((self.qa_outputs if alone else self).state_dict())


def score_head(model: Any) -> Score:
    """The head of a `...ForSequenceClassification` or `...ForMultipleChoice` model: all that it has beside the encoder,
    and the pooler.
    """
    own = {name: module for name, module in model.named_children() if name != model.base_model_prefix}
    choice = type(model).__name__.endswith("ForMultipleChoice")
    summary = getattr(model, "sequence_summary", None)  # where it is of another make than classification's
    return Score(
        pooler(model) if summary is None else summary, getattr(model, "dropout", None), classifier(model), own, choice,
        before_mean(model),
    )  # fmt: skip


def span_head(model: Any) -> Span:
    """The head of a `...ForQuestionAnswering` model."""
    name = type(model).__name__
    return Span(span_outputs(model), name[name.index("For") :])


def in_float32(head: nn.Module, x: Tensor) -> Tensor:
    """What a head makes of states [.., H], float32 and computed in float32."""
    weights = {name: weight.float() for name, weight in head.named_parameters()}
    with torch.autocast(x.device.type, enabled=False):
        found: Tensor = torch.func.functional_call(head, weights, (x.float(),))
    return found


def default_activation(config: Any) -> nn.Module:
    """What sentence-transformers' CrossEncoder applies to a score head's logits where nothing else is asked for."""
    named = (getattr(config, "sentence_transformers", None) or {}).get("activation_fn")
    named = named or getattr(config, "sbert_ce_default_activation_function", None)
    if named is None:
        return nn.Sigmoid() if config.num_labels == 1 else nn.Identity()
    kind = getattr(nn, str(named).rpartition(".")[2], None)
    if not str(named).startswith("torch.nn.") or kind is None:
        raise PlaitError(
            f"a checkpoint's activation_fn must be one of torch.nn, but is {named!r}; name one in its config.json"
        )
    return kind()  # type: ignore[no-any-return]


def class_names(config: Any) -> tuple[str, ...]:
    """The names of a score head's labels, in order; those that `transformers` makes up are plain numbers here."""
    names = dict(getattr(config, "id2label", None) or {})
    return tuple(str(names[i]).removeprefix("LABEL_") for i in sorted(names))
