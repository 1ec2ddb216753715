"""Spans: where an answer stands in a text, from the start and end logits of its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plait.errors import Failure
from plait.layout import Layout

LOWEST = float(np.finfo(np.float32).min)
"""The score of an answer where there is none."""


@dataclass(frozen=True)
class SpanAnswer:
    """The best span of one example: token numbers within its reader segment, inclusive, and its score (a logit sum)."""

    first: int
    last: int
    score: float


@dataclass(frozen=True)
class SpanFound:
    """An answer: characters [start, end) of the text it stands in, and its score: start + end logit, less those of no
    answer where the model can say that.
    """

    text: str
    start: int
    end: int
    score: float


def best_spans(logits: Tensor, layout: Layout, allowed: Tensor, longest: int = 30) -> list[SpanAnswer]:
    """The highest start + end for every group.

    Args:
        logits: [T, 2].
        layout: groups of the reader's tokens.
        allowed: bool [T]; False for special tokens, which are never part of an answer.
        longest: most tokens an answer may have (DeFormer, BERT's SQuAD decoding: 30).
    """
    logits = logits.float().masked_fill(~allowed[:, None], float("-inf"))
    padded = layout.pad(logits).masked_fill(~layout.mask[..., None], float("-inf"))  # [G, M, 2]
    start, end = padded[..., 0], padded[..., 1]
    length = start.shape[1]
    scores = start[:, :, None] + end[:, None, :]  # [G, M, M]
    band = torch.ones(length, length, dtype=torch.bool, device=scores.device).triu().tril(longest - 1)
    scores = scores.masked_fill(~band, float("-inf")).flatten(1)
    best, place = scores.max(1)
    rows: Sequence[tuple[float, int]] = list(zip(best.tolist(), place.tolist(), strict=True))
    return [SpanAnswer(place // length, place % length, value) for value, place in rows]


def spans_found(
    logits: Tensor, layout: Layout, known: Sequence[tuple[str, NDArray[np.int32]]], no_answer: bool
) -> list[SpanFound]:
    """The best span of every example, in characters of its text.

    Args:
        logits: [T, 2], packed by layout.
        known: each example's text and token offsets.
        no_answer: take off the logits of no answer, which are those of each group's last token.
    """
    words = np.concatenate([offsets[:, 1] > offsets[:, 0] for _, offsets in known])
    allowed = torch.zeros(layout.tokens, dtype=torch.bool)
    allowed[: layout.used] = torch.from_numpy(words)
    found = best_spans(logits, layout, allowed.to(logits.device))
    none = torch.zeros(len(known), device=logits.device)
    if no_answer:
        none = logits[layout.starts + layout.lengths_tensor - 1].sum(-1)
    answers: list[SpanFound] = []
    for (text, offsets), span, nothing in zip(known, found, none.tolist(), strict=True):
        if not np.isfinite(span.score) and not np.isneginf(span.score):
            raise Failure(
                f"scores must be finite numbers, but those of a span are {span.score}; load the model in float32, "
                "check its weights or, of a store, run plait verify"
            )
        if np.isneginf(span.score):  # a budget left no word
            answers.append(SpanFound("", 0, 0, LOWEST))
            continue
        start, end = int(offsets[span.first, 0]), int(offsets[span.last, 1])
        answers.append(SpanFound(text[start:end], start, end, span.score - nothing))
    return answers


def restored(logits: Tensor, layout: Layout, places: Tensor, whole: Layout) -> Tensor:
    """Logits [K, 2] of the tokens that budgets left, put where the tokens were: [T, 2], minus infinity elsewhere.

    Args:
        layout: of the tokens left; whole: of all tokens of the same segments.
        places: which token of its segment each is, int64 [K].
    """
    begin = whole.starts.repeat_interleave(layout.lengths_tensor)
    full = logits.new_full((whole.tokens, logits.shape[1]), float("-inf"))
    return full.index_copy(0, begin + places[: layout.used], logits[: layout.used])
