"""Passages longer than training reads: each question keeps the window that holds its answer."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from plait.data import Question
from plait.passages import Passage, split
from plait.text import Text


def windowed(
    questions: Sequence[Question], text: Text, *, tokens: int, overlap: int, rng: random.Random
) -> Iterator[Question]:
    """The questions, those of passages over `tokens` tokens with a window for a passage: one that holds the whole
    answer, by chance if several do, as an index cuts them; one by chance for a question without an answer.

    A question whose answer no window holds comes as it is.
    """
    cuts: dict[str, list[Passage]] = {}
    for passage in dict.fromkeys(q.passage for q in questions):
        if len(passage.encode()) >= tokens:  # a token has at least one byte, but for a blank put before the first
            cuts[passage] = list(split(passage, text.tokenizer, tokens, overlap))
    for question in questions:
        windows = cuts.get(question.passage, [])
        if len(windows) > 1:
            holding = [window for window in windows if _holds(window, question)]
            if holding:
                yield _moved(question, rng.choice(holding))
                continue
        yield question


def _holds(window: Passage, question: Question) -> bool:
    if not question.answers:
        return True
    answer, start = question.answers[0]
    return window.start <= start and start + len(answer) <= window.start + len(window.text)


def _moved(question: Question, window: Passage) -> Question:
    answers = tuple((answer, start - window.start) for answer, start in question.answers[:1])
    return replace(question, passage=window.text, answers=answers)
