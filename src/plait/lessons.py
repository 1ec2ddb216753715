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


@dataclass(frozen=True)
class Lesson:
    """One training batch.

    Attributes:
        queries, passages: segments, each once, however many examples share it.
        candidates: for each query, passages to choose from; the right one first.
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
    """Every question once, in batches of `passages` passages: quads of one article, two quads of like length together.

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
    quads: list[list[tuple[str, list[int]]]] = []
    for article in by_article.values():
        visits = []
        for passage, numbers in article.items():
            rng.shuffle(numbers)
            cut = [numbers[i : i + questions_a_passage] for i in range(0, len(numbers), questions_a_passage)]
            visits += [(round_, passage, some) for round_, some in enumerate(cut)]
        for round_ in range(max((v[0] for v in visits), default=-1) + 1):  # a passage stands once in a quad
            same = [(p, n) for r, p, n in visits if r == round_]
            same.sort(key=lambda visit: len(segments[visit[0]].ids) + rng.uniform(-20, 20))
            quads += [same[i : i + 4] for i in range(0, len(same), 4)]
    rng.shuffle(quads)
    size, together = 128, max(1, passages // 4)
    batches = []
    for begin in range(0, len(quads), size):
        bucket = sorted(quads[begin : begin + size], key=lambda quad: max(len(segments[p].ids) for p, _ in quad))
        batches += [bucket[i : i + together] for i in range(0, len(bucket), together)]
    rng.shuffle(batches)
    return [_lesson(batch, segments, asked, answers) for batch in batches]


def _lesson(
    quads: Sequence[Sequence[tuple[str, list[int]]]],
    segments: dict[str, Segment],
    asked: Sequence[Segment],
    answers: dict[int, tuple[int, int]],
) -> Lesson:
    passages = list(dict.fromkeys(p for quad in quads for p, _ in quad))
    place = {p: i for i, p in enumerate(passages)}
    queries, candidates, spans = [], [], []
    for quad in quads:
        here = [place[p] for p, _ in quad]
        for passage, numbers in quad:
            right = place[passage]
            others = [i for i in here if i != right] + [i for i in range(len(passages)) if i not in here]
            for number in numbers:
                queries.append(asked[number])
                candidates.append([right, *others][:4])
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
