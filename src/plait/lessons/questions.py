"""What a model learns from questions about passages: batches of passages of like length with some of their questions,
and with wrong passages of the same article where it has enough.
"""

from __future__ import annotations

import random
import warnings
from collections import defaultdict
from collections.abc import Sequence

import torch

from plait.data import Question
from plait.errors import DataWarning
from plait.lessons.alike import alike
from plait.lessons.lesson import Lesson
from plait.lessons.windows import windowed
from plait.tasks import Lists, Spans, Target
from plait.text import Segment, Text

BUCKET = 64
"""Pieces among which those of like length are put together."""

Piece = Sequence[tuple[str, list[int]]]
"""Passages of one article, each once, with numbers of some of its questions."""


def question_lessons(
    questions: Sequence[Question],
    text: Text,
    *,
    passages: int = 8,
    candidates: int = 8,
    questions_a_passage: int = 4,
    longest: int = 384,
    overlap: int = 64,
    hard: bool = False,
    seed: int = 0,
) -> list[Lesson]:
    """Every question once, in batches of `passages` passages of one article where it has enough: of like length, or, if
    `hard`, of like words.

    Each batch has two targets: the spans of the answers, and lists of `candidates` passages of the batch, those of the
    right one's article first, but no other windows of its own document. Of a passage of more than `longest` tokens a
    question reads one window. A question whose answer no window holds, or is not given, is left out with a DataWarning.
    An impossible one (SQuAD 2.0) has the passage's last token, a separator, for one, and no list.
    """
    rng = random.Random(seed)
    query_role, passage_role = text.roles
    room = min(longest, text.room(passage_role))
    questions = list(windowed(questions, text, tokens=room, overlap=min(overlap, room // 2), rng=rng))
    texts = list(dict.fromkeys(q.passage for q in questions))
    segments = dict(zip(texts, text.segments(passage_role, texts, room=room), strict=True))
    asked = text.segments(query_role, [q.question for q in questions])
    documents = {question.passage: question.document for question in questions}
    by_article: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    answers: dict[int, tuple[int, int]] = {}
    for number, question in enumerate(questions):
        segment = segments[question.passage]
        last = len(segment.ids) - 1
        tokens = (last, last) if question.impossible else answer_tokens(segment, *_characters(question))
        if tokens is not None:
            answers[number] = tokens
            by_article[question.document.rpartition("/")[0]][question.passage].append(number)
    if len(answers) < len(questions):
        warnings.warn(
            f"{len(questions) - len(answers)} of {len(questions)} questions have no answer, or one that no window of "
            f"{room} tokens holds; they are left out",
            DataWarning,
            stacklevel=2,
        )
    pieces: list[Piece] = []
    for article in by_article.values():
        visits = []
        for passage, numbers in article.items():
            rng.shuffle(numbers)
            cut = [numbers[i : i + questions_a_passage] for i in range(0, len(numbers), questions_a_passage)]
            visits += [(round_, passage, some) for round_, some in enumerate(cut)]
        for round_ in range(max((v[0] for v in visits), default=-1) + 1):  # a passage stands once in a piece
            same = [(p, n) for r, p, n in visits if r == round_]
            if hard:
                groups = alike([segments[p].ids for p, _ in same], passages, rng)
                pieces += [[same[i] for i in group] for group in groups]
                continue
            same.sort(key=lambda visit: len(segments[visit[0]].ids) + rng.uniform(-20, 20))
            pieces += [same[i : i + passages] for i in range(0, len(same), passages)]
    rng.shuffle(pieces)
    batches = []
    for begin in range(0, len(pieces), BUCKET):
        bucket = sorted(pieces[begin : begin + BUCKET], key=lambda piece: max(len(segments[p].ids) for p, _ in piece))
        batches += _filled(bucket, passages)
    rng.shuffle(batches)
    nothing = any(question.impossible for question in questions)
    return [_lesson(batch, text, segments, documents, asked, answers, candidates, nothing, rng) for batch in batches]


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
    text: Text,
    segments: dict[str, Segment],
    documents: dict[str, str],
    asked: Sequence[Segment],
    answers: dict[int, tuple[int, int]],
    candidates: int,
    nothing: bool,
    rng: random.Random,
) -> Lesson:
    passages = list(dict.fromkeys(p for piece in pieces for p, _ in piece))
    place = {p: i for i, p in enumerate(passages)}
    queries: list[Segment] = []
    pairs: list[tuple[int, int]] = []
    lists: list[list[tuple[int, int]]] = []
    spans: list[tuple[int, int]] = []
    for piece in pieces:
        here = [place[p] for p, _ in piece]
        for passage, numbers in piece:
            right = place[passage]
            others = [i for i, p in enumerate(passages) if documents[p] != documents[passage]]
            nearer = [i for i in others if i in here], [i for i in others if i not in here]
            for number in numbers:
                wrong = [i for some in nearer for i in rng.sample(some, len(some))]
                pairs.append((len(queries), right))
                if answers[number][0] < len(segments[passage].ids) - 1:
                    lists.append([(len(queries), i) for i in (right, *wrong)[:candidates]])
                queries.append(asked[number])
                spans.append(answers[number])
    first, last = torch.tensor(spans).T
    allowed = [b > a for _, i in pairs for a, b in segments[passages[i]].offsets]
    if nothing:
        ends = torch.tensor([len(segments[passages[i]].ids) for _, i in pairs]).cumsum(0) - 1
        for end in ends.tolist():
            allowed[end] = True
    query_role, passage_role = text.roles
    targets: list[Target] = [Spans(torch.tensor(pairs), first, last, torch.tensor(allowed))]
    if lists:
        flat = torch.tensor([pair for row in lists for pair in row])
        targets.append(Lists(flat, [len(row) for row in lists], own=[1] * len(lists)))
    return Lesson({query_role: queries, passage_role: [segments[p] for p in passages]}, targets)


def answer_tokens(segment: Segment, start: int, end: int) -> tuple[int, int] | None:
    """First and last token that cover characters [start, end); None where no token does, or the segment was cut before
    the end. Characters that tokenizers leave out (blanks, accents) need no token.
    """
    covered = [i for i, (a, b) in enumerate(segment.offsets) if a < end and b > start]
    if not covered or (segment.cut and max(b for _, b in segment.offsets) < end):
        return None
    return covered[0], covered[-1]


def _characters(question: Question) -> tuple[int, int]:
    text, start = question.answers[0] if question.answers else ("", 0)
    return start, start + len(text)
