"""What an index answers with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from plait.scoring import Timing


@dataclass(frozen=True)
class Hit:
    """A ranked passage, `start` its first character in the document. `score` is the model's logit and what the first
    stage's score, `first_stage`, counts beside it.
    """

    id: str
    document: str
    text: str
    start: int
    score: float
    first_stage: float
    metadata: Mapping[str, object]


@dataclass(frozen=True)
class Found:
    """An answer: characters [start, end) of `hit.text`; `score` adds the hit's and the span's."""

    answer: str
    start: int
    end: int
    score: float
    hit: Hit


@dataclass(frozen=True)
class Ranking:
    """Hits, best first, where the time went, and how many tokens of the query the model could not read."""

    hits: list[Hit]
    timing: Timing
    query_cut: int


@dataclass(frozen=True)
class Answers:
    """Answers, best first, with the ranking that they come from."""

    answers: list[Found]
    ranking: Ranking


@dataclass(frozen=True)
class Added:
    """What an `add` did: documents written, of these replaced because their content was another, and left alone because
    they were there already; passages and tokens written.
    """

    documents: int
    replaced: int
    unchanged: int
    passages: int
    tokens: int
