"""SQuAD's exact match and F1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.evaluate import squad_scores

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
    "non-ASCII stays": ("Zürich", ["Zurich"], 0, 0),
}


@pytest.mark.parametrize(("prediction", "golds", "exact", "f1"), CASES.values(), ids=list(CASES))
def test_examples(prediction: str, golds: list[str], exact: float, f1: float) -> None:
    assert squad_scores(prediction, golds) == pytest.approx((exact, f1))


@given(prediction=st.text(max_size=20), golds=st.lists(st.text(max_size=20), max_size=4))
def test_bounds(prediction: str, golds: list[str]) -> None:
    exact, f1 = squad_scores(prediction, golds)
    assert exact in (0.0, 1.0)
    assert exact <= f1 <= 1.0
    assert squad_scores(prediction, [*golds, prediction]) == (1.0, 1.0)
