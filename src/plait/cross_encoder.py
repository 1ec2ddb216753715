"""A model where other code expects `sentence_transformers.CrossEncoder`: its evaluators, and whoever calls `predict` or
`rank` of one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from plait.errors import PlaitError
from plait.model import Plait
from plait.parts import Encoded, Part, as_rows, made_by
from plait.text import require_list

AT_ONCE = 1024
"""Pairs whose known texts are computed together."""


class CrossEncoder:
    """Scores pairs as `Plait.predict` does; known texts are computed once and remembered, so that those that are ranked
    again and again cost what they cost from a store.

    Args:
        model: its plan says which texts are known.
        memory: most bytes of states that are remembered; the texts that were not asked for longest are forgotten.

    Attributes:
        used: bytes of states that are remembered now.
        model_card_data: what evaluators found.
    """

    def __init__(self, model: Plait, *, memory: int = 1 << 30) -> None:
        if not isinstance(model, Plait):
            raise PlaitError(f"model must be a Plait, but is {model!r:.60}; load it with Plait.from_pretrained")
        self.model, self.memory = model, memory
        self.model_card_data = Measured()
        self._known: OrderedDict[tuple[str, str], Encoded] = OrderedDict()
        self.used = 0

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
        from tqdm.auto import tqdm

        _refuse(prompt_name or prompt)
        if convert_to_tensor or not convert_to_numpy:
            raise PlaitError("scores are a NumPy array, but a tensor is asked for; call torch.from_numpy on them")
        rows, single = as_rows(self.model.plan("score"), inputs)
        hidden = not (len(rows) > AT_ONCE if show_progress_bar is None else show_progress_bar)
        found = [self.model.predict([], batch_size, False, activation_fn)]
        with tqdm(total=len(rows), desc="pairs", unit="pair", disable=hidden) as bar:
            for begin in range(0, len(rows), AT_ONCE):
                some = self._remembered(rows[begin : begin + AT_ONCE])
                found.append(self.model.predict(some, batch_size, False, activation_fn, bool(apply_softmax)))
                bar.update(len(some))
        scores: NDArray[np.float32] = np.concatenate(found)
        return scores[0] if single else scores

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
    ) -> list[dict[str, object]]:
        """See `Plait.rank`; prompts are refused as by `predict`."""
        _refuse(prompt_name or prompt)
        documents = require_list("documents", documents)
        rows, _ = as_rows(self.model.plan("score"), [(query, document) for document in documents])
        known = [cast("str | Encoded", row[1]) for row in self._remembered(rows)]
        found = self.model.rank(query, known, top_k, False, batch_size, show_progress_bar, activation_fn)
        for row in found if return_documents else ():
            row["text"] = documents[int(str(row["corpus_id"]))]
        return found

    def _remembered(self, rows: Sequence[tuple[Part, ...]]) -> list[tuple[Part, ...]]:
        """The rows with the states of known texts in the place of these."""
        plan = self.model.plan("score")
        columns = [list(column) for column in zip(*rows, strict=True)]
        for role, column in zip(plan.roles, columns, strict=False):
            if role in plan.known and plan.stores:
                texts = {text: None for text in column if isinstance(text, str)}
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
            self.used += _size(one)
        found = {text: self._known[maker, text] for text in texts}
        for text in texts:
            self._known.move_to_end((maker, text))
        while self.used > self.memory:
            self.used -= _size(self._known.popitem(last=False)[1])
        return found


class Measured:
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


def _refuse(prompt: str | None) -> None:
    if prompt:
        raise PlaitError(f"prompts have no place in a plan, but one is {prompt!r}; write it before the texts")


def _size(one: Encoded) -> int:
    return sum(x.nbytes for x in one.states.values()) + one.offsets.nbytes
