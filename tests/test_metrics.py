"""SQuAD's exact match and F1, and equality to the letter."""

import collections
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.metrics import squad_scores, writing_metrics

CASES = {
    "equal": ("Denver Broncos", ["Denver Broncos"], 1, 1),
    "case, article, punctuation, blanks": ("the  DENVER, Broncos.", ["Denver Broncos"], 1, 1),
    "punctuation joins words": ("well-known", ["well known"], 0, 0),
    "half": ("Denver Broncos team", ["Denver Broncos"], 0, 0.8),
    "words count as often as they stand": ("no no no", ["no"], 0, 0.5),
    "order counts for exact match alone": ("Broncos Denver", ["Denver Broncos"], 0, 1),
    "best gold": ("1973", ["October 1973", "1973", "x"], 1, 1),
    "best of each measure": ("b a b", ["b b c", "c"], 0, 0.8),
    "nothing in common": ("east", ["west"], 0, 0),
    "articles inside words stay": ("theatre an ant", ["atre ant"], 0, 0.5),
    "articles between other dashes go": ("a–b", ["–b"], 1, 1),
    "empty prediction": ("", ["west"], 0, 0),
    "no answer, none given": ("", [], 1, 1),
    "no answer, one given": ("west", [], 0, 0),
    "only an article": ("The", ["a"], 1, 1),
    "golds without words do not count": ("", ["the", "cat"], 0, 0),
    "non-ASCII stays": ("Zürich", ["Zurich"], 0, 0),
}


@pytest.mark.parametrize(("prediction", "golds", "exact", "f1"), CASES.values(), ids=list(CASES))
def test_examples(prediction: str, golds: list[str], exact: float, f1: float) -> None:
    assert squad_scores(prediction, golds) == pytest.approx((exact, f1))


SOME_TEXT = st.text(max_size=20) | st.lists(st.sampled_from(["the", "a", "cat", "Cat!", "x", "-"])).map(" ".join)


@given(prediction=SOME_TEXT, golds=st.lists(SOME_TEXT, max_size=4))
def test_the_official_definition(prediction: str, golds: list[str]) -> None:
    """Step by step as evaluate-v2.0.py says: normalize, drop golds that are nothing then, the best of the others."""

    def normalized(text: str) -> str:
        text = "".join(c for c in text.lower() if c not in set(string.punctuation))
        return " ".join(re.sub(r"\b(a|an|the)\b", " ", text, flags=re.UNICODE).split())

    def f1(gold: str) -> float:
        of_gold, of_prediction = normalized(gold).split(), normalized(prediction).split()
        common = sum((collections.Counter(of_gold) & collections.Counter(of_prediction)).values())
        if not of_gold or not of_prediction:
            return float(of_gold == of_prediction)
        if not common:
            return 0.0
        precision, recall = common / len(of_prediction), common / len(of_gold)
        return 2 * precision * recall / (precision + recall)

    left = [gold for gold in golds if normalized(gold)] or [""]
    expected = max(float(normalized(gold) == normalized(prediction)) for gold in left), max(map(f1, left))
    assert squad_scores(prediction, golds) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("written", "gold", "em", "exact"),
    [
        ("", "A", 100, 0),
        ("the", "A", 100, 0),
        (" A ", "A", 100, 100),
        ("15", "1.5", 100, 0),
        ("entailment", "entailment", 100, 100),
        ("Entailment.", "entailment", 100, 0),
        ("neutral", "entailment", 0, 0),
    ],
)
def test_what_is_written_is_also_compared_to_the_letter(written: str, gold: str, em: float, exact: float) -> None:
    found = writing_metrics([written], [gold])
    assert (found["em"], found["exact"], found["examples"]) == (em, exact, 1)
