"""Batches of questions: what is in them, and what stands together."""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.data import Example, Question
from plait.errors import DataWarning
from plait.lessons import example_lessons, question_lessons
from plait.lessons.alike import alike
from plait.model import Plait
from plait.tasks import Lists, Spans
from plait.text import Text
from tests.tokenizers import small_tokenizer

SUBJECTS = ["river", "stone", "copper", "music"]


def questions(articles: int = 3, passages: int = 8) -> list[Question]:
    found = []
    for article in range(articles):
        for number in range(passages):
            subject = SUBJECTS[number % 4]
            text = f"number {article} {number} the {subject} of the {subject} found {subject} ##{number}"
            for asked in range(5):
                id = f"{article} {number} {asked}"
                found.append(
                    Question(id, f"what {asked}", f"a{article}/{number}", text, ((subject, text.index(subject)),))
                )
    return found


@pytest.mark.parametrize("hard", [False, True])
def test_every_question_stands_once_with_its_answer(model: Plait, hard: bool) -> None:
    asked = questions()
    lessons = question_lessons(asked, model.text, passages=4, candidates=3, hard=hard)
    seen: Counter[str] = Counter()
    for lesson in lessons:
        spans, lists = lesson.targets
        assert isinstance(spans, Spans) and isinstance(lists, Lists)
        assert len(lesson.segments["passage"]) <= 4 and max(lists.lengths) <= 3
        for (_, passage), first, last in zip(spans.examples.tolist(), spans.first, spans.last, strict=True):
            segment = lesson.segments["passage"][passage]
            words = model.tokenizer.decode(segment.ids[int(first) : int(last) + 1])
            assert words in SUBJECTS
            seen[model.tokenizer.decode(segment.ids)] += 1
    assert len(seen) == 24 and set(seen.values()) == {5}


def test_hard_batches_share_words(model: Plait) -> None:
    def subjects(hard: bool) -> float:
        lessons = question_lessons(questions(1, 16), model.text, passages=4, hard=hard)
        texts = [[model.tokenizer.decode(s.ids) for s in lesson.segments["passage"]] for lesson in lessons]
        kinds = [len({next(w for w in SUBJECTS if w in text) for text in some}) for some in texts]
        return sum(kinds) / len(kinds)

    assert subjects(True) < subjects(False)


def test_groups_without_a_choice_are_left_out(model: Plait) -> None:
    """Which is said of the data: no text is cut."""
    labels = {"both": (1.0, 0.0), "right": (1.0, 2.0), "wrong": (0.0,)}
    examples = [
        Example(f"{group}{n}", ("river", f"stone {n}"), label, group)
        for group, found in labels.items() for n, label in enumerate(found)
    ]  # fmt: skip
    with pytest.warns(DataWarning, match="2 of 3 groups have no right or no wrong candidate; they are left out"):
        [lesson] = example_lessons("rank", examples, model.text)
    [lists] = lesson.targets
    assert isinstance(lists, Lists) and lists.lengths == [2]


def test_questions_without_an_answer(model: Plait) -> None:
    asked = questions(1, 4)
    unknown = Question("u", "why", "a0/0", asked[0].passage, ())
    never = Question("n", "why", "a0/0", asked[0].passage, (), impossible=True)
    with pytest.warns(DataWarning, match="1 of 21 questions"):
        [lesson] = question_lessons([*asked, unknown], model.text, passages=4, questions_a_passage=9)
    assert len(lesson.targets[0].examples) == 20
    [lesson] = question_lessons([*asked, never], model.text, passages=4, questions_a_passage=9)
    spans, lists = lesson.targets
    assert isinstance(spans, Spans) and isinstance(lists, Lists)
    assert len(spans.examples) == 21 and len(lists.lengths) == 20
    ends = [len(lesson.segments["passage"][p].ids) - 1 for _, p in spans.examples.tolist()]
    assert sum(int(first) == end for first, end in zip(spans.first, ends, strict=True)) == 1


