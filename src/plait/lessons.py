"""What a model learns from: batches of questions and passages of like length, with wrong passages of the same article
where it has enough.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from plait.data import Question
from plait.text import Segment, Text

BUCKET = 64
"""Pieces among which those of like length are put together."""

Piece = Sequence[tuple[str, list[int]]]
"""Passages of one article, each once, with numbers of some of its questions."""


@dataclass(frozen=True)
class Lesson:
    """One training batch.

    Attributes:
        queries, passages: segments, each once, however many examples share it.
        candidates: for each query, all passages: the right one, then those of its article, then the others.
        answers: for each query, first and last token of its answer within the right passage's segment.
    """

    queries: list[Segment]
    passages: list[Segment]
    candidates: list[list[int]]
    answers: list[tuple[int, int]]


def lessons(
    questions: Sequence[Question],
    text: Text,
    *,
    passages: int = 8,
    questions_a_passage: int = 4,
    longest: int = 384,
    seed: int = 0,
) -> list[Lesson]:
    """Every question once, in batches of `passages` passages of like length, of one article where it has enough.

    Questions whose answer lies past the `longest` tokens of a passage are left out.
    """
    rng = random.Random(seed)
    query_role, passage_role = text.roles
    texts = list(dict.fromkeys(q.passage for q in questions))
    room = min(longest, text.room(passage_role))
    segments = dict(zip(texts, text.segments(passage_role, texts, room=room), strict=True))
    asked = text.segments(query_role, [q.question for q in questions])
    by_article: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    answers: dict[int, tuple[int, int]] = {}
    for number, question in enumerate(questions):
        tokens = answer_tokens(segments[question.passage], *_characters(question))
        if tokens is not None:
            answers[number] = tokens
            by_article[question.document.rpartition("/")[0]][question.passage].append(number)
    pieces: list[Piece] = []
    for article in by_article.values():
        visits = []
        for passage, numbers in article.items():
            rng.shuffle(numbers)
            cut = [numbers[i : i + questions_a_passage] for i in range(0, len(numbers), questions_a_passage)]
            visits += [(round_, passage, some) for round_, some in enumerate(cut)]
        for round_ in range(max((v[0] for v in visits), default=-1) + 1):  # a passage stands once in a piece
            same = [(p, n) for r, p, n in visits if r == round_]
            same.sort(key=lambda visit: len(segments[visit[0]].ids) + rng.uniform(-20, 20))
            pieces += [same[i : i + passages] for i in range(0, len(same), passages)]
    rng.shuffle(pieces)
    batches = []
    for begin in range(0, len(pieces), BUCKET):
        bucket = sorted(pieces[begin : begin + BUCKET], key=lambda piece: max(len(segments[p].ids) for p, _ in piece))
        batches += _filled(bucket, passages)
    rng.shuffle(batches)
    return [_lesson(batch, segments, asked, answers, rng) for batch in batches]


def _filled(pieces: Sequence[Piece], passages: int) -> list[list[Piece]]:
    """Pieces that are less than a batch together with neighbours that are, as far as there is room."""
    batches = [[piece] for piece in pieces if len(piece) == passages]
    batch: list[Piece] = []
    for piece in (piece for piece in pieces if len(piece) < passages):
        if sum(map(len, batch)) + len(piece) > passages:
            batches.append(batch)
            batch = []
        batch.append(piece)
    return batches + ([batch] if batch else [])


def _lesson(
    pieces: Sequence[Piece],
    segments: dict[str, Segment],
    asked: Sequence[Segment],
    answers: dict[int, tuple[int, int]],
    rng: random.Random,
) -> Lesson:
    passages = list(dict.fromkeys(p for piece in pieces for p, _ in piece))
    place = {p: i for i, p in enumerate(passages)}
    queries, candidates, spans = [], [], []
    for piece in pieces:
        here = [place[p] for p, _ in piece]
        for passage, numbers in piece:
            right = place[passage]
            others = [i for i in here if i != right], [i for i in range(len(passages)) if i not in here]
            for number in numbers:
                queries.append(asked[number])
                candidates.append([right, *(i for some in others for i in rng.sample(some, len(some)))])
                spans.append(answers[number])
    return Lesson(queries, [segments[p] for p in passages], candidates, spans)


def answer_tokens(segment: Segment, start: int, end: int) -> tuple[int, int] | None:
    """First and last token that cover characters [start, end); None where the segment was cut before them."""
    covered = [i for i, (a, b) in enumerate(segment.offsets) if a < end and b > start]
    if not covered or segment.offsets[covered[-1]][1] < end:
        return None
    return covered[0], covered[-1]


def _characters(question: Question) -> tuple[int, int]:
    text, start = question.answers[0] if question.answers else ("", 0)
    return start, start + len(text)
