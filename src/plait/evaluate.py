"""Metrics: of answers, of a model on labelled examples, and of an index on questions whose passage is known."""

from __future__ import annotations

import math
import re
import string
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from plait.errors import PlaitError
from plait.extras import library
from plait.heads import class_names
from plait.parts import as_stored
from plait.scoring import require_finite
from plait.tasks import class_name, group_name, number_of, require_both, text_of

if TYPE_CHECKING:
    from plait.data import Example, Question
    from plait.index import Index
    from plait.model import Plait
    from plait.parts import Part

ARTICLE = re.compile(r"\b(a|an|the)\b")
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


CHUNK = 1024
"""Examples whose known texts are held at once."""


def quality(model: Plait, task: str, data: Sequence[Question] | Sequence[Example], codec: str = "") -> dict[str, float]:
    """What a task is measured by: `reading_quality` for `qa`, `writing_quality` for `text`, else `example_quality`."""
    if task == "qa":
        return reading_quality(model, cast("Sequence[Question]", data), codec)
    examples = cast("Sequence[Example]", data)
    return writing_quality(model, examples, codec) if task == "text" else example_quality(model, task, examples, codec)


def example_quality(model: Plait, task: str, examples: Sequence[Example], codec: str = "") -> dict[str, float]:
    """A model's score head on labelled examples, under the plan that it has; known texts as a store with `codec` would
    give them back, or as they are.

    Returns:
        `class`: `accuracy` and `f1` (macro). `value`: `spearman` and `pearson`. `rank`: `rr10` and `ndcg10` of the
        groups by `ir_measures`, of what a first stage found. `choice`: `accuracy` of the groups. All in 0..100 but the
        ranking metrics, which are in 0..1; and the number of `examples`. Among equal scores the wrong ones stand first.

    Raises:
        PlaitError: a label that the task or the model cannot have, or scores that are not finite.
    """
    require_fit(task, examples, model)
    return example_metrics(task, examples, scores_of(model, rows_of(model, examples), codec), model)


def rows_of(model: Plait, examples: Sequence[Example]) -> list[tuple[str | None, ...]]:
    """Their texts, one a role; None for the last roles of those with fewer."""
    roles = len(model.text.roles)
    return [(*example.texts, *(None,) * (roles - len(example.texts))) for example in examples]


def scores_of(model: Plait, rows: Sequence[tuple[str | None, ...]], codec: str = "") -> NDArray[np.float32]:
    """The score head's logits of rows of texts, float32 [N, labels], with rows of like length computed together; known
    texts as a store with `codec` would give them back, or as they are.
    """
    logits = np.empty((len(rows), model.config.num_labels), np.float32)
    for numbers, some in _chunks(model, "score", rows, codec):
        logits[numbers] = raw_scores(model, some)
    return logits


def _chunks(
    model: Plait, head: str, rows: Sequence[tuple[str | None, ...]], codec: str
) -> Iterator[tuple[list[int], Sequence[tuple[Part, ...]]]]:
    """Numbers of rows of like length, with these rows; known texts as a store with `codec` would give them back."""
    order = sorted(range(len(rows)), key=lambda i: tuple((len(text or ""), text or "") for text in reversed(rows[i])))
    for begin in range(0, len(rows), CHUNK):
        numbers = order[begin : begin + CHUNK]
        some = [rows[i] for i in numbers]
        yield numbers, _stored(model, head, some, codec) if codec else some


def _stored(model: Plait, head: str, rows: Sequence[tuple[str | None, ...]], codec: str) -> list[tuple[Part, ...]]:
    """Rows whose known texts are what a store holds of them."""
    plan = model.plan(head)
    columns: list[list[Part]] = []
    for column, role in enumerate(plan.roles):
        found = [row[column] for row in rows]
        parts: list[Part] = list(found)
        if role in plan.known:
            texts = list(dict.fromkeys(text for text in found if text is not None))
            encoded = model.encode(role, texts, plan.needs(role, model.layers))
            known = dict(zip(texts, (as_stored(one, codec) for one in encoded), strict=True))
            parts = [None if text is None else known[text] for text in found]
        columns.append(parts)
    return list(zip(*columns, strict=True))


