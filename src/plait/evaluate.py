"""What a model is measured by on a task, and an index on questions whose passage is known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from plait.errors import PlaitError
from plait.head_plans import require_query_first
from plait.heads import class_names
from plait.metrics import answer_metrics, example_metrics, writing_metrics
from plait.parts import as_stored
from plait.tasks import class_name, group_name, number_of, require_roles, text_of, unanswerable

if TYPE_CHECKING:
    from plait.data import Example, Question
    from plait.index import Index
    from plait.model import Plait
    from plait.parts import Part

CHUNK = 1024
"""Examples whose known texts are held at once."""


def quality(model: Plait, task: str, data: Sequence[Question] | Sequence[Example], codec: str = "") -> dict[str, float]:
    """What a task is measured by: `reading_quality` for `qa`, `writing_quality` for `text`, else `example_quality`."""
    if task == "qa":
        return reading_quality(model, cast("Sequence[Question]", data), codec)
    examples = cast("Sequence[Example]", data)
    return writing_quality(model, examples, codec) if task == "text" else example_quality(model, task, examples, codec)


def example_quality(model: Plait, task: str, examples: Sequence[Example], codec: str = "") -> dict[str, float]:
    """`example_metrics` of a model's score head under the plan that it has; known texts as a store with `codec` would
    give them back, or as they are.

    Raises:
        PlaitError: a label that the task or the model cannot have, or scores that are not finite.
    """
    require_fit(task, examples, model)
    return metrics_of(model, task, examples, scores_of(model, rows_of(model, examples), codec))


def metrics_of(model: Plait, task: str, examples: Sequence[Example], scores: NDArray[np.float32]) -> dict[str, float]:
    """`example_metrics` of logits [N, labels] that `scores_of` gave."""
    if task == "value":  # as predict answers them: pearson minds a sigmoid
        import torch

        scores = model.activation()(torch.from_numpy(scores)).numpy()
    return example_metrics(task, examples, scores, class_names(model.config))


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


def require_fit(task: str, examples: Sequence[Example], model: Plait) -> None:
    """Refuse examples that a task cannot be measured on by a model: no labels, others than it has, or wrong kinds."""
    unlabelled = sum(example.label is None for example in examples)
    if not examples or unlabelled:
        lacking = f"{unlabelled} of {len(examples)} have no label" if examples else "there are none"
        raise PlaitError(f"a metric needs labelled examples, but {lacking}; pass a split with labels")
    require_roles(model.text.roles, examples)
    require_query_first(task, model.plans.values())
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
    gains: dict[str, list[bool]] = defaultdict(list)
    for example in examples:
        gains[group_name(example.group, example.texts)].append(number_of(task, example) > 0)
    for name, right in gains.items() if task == "choice" else ():
        if sum(right) != 1 or len(right) < 2:
            raise unanswerable(name, sum(right), len(right) - sum(right))
    if task == "rank" and not any(len({*kinds}) == 2 for kinds in gains.values()):
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
    """`writing_metrics` of what a model writes of labelled examples, greedily, under the plan that it has."""
    require_fit("text", examples, model)
    golds = [text_of(example) for example in examples]
    most = max(LONGEST, *(len(ids) for ids in model.tokenizer(golds)["input_ids"]))
    written = [""] * len(examples)
    for numbers, rows in _chunks(model, "text", rows_of(model, examples), codec):
        for number, text in zip(numbers, model.generate(rows, max_new_tokens=most), strict=True):
            written[number] = text
    return writing_metrics(written, golds)
