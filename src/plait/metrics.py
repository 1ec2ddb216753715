"""Metrics of answers, texts and scores, against what is right; from libraries where these have them."""

from __future__ import annotations

import re
import string
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from plait.data import Example, Question
from plait.errors import DataWarning, PlaitError
from plait.extras import library
from plait.scoring import require_finite
from plait.tasks import class_name, group_name

ARTICLE = re.compile(r"\b(a|an|the)\b")
FINER = 1000
"""What broken relevances are multiplied by: `ir_measures` takes whole ones, and nDCG does not mind their scale."""
WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def squad_scores(prediction: str, golds: list[str]) -> tuple[float, float]:
    """Exact match and F1 of an answer, each in 0..1 and the best over `golds`, as SQuAD's official script defines them.

    Texts are compared as lower-case words without punctuation and without a, an, the; F1 is over bags of words. No
    golds means that the question has no answer: the empty prediction is right. By the rules of SQuAD 2.0 golds without
    a word left do not count, and where a side has none F1 is exact match (the script of 1.1 gives 0 there, for equal
    texts too).
    """
    ours = _words(prediction)
    references = [words for words in map(_words, golds) if words] or [[]]
    return max(float(ours == words) for words in references), max(_f1(ours, words) for words in references)


def _words(text: str) -> list[str]:
    return ARTICLE.sub(" ", text.lower().translate(WITHOUT_PUNCTUATION)).split()


def _f1(ours: list[str], words: list[str]) -> float:
    if not ours or not words:
        return float(ours == words)
    common = (Counter(ours) & Counter(words)).total()
    return 2 * common / (len(ours) + len(words))


def answer_metrics(answers: Iterable[tuple[str, Question]]) -> dict[str, float]:
    """EM and F1 (0..100) of answers to questions, and the number of `questions`."""
    answers = list(answers)
    for _, question in answers:
        if not question.answers and not question.impossible:
            raise PlaitError(
                f"a question must have an answer to be measured by, or be marked as impossible, but {question.id} has "
                "none; take data with answers"
            )
    scores = [squad_scores(answer, [text for text, _ in question.answers]) for answer, question in answers]
    if not scores:
        raise PlaitError("answers are measured by questions, but there are none; name a file that has some")
    exact, f1 = (100 * sum(column) / len(scores) for column in zip(*scores, strict=True))
    return {"em": exact, "f1": f1, "questions": len(scores)}


def writing_metrics(written: Sequence[str], golds: Sequence[str]) -> dict[str, float]:
    """What written texts are worth.

    Returns:
        `em` and `f1` of `squad_scores`, to which an option A is no answer and 15 is 1.5; `exact`, how many are the
        right text to the letter, blanks around it aside; all in 0..100; and the number of `examples`.
    """
    pairs = list(zip(written, golds, strict=True))
    scores = [(*squad_scores(text, [gold]), float(text.strip() == gold.strip())) for text, gold in pairs]
    em, f1, exact = (100 * sum(column) / len(scores) for column in zip(*scores, strict=True))
    return {"em": em, "f1": f1, "exact": exact, "examples": len(scores)}


def example_metrics(
    task: str, examples: Sequence[Example], logits: NDArray[np.float32], classes: Sequence[str]
) -> dict[str, float]:
    """What logits float32 [N, labels] of a score head are worth, and the number of `examples`.

    Returns:
        `class`: `accuracy` and `f1` (macro), of `classes` in the order of the labels. `value`: `spearman` and
        `pearson`. `rank`: `rr10` and `ndcg10` by `ir_measures`, of what a first stage found for the `groups` that have
        a right candidate; others are left out, with a DataWarning. `choice`: `accuracy` of the groups. All in 0..100
        but the ranking metrics, which are in 0..1. Among equal scores the wrong ones stand first.
    """
    require_finite(logits)
    found = _classes(examples, logits, classes) if task == "class" else METRICS[task](examples, logits[:, 0])
    return found | {"examples": len(examples)}


def _classes(examples: Sequence[Example], logits: NDArray[np.float32], classes: Sequence[str]) -> dict[str, float]:
    metrics = library("sklearn.metrics", "train")
    right = [class_name(example.label) for example in examples if example.label is not None]
    found = [classes[i] for i in logits.argmax(1)]
    macro = metrics.f1_score(right, found, average="macro", zero_division=0.0)
    return {"accuracy": 100 * float(metrics.accuracy_score(right, found)), "f1": 100 * float(macro)}


def _values(examples: Sequence[Example], logits: NDArray[np.float32]) -> dict[str, float]:
    stats = library("scipy.stats", "train")
    right = np.array([float(example.label or 0) for example in examples])
    if len(examples) < 2 or np.ptp(right) == 0 or np.ptp(logits) == 0:
        return {"spearman": 0.0, "pearson": 0.0}  # where one side is constant a correlation is not defined
    rank, line = stats.spearmanr(logits, right).statistic, stats.pearsonr(logits, right).statistic
    return {"spearman": 100 * float(rank), "pearson": 100 * float(line)}


def _ranked(examples: Sequence[Example], logits: NDArray[np.float32]) -> dict[str, float]:
    ir = library("ir_measures", "train")
    qrels: dict[str, dict[str, int]] = defaultdict(dict)
    run: dict[str, dict[str, float]] = defaultdict(dict)
    gains = np.array([float(example.label or 0) for example in examples])
    finer = 1 if (gains == gains.round()).all() else FINER
    for place, number in enumerate(np.lexsort((gains, -logits)).tolist()):  # places, so that none are equal
        example = examples[number]
        group = group_name(example.group, example.texts)
        qrels[group][str(number)] = max(round(finer * gains[number]), int(gains[number] > 0))
        if example.found:
            run[group][str(number)] = -float(place)
    asked = {group: labels for group, labels in qrels.items() if max(labels.values()) > 0}
    if lacking := len(qrels) - len(asked):
        warnings.warn(
            f"{lacking} of {len(qrels)} groups have no right candidate, and are left out of what is measured",
            DataWarning,
            stacklevel=2,
        )
    found = ir.calc_aggregate([ir.RR @ 10, ir.nDCG @ 10], asked, {group: run[group] for group in asked})
    return {"rr10": found[ir.RR @ 10], "ndcg10": found[ir.nDCG @ 10], "groups": len(asked)}


def _chosen(examples: Sequence[Example], logits: NDArray[np.float32]) -> dict[str, float]:
    groups: dict[str, list[int]] = defaultdict(list)
    for number, example in enumerate(examples):
        groups[group_name(example.group, example.texts)].append(number)
    gains = [float(example.label or 0) for example in examples]
    best = [max(numbers, key=lambda i: (logits[i], -gains[i])) for numbers in groups.values()]
    return {"accuracy": 100 * float(np.mean([gains[i] > 0 for i in best]))}


METRICS: dict[str, Callable[[Sequence[Example], NDArray[np.float32]], dict[str, float]]] = {
    "value": _values,
    "rank": _ranked,
    "choice": _chosen,
}
"""Of tasks with one label, from scores float32 [N]."""
