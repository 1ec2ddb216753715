"""Metrics: of predictions, and of an index on questions whose passage is known."""

from __future__ import annotations

import re
import string
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plait.data import Question
    from plait.index import Index

ARTICLE = re.compile(r"\b(a|an|the)\b")
WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def squad_scores(prediction: str, golds: list[str]) -> tuple[float, float]:
    """Exact match and F1 of an answer, each in 0..1 and the best over `golds`, as SQuAD's official script defines them.

    Texts are compared as lower-case words without punctuation and without a, an, the; F1 is over bags of words. No
    golds means that the question has no answer: the empty prediction is right. Where a side has no words left, F1 is
    exact match (the rule of SQuAD 2.0; the script of 1.1 gives 0 there, for equal texts too).
    """
    ours = _words(prediction)
    references = [_words(gold) for gold in golds] or [[]]
    return max(float(ours == words) for words in references), max(_f1(ours, words) for words in references)


def _words(text: str) -> list[str]:
    return ARTICLE.sub(" ", text.lower().translate(WITHOUT_PUNCTUATION)).split()


def _f1(ours: list[str], words: list[str]) -> float:
    if not ours or not words:
        return float(ours == words)
    common = (Counter(ours) & Counter(words)).total()
    return 2 * common / (len(ours) + len(words))


def span_quality(index: Index, questions: Sequence[Question]) -> dict[str, float]:
    """EM and F1 (0..100) of the span head given each question's right passage, read from the index.

    Returns:
        `em`, `f1` and the number of `questions`.
    """
    exact = f1 = 0.0
    for question in questions:
        answer = index.answer_in(question.question, question.document)
        one = squad_scores(answer.answer, [text for text, _ in question.answers])
        exact, f1 = exact + one[0], f1 + one[1]
    count = len(questions)
    return {"em": 100 * exact / count, "f1": 100 * f1 / count, "questions": count}


def rank_quality(index: Index, questions: Sequence[Question], candidates: int = 100) -> dict[str, float]:
    """RR@10 of documents, and R@`candidates` of the first stage (BM25), by `ir_measures`.

    A document stands where its best passage stands.

    Returns:
        `rr10`, `first_stage_rr10`, `first_stage_recall` and the number of `questions`.
    """
    import ir_measures
    from ir_measures import RR, R

    qrels: dict[str, dict[str, int]] = {q.id: {q.document: 1} for q in questions}
    ranked: dict[str, Mapping[str, float]] = {}
    first: dict[str, Mapping[str, float]] = {}
    for question in questions:
        found = index.rank(question.question, candidates, candidates=candidates)
        ranked[question.id] = _best((hit.document, hit.score) for hit in found.hits)
        hits = index.store.search_text(question.question, candidates)
        by_id = {hit.id: hit.document for hit in found.hits}
        first[question.id] = _best((by_id[hit.id], hit.score) for hit in hits)
    reranked = ir_measures.calc_aggregate([RR @ 10], qrels, ranked)
    before = ir_measures.calc_aggregate([RR @ 10, R @ candidates], qrels, first)
    return {
        "rr10": reranked[RR @ 10],
        "first_stage_rr10": before[RR @ 10],
        "first_stage_recall": before[R @ candidates],
        "questions": len(questions),
    }


def _best(scored: Iterable[tuple[str, float]]) -> dict[str, float]:
    best: dict[str, float] = defaultdict(lambda: float("-inf"))
    for document, score in scored:
        best[document] = max(best[document], score)
    return dict(best)
