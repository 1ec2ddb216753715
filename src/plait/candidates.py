"""What a model is handed to rank: so many passages of a first stage, or documents that another search found."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Iterable, Mapping
from numbers import Integral

import numpy as np

from plait.errors import DataWarning, PlaitError
from plait.store import Hit, Store

Candidates = int | Collection[str] | Mapping[str, float]
"""How many passages the first stage hands over; or what another search found in its place: ids of documents, all of
whose passages are ranked, with that search's scores if these are to count."""
LARGEST = float(np.finfo(np.float32).max)


def documents(candidates: Candidates | None) -> dict[str, float] | None:
    """Documents by their ids, with their scores, 0 of ids alone; None where they are a number or nothing.

    Raises:
        PlaitError: they are neither, or a score is no finite number (of float32).
    """
    if candidates is None or isinstance(candidates, Integral | int):
        return None
    several = isinstance(candidates, Collection) and not isinstance(candidates, str | bytes)
    if not several or not all(isinstance(id, str) for id in candidates):
        said = " ".join(repr(candidates).split())
        raise PlaitError(
            f"candidates must be a number, or documents by their ids, but are {said:.60}; pass ['a', 'b'] or "
            "{'a': 1.5, 'b': 0.5}"
        )
    scores = candidates if isinstance(candidates, Mapping) else {}
    ordered = sorted(candidates) if isinstance(candidates, set | frozenset) else candidates
    return {str(id): _score(id, scores.get(id, 0.0)) for id in ordered}


def _score(document: str, value: object) -> float:
    try:
        score = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        score = math.nan
    if not abs(score) <= LARGEST:
        raise PlaitError(
            f"candidates must have finite scores, but {document!r} has {value!r:.40}; give numbers, or ids alone"
        )
    return score


def of_run(store: Store, run: Mapping[str, Candidates], queries: Iterable[str]) -> dict[str, dict[str, float]]:
    """What another search found for each query and the store has, with one DataWarning for queries that it did not
    have, and one for documents that the store has not.

    Raises:
        PlaitError: the run has none of the queries, or something else than documents.
    """
    asked, there = list(queries), store.contents()
    if lacking := [query for query in asked if query not in run]:
        if len(lacking) == len(asked):
            raise PlaitError(
                f"a run must have the queries that are asked, but has none of them, {lacking[0]!r} first; name the run "
                "that was made of them"
            )
        _warn(f"{len(lacking)} of {len(asked)} queries have no candidates, {lacking[0]!r} first, and find nothing")
    found = {query: _documents(query, run.get(query, ())) for query in asked}
    every = {document for of in found.values() for document in of}
    if absent := sorted(every - there.keys()):
        _warn(_left_out(absent, len(every)))
    return {query: {id: score for id, score in of.items() if id in there} for query, of in found.items()}


def _documents(query: str, candidates: Candidates) -> dict[str, float]:
    found = documents(candidates)
    if found is None:
        raise PlaitError(f"a run must have documents for its queries, but has {candidates!r} for {query!r}; mend it")
    return found


def passages_of(store: Store, found: Mapping[str, float]) -> list[Hit]:
    """The passages of documents, each with its document's score, best first; what is not there is left out with a
    DataWarning.
    """
    there = store.passages_of(sorted(found, key=lambda document: found[document], reverse=True))
    if absent := [document for document in found if document not in there]:
        passages = absent[0] in store.ids()
        _warn(_left_out(absent, len(found)) + (": it is a passage; name its document" if passages else ""))
    return [Hit(id, found[document]) for document, ids in there.items() for id in ids]


def _left_out(absent: list[str], count: int) -> str:
    return f"{len(absent)} of {count} candidates are not in the index, {absent[0]!r} first, and are left out"


def _warn(said: str) -> None:
    warnings.warn(said, DataWarning, stacklevel=3)
