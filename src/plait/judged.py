"""How good an index ranks and answers, for queries whose relevant documents and answers are known."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from plait.candidates import Candidates, of_run
from plait.data import is_itself
from plait.errors import DataWarning, PlaitError, require_least
from plait.extras import library
from plait.metrics import answer_metrics

if TYPE_CHECKING:
    from plait.data import Question
    from plait.first_stage import FirstStage
    from plait.index import Index

WEIGHTS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
"""What the first stage's scores may count beside the model's: BM25's some 0 to 2 times, cosines more."""

Qrels = Mapping[str, Mapping[str, int]]
Run = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Judged:
    """What an index has for judged queries.

    Attributes:
        qrels: query -> document -> relevance.
        found: query -> document, logit and first-stage score of each of its candidates; a document may come more often.
    """

    qrels: Qrels
    found: Mapping[str, Sequence[tuple[str, float, float]]]

    def run(self, weight: float) -> Run:
        """Query -> document -> score, of its best passage, with the first stage's scores counting `weight` times."""
        return {query: _best((d, logit + weight * first) for d, logit, first in of) for query, of in self.found.items()}

    def first_stage(self) -> dict[str, float]:
        """Its own `rr10` and `ndcg10`, and the `recall` of the candidates, by `ir_measures`."""
        ir = library("ir_measures", "train")
        run = {query: _best((document, first) for document, _, first in of) for query, of in self.found.items()}
        most = max(map(len, self.found.values()), default=1)
        recall = ir.R @ max(most, 1)
        return _measured(self.qrels, run) | {"recall": ir.calc_aggregate([recall], self.qrels, run)[recall]}

    def ranked(self, weight: float = 0.0) -> dict[str, float]:
        """`rr10` and `ndcg10` of the model, with the first stage's scores counting `weight` times."""
        return _measured(self.qrels, self.run(weight))

    def both(self) -> dict[str, float]:
        """`rr10` and `ndcg10` of both, the weight chosen on one half of the queries and measured on the other, and the
        other way round; and the `weight` that is best for all of them. Best is the highest `rr10`, of several weights
        the lowest.
        """
        if len(self.qrels) < 2:
            raise PlaitError(
                f"a weight is chosen on other queries than it is measured on, but there is {len(self.qrels)}; add some"
            )
        ir = library("ir_measures", "train")
        found = {weight: ir.iter_calc([ir.RR @ 10], self.qrels, self.run(weight)) for weight in WEIGHTS}
        values = {weight: {one.query_id: one.value for one in of} for weight, of in found.items()}

        def best(queries: Sequence[str]) -> float:
            return max(WEIGHTS, key=lambda weight: (math.fsum(values[weight].get(q, 0.0) for q in queries), -weight))

        order = sorted(self.qrels)
        random.Random(0).shuffle(order)
        halves = order[::2], order[1::2]
        run: dict[str, Mapping[str, float]] = {}
        for measured, chosen in (halves, halves[::-1]):
            whole = self.run(best(chosen))
            run |= {query: whole[query] for query in measured}
        return _measured(self.qrels, run) | {"weight": best(order)}


