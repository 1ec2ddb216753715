"""One vector for a text, made of its own states: what an index with vectors=pooled searches by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from plait.errors import PlaitError
from plait.model import Plait
from plait.parts import Encoded
from plait.settings import Vectors

Given = Callable[[Sequence[str]], NDArray[np.float32]]
"""A user's own vectors: texts -> float32 [texts, width]."""


def vectors_of(model: Plait, vectors: Vectors | Literal["auto"], width: int) -> Vectors:
    """What vectors an index is to have: `auto` is what a dual encoder compares by cosine, and none for other models.

    Raises:
        PlaitError: there is no such kind, or a `width` is given without vectors or the other way round.
    """
    if vectors == "auto":
        vectors = "pooled" if by_cosine(model) and not width else "none"
    if vectors not in get_args(Vectors):
        raise PlaitError(f"vectors must be one of {', '.join(get_args(Vectors))}, but is {vectors!r}")
    if (vectors == "given") != (width > 0):
        raise PlaitError(
            f"vector_width must be 1 or more with vectors=given and 0 else, but is {width} with vectors={vectors}; "
            "pass the length of the given vectors"
        )
    return vectors


def by_cosine(model: Plait) -> bool:
    """Whether a model's scores rank as the vectors of its texts do."""
    return "score" in model.plans and model.plans["score"].compare == "cosine"


def vector_name(model: Plait, role: str) -> str:
    """What the vector of a role's texts is made of: the states that join; of a dual encoder what it compares."""
    plan = max(model.plans.values(), key=lambda plan: plan.join)
    return plan.needs(role, model.layers)[0] if plan.compare != "none" else f"states.{plan.join}"


def given_vectors(make: Given, texts: Sequence[str]) -> NDArray[np.float32]:
    """What a user's function makes of texts, float32 [texts, D]; PlaitError unless it has a row for each."""
    vectors = np.asarray(make(texts), np.float32)
    if vectors.ndim != 2 or len(vectors) != len(texts):
        raise PlaitError(
            f"given vectors must be a row for each of {len(texts)} texts, but have the shape {list(vectors.shape)}; "
            "return one vector for each text"
        )
    return vectors


def pooled(encoded: Encoded, name: str) -> NDArray[np.float32]:
    """Mean over the rows of a tensor, float32 [H]."""
    mean: NDArray[np.float32] = encoded.states[name].float().mean(0).cpu().numpy()
    return mean
