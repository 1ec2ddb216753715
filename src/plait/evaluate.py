"""Metrics over predictions."""

import re
import string
from collections import Counter

ARTICLE = re.compile(r"\b(a|an|the)\b")
WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def squad_scores(prediction: str, golds: list[str]) -> tuple[float, float]:
    """Exact match and F1 of an answer, each in 0..1 and the best over `golds`, as SQuAD's official script defines them.

    Texts are compared as lower-case words without punctuation and without a, an, the; F1 is over bags of words. No
    golds means that the question has no answer: the empty prediction is right. Where a side has no words left, F1 is
    exact match (the rule of SQuAD 2.0; the script of 1.1 gives 0 there, for equal texts too).
    """
    ours = _words(prediction)
    references = [_words(gold) for gold in golds] or [[]]
    return max(float(ours == words) for words in references), max(_f1(ours, words) for words in references)


def _words(text: str) -> list[str]:
    return ARTICLE.sub(" ", text.lower().translate(WITHOUT_PUNCTUATION)).split()


def _f1(ours: list[str], words: list[str]) -> float:
    if not ours or not words:
        return float(ours == words)
    common = (Counter(ours) & Counter(words)).total()
    return 2 * common / (len(ours) + len(words))
