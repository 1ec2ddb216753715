"""A model where other code expects `sentence_transformers.CrossEncoder`: its evaluators, and whoever calls `predict` or
`rank` of one.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from plait.errors import PlaitError
from plait.model import Plait
from plait.parts import Encoded, Part, made_by, predicted, ranked, warn_cut


class CrossEncoder:
    """Scores pairs as `Plait.predict` does; known texts are computed once and remembered, so that those that come again
    are not computed again. Several threads may use one.

    Args:
        model: its plan says which texts are known.
        memory: most bytes of texts and states that are remembered from batch to batch; the texts that were not asked
            for longest are forgotten.

    Attributes:
        used: bytes of texts and states that are remembered now.
        model_card_data: what evaluators found.
    """

    def __init__(self, model: Plait, *, memory: int = 1 << 30) -> None:
        if not isinstance(model, Plait):
            raise PlaitError(f"model must be a Plait, but is {model!r:.60}; load it with Plait.from_pretrained")
        if isinstance(memory, bool) or not isinstance(memory, int) or memory < 0:
            raise PlaitError(f"memory must be 0 or more bytes, but is {memory!r}; 1 << 30 is the default")
        self.model, self.memory = model, memory
        self.model_card_data = CardData()
        self._known: OrderedDict[tuple[str, str], Encoded] = OrderedDict()
        self.used = 0
        self._lock = threading.Lock()

    @property
    def num_labels(self) -> int:
        """Labels of the score head."""
        return int(self.model.config.num_labels)

    @property
    def config(self) -> Any:
        """The checkpoint's, of `transformers`."""
        return self.model.config

    def predict(
        self,
        inputs: Sequence[Sequence[str]] | tuple[str, ...],
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: Callable[[Tensor], Tensor] | None = None,
        apply_softmax: bool | None = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
    ) -> NDArray[np.float32]:
        """See `Plait.predict`.

        Raises:
            PlaitError: prompts, which no plan has a place for, or tensors are asked for.
        """
        _refuse(prompt_name or prompt, convert_to_tensor or not convert_to_numpy)
        return predicted(
            self.model, inputs, batch_size, show_progress_bar, activation_fn, bool(apply_softmax), self._remembered
        )

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        top_k: int | None = None,
        return_documents: bool = False,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        activation_fn: Callable[[Tensor], Tensor] | None = None,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
    ) -> list[dict[str, object]]:
        """See `Plait.rank`; what is refused, as by `predict`."""
        _refuse(prompt_name or prompt, convert_to_tensor or not convert_to_numpy)
        return ranked(
            self.model, query, documents, top_k, return_documents, batch_size, show_progress_bar, activation_fn,
            self._remembered,
        )  # fmt: skip

    def _remembered(self, rows: list[tuple[Part, ...]]) -> list[tuple[Part, ...]]:
        """The rows with the states of known texts in the place of these."""
        plan = self.model.plan("score")
        columns = [list(column) for column in zip(*rows, strict=True)]
        for role, column in zip(plan.roles, columns, strict=False):
            if role in plan.known and plan.stores:
                texts = {text: None for text in column if isinstance(text, str)}
                with self._lock:
                    states = self._states(role, list(texts))
                column[:] = [states[part] if isinstance(part, str) else part for part in column]
        return list(zip(*columns, strict=True))

    def _states(self, role: str, texts: Sequence[str]) -> dict[str, Encoded]:
        """The states of different texts of a role, what is new computed."""
        names = self.model.needs(role, ["score"])
        maker = " ".join((made_by(self.model, role), *names))
        new = [text for text in texts if (maker, text) not in self._known]
        for text, one in zip(new, self.model.encode(role, new, names), strict=True):
            self._known[maker, text] = one
            self.used += _size(text, one)
        again = set(texts) - set(new)
        warn_cut(f"{role} texts", self.model.text.room(role), [self._known[maker, text].cut for text in again])
        found = {text: self._known[maker, text] for text in texts}
        for text in texts:
            self._known.move_to_end((maker, text))
        while self.used > self.memory:
            (_, text), one = self._known.popitem(last=False)
            self.used -= _size(text, one)
        return found


class CardData:
    """What evaluators of sentence-transformers found of a model, by their names.

    Attributes:
        metrics: by the evaluator's name, what it found last.
    """

    def __init__(self) -> None:
        self.metrics: dict[str, dict[str, float]] = {}

    def set_evaluation_metrics(
        self, evaluator: Any, metrics: Mapping[str, float], epoch: int = 0, step: int = 0
    ) -> None:
        """Called by evaluators."""
        self.metrics[str(evaluator.name)] = dict(metrics)


def _refuse(prompt: str | None, tensor: bool) -> None:
    if prompt:
        raise PlaitError(f"prompts have no place in a plan, but one is {prompt!r}; write it before the texts")
    if tensor:
        raise PlaitError("scores are a NumPy array, but a tensor is asked for; call torch.from_numpy on them")


def _size(text: str, one: Encoded) -> int:
    return sys.getsizeof(text) + sum(x.nbytes for x in one.states.values()) + one.offsets.nbytes