def raw_scores(model: Plait, rows: Sequence[tuple[Part, ...]]) -> NDArray[np.float32]:
    """The score head's logits, float32 [N, labels]."""
    import torch

    scores = model.predict(rows, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    return scores.reshape(len(rows), -1)


def example_metrics(
    task: str, examples: Sequence[Example], logits: NDArray[np.float32], model: Plait
) -> dict[str, float]:
    """The same from logits float32 [N, labels]."""
    require_finite(logits)
    if task == "class":
        found = _classes(examples, logits, model)
    elif task == "value":
        found = _values(examples, logits[:, 0])
    elif task == "rank":
        found = _ranked(examples, logits[:, 0])
    else:
        found = {"accuracy": 100 * _chosen(examples, logits[:, 0])}
    return found | {"examples": len(examples)}


def _classes(examples: Sequence[Example], logits: NDArray[np.float32], model: Plait) -> dict[str, float]:
    metrics = library("sklearn.metrics", "train")
    names = class_names(model.config)
    right = [class_name(example.label) for example in examples if example.label is not None]
    found = [names[i] for i in logits.argmax(1)]
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
    for place, number in enumerate(np.lexsort((gains, -logits)).tolist()):  # places, so that none are equal
        example = examples[number]
        group = group_name(example.group, example.texts)
        qrels[group][str(number)] = math.ceil(gains[number])
        if example.found:
            run[group][str(number)] = -float(place)
    found = ir.calc_aggregate([ir.RR @ 10, ir.nDCG @ 10], dict(qrels), dict(run))
    return {"rr10": found[ir.RR @ 10], "ndcg10": found[ir.nDCG @ 10], "groups": len(qrels)}


def _chosen(examples: Sequence[Example], logits: NDArray[np.float32]) -> float:
    groups: dict[str, list[int]] = defaultdict(list)
    for number, example in enumerate(examples):
        groups[group_name(example.group, example.texts)].append(number)
    gains = [float(example.label or 0) for example in examples]
    best = [max(numbers, key=lambda i: (logits[i], -gains[i])) for numbers in groups.values()]
    return float(np.mean([gains[i] > 0 for i in best]))


def require_fit(task: str, examples: Sequence[Example], model: Plait) -> None:
    """Refuse examples that a task cannot be measured on by a model: no labels, others than it has, or wrong kinds."""
    unlabelled = sum(example.label is None for example in examples)
    if not examples or unlabelled:
        lacking = f"{unlabelled} of {len(examples)} have no label" if examples else "there are none"
        raise PlaitError(f"a metric needs labelled examples, but {lacking}; pass a split with labels")
    require_both(model.text.roles, examples)
    if task == "text":
        model.plan("text")  # refuses a model without such a head
        return
    names = class_names(model.config)
    if task == "class":
        for example in examples:
            if class_name(example.label or 0.0) not in names:
                raise PlaitError(
                    f"a label must be one of the model's {', '.join(names)}, but that of example {example.id} is "
                    f"{example.label!r}; mend it, or pass the label's column"
                )
        return
    if len(names) != 1:
        raise PlaitError(f"a {task} task needs a model with one label, but it has {len(names)}; use task class")
    gains: dict[str, set[bool]] = defaultdict(set)
    for example in examples:
        gains[group_name(example.group, example.texts)].add(number_of(task, example) > 0)
    if task == "rank" and not any(len(kinds) == 2 for kinds in gains.values()):
        raise PlaitError(
            f"a ranking is measured by groups with right and wrong candidates, but none of the {len(gains)} groups has "
            "both; add wrong ones, or pass a BEIR folder"
        )


def span_quality(index: Index, questions: Sequence[Question]) -> dict[str, float]:
    """EM and F1 (0..100) of the span head given each question's right passage, read from the index.

    Returns:
        `em`, `f1` and the number of `questions`.
    """
    found = [(index.answer_in(question.question, question.document).answer, question) for question in questions]
    return answer_metrics(found)


def reading_quality(model: Plait, questions: Sequence[Question], codec: str = "") -> dict[str, float]:
    """The same by `Plait.read`: every passage computed once, in memory, and asked all its questions."""
    by_passage: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        by_passage[question.passage].append(question)
    found = []
    for passage, asked in by_passage.items():
        known = model.read(passage, codec=codec)
        found += [(known.ask(question.question).answer, question) for question in asked]
    return answer_metrics(found)


LONGEST = 32
"""Most tokens that are written to be measured, where no right text has more."""


def writing_quality(model: Plait, examples: Sequence[Example], codec: str = "") -> dict[str, float]:
    """What a model writes of labelled examples, greedily, under the plan that it has.

    Returns:
        `em` and `f1` of `squad_scores`, to which an option A is no answer and 15 is 1.5; `exact`, how many are the
        label to the letter, blanks around it aside; all in 0..100; and the number of `examples`.
    """
    require_fit("text", examples, model)
    golds = [text_of(example) for example in examples]
    most = max(LONGEST, *(len(ids) for ids in model.tokenizer(golds)["input_ids"]))
    written = [""] * len(examples)
    for numbers, rows in _chunks(model, "text", rows_of(model, examples), codec):
        for number, text in zip(numbers, model.generate(rows, max_new_tokens=most), strict=True):
            written[number] = text
    return writing_metrics(written, golds)


def writing_metrics(written: Sequence[str], golds: Sequence[str]) -> dict[str, float]:
    """The same from what was written."""
    pairs = list(zip(written, golds, strict=True))
    scores = [(*squad_scores(text, [gold]), float(text.strip() == gold.strip())) for text, gold in pairs]
    em, f1, exact = (100 * sum(column) / len(scores) for column in zip(*scores, strict=True))
    return {"em": em, "f1": f1, "exact": exact, "examples": len(scores)}


def answer_metrics(answers: Iterable[tuple[str, Question]]) -> dict[str, float]:
    """EM and F1 (0..100) of answers to questions, and the number of `questions`."""
    scores = [squad_scores(answer, [text for text, _ in question.answers]) for answer, question in answers]
    if not scores:
        raise PlaitError("answers are measured by questions, but there are none; name a file that has some")
    exact, f1 = (100 * sum(column) / len(scores) for column in zip(*scores, strict=True))
    return {"em": exact, "f1": f1, "questions": len(scores)}
