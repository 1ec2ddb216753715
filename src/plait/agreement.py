"""How far a split model agrees with the full one it was made from, on the same candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from plait.extras import library

Scores = Mapping[str, NDArray[np.float32]]
"""Of each query, the scores of its candidates, float32 [N], in one order for both models."""


def agreement(teacher: Scores, student: Scores) -> dict[str, float]:
    """Means over queries with two candidates or more.

    Returns:
        `kendall`: tau-b of the two orders. `top1`: share of queries with the same best candidate. `top10`: share of
        the teacher's ten best that are among the student's ten; of fewer than 20 candidates, its better half.
        `drift`: mean absolute difference of scores, in standard deviations of the teacher's scores, after the means are
        taken off, which a ranking does not see. And the number of `queries`.
    """
    stats = library("scipy.stats", "train")
    rows = []
    spread = float(np.std(np.concatenate([scores - scores.mean() for scores in teacher.values()]))) or 1.0
    for query, theirs in teacher.items():
        ours = student[query]
        if len(theirs) < 2:
            continue
        tau = stats.kendalltau(theirs, ours).statistic
        ten = min(10, len(theirs) // 2)
        best, found = _best(theirs), _best(ours)
        shared = len(set(best[:ten]) & set(found[:ten])) / ten
        drift = float(np.abs((ours - ours.mean()) - (theirs - theirs.mean())).mean()) / spread
        rows.append((0.0 if np.isnan(tau) else float(tau), float(best[0] == found[0]), shared, drift))
    means = np.mean(rows, axis=0) if rows else np.zeros(4)
    return dict(zip(("kendall", "top1", "top10", "drift"), map(float, means), strict=True)) | {"queries": len(rows)}


def _best(scores: NDArray[np.float32]) -> Sequence[int]:
    order: list[int] = np.argsort(-scores, kind="stable").tolist()
    return order
