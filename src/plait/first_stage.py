"""The first stage: which passages a model is handed, and how much their scores there count beside its own."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from plait.errors import DataWarning, PlaitError, require_least
from plait.model import Plait
from plait.scoring import Query, two_roles
from plait.store import Hit, Store
from plait.vectors import by_cosine, pooled, vector_name

FirstStage = Literal["auto", "bm25", "vector", "all"]
Candidates = int | Sequence[str] | Mapping[str, float]
"""How many passages the first stage hands over; or what another search found in its place: ids of documents, all of
whose passages are ranked, with that search's scores if these are to count."""
CANDIDATES = 100


def candidates_of(
    store: Store,
    model: Plait,
    query: Query,
    candidates: Candidates,
    first_stage: FirstStage,
    vector: NDArray[np.float32] | None,
    vectors: str,
) -> list[Hit]:
    """The passages of the first stage with its scores, best first; of `all` every one, with score 0; of documents that
    another search found those of each, in its order.

    Args:
        vector: the query's, float32 [D]; None to compute it as the store's were, if these are `vectors="pooled"`.

    Raises:
        PlaitError: a first stage that there is not, that needs a vector which nobody gave, or that needs none.
    """
    if isinstance(candidates, Sequence | Mapping):
        return _found(store, candidates)
    if first_stage == "auto":
        searched = vector is not None or (vectors == "pooled" and by_cosine(model))
        first_stage = "vector" if searched else "bm25"
    if vector is not None and first_stage != "vector":
        raise PlaitError(f"a query's vector is for first_stage=vector, but that is {first_stage}; leave one out")
    if first_stage == "all":
        return [Hit(id, 0.0) for id in store.ids()]
    if first_stage == "bm25":
        return store.search_text(query.text, candidates)
    if first_stage != "vector":
        raise PlaitError(f"first_stage must be one of auto, bm25, vector, all, but is {first_stage!r}")
    if vector is None:
        if vectors != "pooled":
            raise PlaitError(
                f"first_stage=vector needs an index with vectors=pooled, or the query's vector, but this index has "
                f"vectors={vectors}; build it with vectors=pooled or use first_stage=bm25"
            )
        vector = _vector(model, query)
    return store.search_vector(vector, candidates)


def _found(store: Store, documents: Sequence[str] | Mapping[str, float]) -> list[Hit]:
    """The passages of documents, each with its document's score, best first."""
    scores = documents if isinstance(documents, Mapping) else dict.fromkeys(documents, 0.0)
    there = store.passages_of(sorted(scores, key=lambda document: -scores[document]))
    if lacking := [document for document in scores if document not in there]:
        warnings.warn(
            f"{len(lacking)} of {len(scores)} candidates are not in the index, {lacking[0]!r} first, and are left out",
            DataWarning,
            stacklevel=2,
        )
    return [Hit(id, float(scores[document])) for document, ids in there.items() for id in ids]


def require_candidates(
    candidates: Candidates | None, first_stage: FirstStage, weight: float, vector: NDArray[np.float32] | None
) -> None:
    """PlaitError unless these can be a first stage's candidates, and its scores count `weight` times beside the
    model's.
    """
    _require_weight(weight, first_stage)
    if candidates is None:
        return
    if not isinstance(candidates, Sequence | Mapping):
        require_least("candidates", candidates, "leave it out for 100")
        if first_stage == "all":
            raise PlaitError(f"first_stage=all has no candidates, but they are to be {candidates}; leave one out")
        return
    if isinstance(candidates, str) or not all(isinstance(document, str) for document in candidates):
        raise PlaitError(
            f"candidates must be a number, or documents by their ids, but are {candidates!r:.60}; pass ['a', 'b'] or "
            "{'a': 1.5, 'b': 0.5}"
        )
    if first_stage != "auto" or vector is not None:
        raise PlaitError(
            "candidates that are documents stand in place of a first stage, but first_stage="
            f"{first_stage if vector is None else 'vector'} searches too; leave one out"
        )
    if not isinstance(candidates, Mapping):
        if weight:
            raise PlaitError(
                f"candidates must have scores if these are to count {weight:g} times, but are ids alone; pass a dict "
                "such as {'a': 1.5}"
            )
    elif bad := [document for document, score in candidates.items() if not _finite(score)]:
        raise PlaitError(
            f"candidates must have finite scores, but {bad[0]!r} has {candidates[bad[0]]!r}; give numbers, or ids alone"
        )


def _finite(score: object) -> bool:
    return isinstance(score, Real) and math.isfinite(score)


def _vector(model: Plait, query: Query) -> NDArray[np.float32]:
    """A query's vector, float32 [D]: the one that is compared, or else made as those of the store."""
    live, known = two_roles(model)
    if by_cosine(model):
        vector: NDArray[np.float32] = query.states.tensors[vector_name(model, live)][0].float().cpu().numpy()
        return vector
    [encoded] = model.encode(known, [query.text], [vector_name(model, known)])
    return pooled(encoded, vector_name(model, known))


def _require_weight(weight: float, first_stage: str) -> None:
    """PlaitError unless the first stage's scores can count `weight` times beside the model's."""
    if not (math.isfinite(weight) and weight >= 0):
        raise PlaitError(
            f"first_stage_weight must be a number of 0 or more, but is {weight}; pass 0 for the model alone"
        )
    if weight and first_stage == "all":
        raise PlaitError(
            f"first_stage=all gives no scores, so first_stage_weight must be 0 there, but is {weight:g}; leave it out, "
            "or use first_stage=bm25"
        )