def judged(
    index: Index,
    queries: Mapping[str, str],
    qrels: Qrels,
    *,
    candidates: int | Mapping[str, Candidates] = 100,
    first_stage: FirstStage = "auto",
    progress: Callable[[int], None] | None = None,
) -> Judged:
    """Rank all `candidates` of every query, whose relevant documents `qrels` names: so many passages of the first
    stage, or of each query the documents that another search found, with its scores: see `plait.data.read_run`.

    A document that is the query itself does not count (see `plait.data.is_itself`), with a DataWarning.

    Raises:
        PlaitError: no query, one that cannot be read, none whose relevant documents are in the index, or a model
            without a score head.
    """
    library("ir_measures", "train")  # not when all is ranked
    index.model.plan("score")
    if not queries:
        raise PlaitError("a ranking is measured by queries, but there are none; name a file that has some")
    handed = _handed(index, queries, candidates, first_stage)
    if unjudged := [query for query in queries if query not in qrels]:
        raise PlaitError(
            f"every query must have been judged, but {len(unjudged)} of {len(queries)} have no relevant document, "
            f"{unjudged[0]!r} first; leave them out"
        )
    there = index.store.contents()
    lacking = {document for query in queries for document, grade in qrels[query].items() if grade > 0} - there.keys()
    if not any(grade > 0 and d not in lacking for query in queries for d, grade in qrels[query].items()):
        raise PlaitError(
            "queries must ask for documents of the index, but none of those that are relevant is in it; index "
            "the documents that the queries were judged with"
        )
    if lacking:
        warnings.warn(
            f"{len(lacking)} relevant documents are not in the index, and count as not found", DataWarning, stacklevel=2
        )
    found, left_out = {}, 0
    for number, (name, query) in enumerate(queries.items(), 1):
        most = None if isinstance(candidates, Mapping) else candidates
        hits = index.rank(query, most, candidates=handed[name], first_stage=first_stage).hits
        others = [hit for hit in hits if not is_itself(name, hit.document, qrels[name])]
        left_out += len(others) < len(hits)
        found[name] = [(hit.document, hit.score, hit.first_stage) for hit in others]
        if progress:
            progress(number)
    if left_out:
        warnings.warn(
            f"{left_out} of {len(queries)} queries found an unjudged document of their own id; it does not count, as "
            "in BEIR; name queries apart from documents if they are not the same texts",
            DataWarning,
            stacklevel=2,
        )
    return Judged({query: qrels[query] for query in queries}, found)


def _handed(
    index: Index, queries: Iterable[str], candidates: int | Mapping[str, Candidates], first_stage: FirstStage
) -> Mapping[str, Candidates | None]:
    """What the ranking of each query is handed."""
    if isinstance(candidates, Mapping):
        return of_run(index.store, candidates, queries)
    require_least("candidates", candidates, "100 is usual")
    return dict.fromkeys(queries, None if first_stage == "all" else candidates)


def asked(questions: Sequence[Question]) -> tuple[dict[str, str], Qrels]:
    """Questions as queries, to each of which its own document is relevant."""
    return {q.id: q.question for q in questions}, {q.id: {q.document: 1} for q in questions}


def answered(
    index: Index,
    questions: Sequence[Question],
    *,
    read: int = 3,
    candidates: int | Mapping[str, Candidates] = 100,
    first_stage: FirstStage = "auto",
    first_stage_weight: float = 0.0,
    progress: Callable[[int], None] | None = None,
) -> dict[str, float]:
    """EM and F1 (0..100) of what `Index.ask` answers first, from all that is stored, whichever passage the question was
    asked of; and the number of `questions`. See Chen et al., "Reading Wikipedia to answer open-domain questions" (ACL
    2017), section 5.

    Raises:
        PlaitError: no question, one that cannot be read, or a model without a span head.
    """
    answers = []
    handed = _handed(index, [question.id for question in questions], candidates, first_stage)
    for number, question in enumerate(questions, 1):
        found = index.ask(
            question.question, read=read, candidates=handed[question.id], first_stage=first_stage,
            first_stage_weight=first_stage_weight,
        ).answers  # fmt: skip
        answers.append((found[0].answer if found else "", question))
        if progress:
            progress(number)
    return answer_metrics(answers)


def rank_quality(index: Index, questions: Sequence[Question], candidates: int = 100) -> dict[str, float]:
    """RR@10 for questions of which each has its own document, over BM25's candidates, whatever a model compares.

    Returns:
        `rr10` of the model, `both_rr10` of both at `weight` (see `Judged.both`), `first_stage_rr10`,
        `first_stage_recall` and the number of `questions`.
    """
    found = judged(index, *asked(questions), candidates=candidates, first_stage="bm25")
    first, both = found.first_stage(), found.both()
    return {
        "rr10": found.ranked()["rr10"],
        "both_rr10": both["rr10"],
        "weight": both["weight"],
        "first_stage_rr10": first["rr10"],
        "first_stage_recall": first["recall"],
        "questions": len(questions),
    }


def _measured(qrels: Qrels, run: Run) -> dict[str, float]:
    ir = library("ir_measures", "train")
    found = ir.calc_aggregate([ir.RR @ 10, ir.nDCG @ 10], qrels, run)
    return {"rr10": found[ir.RR @ 10], "ndcg10": found[ir.nDCG @ 10]}


def _best(scored: Iterable[tuple[str, float]]) -> dict[str, float]:
    best: dict[str, float] = {}
    for document, score in scored:
        best[document] = max(best.get(document, score), score)
    return best