def test_long_passages_are_read_by_windows(model: Plait) -> None:
    filler = "the river and the stone of it " * 20
    text = f"{filler}copper {filler}music {filler}"
    asked = [Question(w, "what", "a/0", text, ((w, text.index(w)),)) for w in ("copper", "music")]
    lessons = question_lessons(asked, model.text, longest=60, overlap=10)
    found = set()
    for lesson in lessons:
        spans = lesson.targets[0]
        assert isinstance(spans, Spans)
        for (_, passage), first, last in zip(spans.examples.tolist(), spans.first, spans.last, strict=True):
            segment = lesson.segments["passage"][passage]
            assert len(segment.ids) <= 61
            found.add(model.tokenizer.decode(segment.ids[int(first) : int(last) + 1]))
    assert found == {"copper", "music"}


def test_windows_of_one_passage_are_not_one_anothers_wrong_candidates(model: Plait) -> None:
    """They overlap, so that a second one can hold the very answer."""
    filler = "the river and the stone of it " * 20
    text = f"{filler}copper {filler}music {filler}"
    asked = [Question(w, "what", "a/0", text, ((w, text.index(w)),)) for w in ("copper", "music")]
    asked.append(Question("third", "what", "a/1", "a lantern of glass", (("lantern", 2),)))
    [lesson] = question_lessons(asked, model.text, longest=60, overlap=10)
    assert len(lesson.segments["passage"]) == 3
    [lists] = [target for target in lesson.targets if isinstance(target, Lists)]
    assert sorted(lists.lengths) == [2, 2, 3]


def test_answers_may_end_in_what_tokenizers_leave_out(model: Plait) -> None:
    text = "A sailor wrote it in a cafe\u0301 of the village"
    asked = [Question(a, "where", "a/0", text, ((a, text.index(a)),)) for a in ("cafe\u0301", "sailor ", "wrote")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        [lesson] = question_lessons(asked, model.text)
    spans = lesson.targets[0]
    assert isinstance(spans, Spans)
    [segment] = lesson.segments["passage"]
    found = {model.tokenizer.decode(segment.ids[a : b + 1]) for a, b in zip(spans.first, spans.last, strict=True)}
    assert {words.replace(" ##", "") for words in found} == {"cafe", "sailor", "wrote"}


@pytest.mark.parametrize(("candidates", "lengths"), [(2, [3]), (3, [3]), (4, [3])])
def test_no_candidate_is_left_alone(model: Plait, candidates: int, lengths: list[int]) -> None:
    examples = [Example(str(n), ("river", f"stone {n}"), None, "q") for n in range(3)]
    [lesson] = example_lessons("rank", examples, model.text, candidates=candidates, labelled=False)
    [lists] = lesson.targets
    assert isinstance(lists, Lists) and list(lists.lengths) == lengths


def test_long_passages_of_few_characters_are_read_by_windows() -> None:
    """A character can have several tokens, of byte-level tokenizers up to its bytes."""
    text = Text(small_tokenizer("roberta"), ("query", "passage"), positions=512, types=1)
    passage = "河" * 40
    assert len(text.segments("passage", [passage])[0].ids) > 60
    asked = [Question("q", "what", "a/0", passage, ((passage[30:31], 30),))]
    [lesson] = question_lessons(asked, text, longest=60, overlap=10)
    assert max(len(segment.ids) for segment in lesson.segments["passage"]) <= 60 + 2


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=12), min_size=1, max_size=20), st.integers(2, 8))
def test_alike_takes_each_once(bags: Sequence[Sequence[int]], size: int) -> None:
    groups = alike(bags, size, random.Random(0))
    assert sorted(i for group in groups for i in group) == list(range(len(bags)))
    assert all(len(group) == size for group in groups[:-1]) and 1 <= len(groups[-1]) <= size
