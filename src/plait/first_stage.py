"""The first stage: which passages a model is handed, and how much their scores there count beside its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from plait.candidates import Candidates, documents
from plait.errors import PlaitError, require_least
from plait.model import Plait
from plait.scoring import Query, two_roles
from plait.store import Hit, Store
from plait.vectors import by_cosine, pooled, vector_name

FirstStage = Literal["auto", "bm25", "vector", "all"]
CANDIDATES = 100


def candidates_of(
    store: Store,
    model: Plait,
    query: Query,
    count: int,
    first_stage: FirstStage,
    vector: NDArray[np.float32] | None,
    vectors: str,
) -> list[Hit]:
    """The `count` passages of the first stage with its scores, best first; of `all` every one, with score 0.

    Args:
        vector: the query's, float32 [D]; None to compute it as the store's were, if these are `vectors="pooled"`.

    Raises:
        PlaitError: a first stage that needs a vector which nobody gave, or that needs none.
    """
    if first_stage == "auto":
        searched = vector is not None or (vectors == "pooled" and by_cosine(model))
        first_stage = "vector" if searched else "bm25"
    if vector is not None and first_stage != "vector":
        raise PlaitError(f"a query's vector is for first_stage=vector, but that is {first_stage}; leave one out")
    if first_stage == "all":
        return [Hit(id, 0.0) for id in store.ids()]
    if first_stage == "bm25":
        return store.search_text(query.text, count)
    if vector is None:
        if vectors != "pooled":
            raise PlaitError(
                f"first_stage=vector needs an index with vectors=pooled, or the query's vector, but this index has "
                f"vectors={vectors}; build it with vectors=pooled or use first_stage=bm25"
            )
        vector = _vector(model, query)
    return store.search_vector(vector, count)


def _vector(model: Plait, query: Query) -> NDArray[np.float32]:
    """A query's vector, float32 [D]: the one that is compared, or else made as those of the store."""
    live, known = two_roles(model)
    if by_cosine(model):
        vector: NDArray[np.float32] = query.states.tensors[vector_name(model, live)][0].float().cpu().numpy()
        return vector
    [encoded] = model.encode(known, [query.text], [vector_name(model, known)])
    return pooled(encoded, vector_name(model, known))


def require_candidates(
    candidates: Candidates | None, first_stage: FirstStage, weight: float, vector: NDArray[np.float32] | None
) -> int | dict[str, float] | None:
    """The candidates as they were given, or, of documents, with their scores.

    Raises:
        PlaitError: they cannot be those of this first stage, or of none, or its scores cannot count `weight` times
            beside the model's.
    """
    if isinstance(weight, bool) or not isinstance(weight, Real) or not (math.isfinite(weight) and weight >= 0):
        raise PlaitError(
            f"first_stage_weight must be a number of 0 or more, but is {weight!r}; pass 0 for the model alone"
        )
    if first_stage not in get_args(FirstStage):
        raise PlaitError(f"first_stage must be one of {', '.join(get_args(FirstStage))}, but is {first_stage!r}")
    if weight and first_stage == "all":
        raise PlaitError(
            f"first_stage=all gives no scores, so first_stage_weight must be 0 there, but is {weight:g}; leave it out, "
            "or use first_stage=bm25"
        )
    if candidates is None:
        return None
    found = documents(candidates)
    if found is None:
        require_least("candidates", candidates, "leave it out for 100")
        if first_stage == "all":
            raise PlaitError(f"first_stage=all has no candidates, but they are to be {candidates}; leave one out")
        return cast("int", candidates)
    if first_stage != "auto" or vector is not None:
        raise PlaitError(
            "candidates that are documents stand in place of a first stage, but there is "
            f"{'a vector' if vector is not None else f'first_stage={first_stage}'} too; leave one out"
        )
    if weight and not isinstance(candidates, Mapping):
        raise PlaitError(
            f"candidates must have scores if these are to count {weight:g} times, but are ids alone; pass a dict such "
            "as {'a': 1.5}"
        )
    return found
