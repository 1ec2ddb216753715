"""Law 7: offsets slice back to the original characters of the text, whatever stands in it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from plait import passages
from plait.data import Document
from plait.errors import PlaitError
from plait.index import Index
from plait.known import Known
from plait.model import Plait
from plait.passages import Passage
from plait.text import Text
from tests.small import small_checkpoint
from tests.tokenizers import WORDS, small_tokenizer

KINDS = ("bert", "roberta", "albert")
TOKENIZERS = {kind: small_tokenizer(kind) for kind in KINDS}
ODD = [
    "é", "e\u0301", "Straße", "한국", "河水", "石", "😀", "👍🏽", "👩‍👩‍👧", "\u200b", "\u0300", "\u00ad", "ﬁ", "İ",
    "\U0001d518", "\ufffd", "x" * 130, "unbelievably" * 8, "a-b.c,d" * 7, "e\u0301" * 40, "河" * 50, "😀" * 30,
    "1843", "...", "'s", '"', "\\", "[SEP]", "</s>", "<s>",
]  # fmt: skip
BLANKS = [" ", "  ", "\n", "\t", "\r\n", "\u00a0", "\u2003", "\u3000", "\u2028", "\x1f", "\x85", " " * 70]
word = st.one_of(
    st.sampled_from(WORDS), st.sampled_from(ODD), st.text(max_size=12), st.text("abcé河😀\u0301 -", max_size=40)
)
unicode_texts = st.lists(st.one_of(word, st.sampled_from(BLANKS)), max_size=60).map("".join)
texts = st.one_of(unicode_texts, st.lists(word, max_size=80).map(" ".join))


def count(tokenizer: Any, text: str) -> int:
    return len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def assert_offsets_stand(text: str, offsets: list[tuple[int, int]]) -> None:
    """In order and within the text."""
    begin = 0
    for a, b in offsets:
        if (a, b) != (0, 0):
            assert 0 <= a <= b <= len(text) and a >= begin
            begin = a


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None)
@given(text=texts, room=st.integers(1, 30))
def test_offsets_of_a_segment(kind: str, text: str, room: int) -> None:
    tokenizer = TOKENIZERS[kind]
    roles = Text(tokenizer, ("query", "passage"), positions=64, types=2)
    for role in roles.roles:
        [segment] = roles.segments(role, [text], room=room)
        assert len(segment.ids) == len(segment.offsets)
        words = [(i, a, b) for i, (a, b) in zip(segment.ids, segment.offsets, strict=True) if b > a]
        assert len(words) <= room
        assert_offsets_stand(text, segment.offsets)
        if segment.cut == 0:
            covered = {place for _, a, b in words for place in range(a, b)}
            lost = "".join(c for place, c in enumerate(text) if place not in covered and not c.isspace())
            assert count(tokenizer, lost) == 0  # nothing was lost but what the tokenizer drops everywhere
        else:
            assert segment.cut == count(tokenizer, text) - room


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=200, deadline=None)
@given(text=texts, tokens=st.integers(8, 40), share=st.floats(0, 0.5))
@example(text="", tokens=8, share=0.0)
@example(text=" \n ", tokens=8, share=0.5)
@example(text="unbelievably" * 60, tokens=8, share=0.5)
@example(text="x" * 500 + " a", tokens=9, share=0.5)
@example(text="\u200b\u200b", tokens=8, share=0.25)
@example(text="\u200b the river", tokens=8, share=0.25)
@example(text="river stone " * 40, tokens=8, share=0.25)
@example(text="河" * 200, tokens=11, share=0.3)
@example(text="😀" * 100, tokens=8, share=0.5)
def test_passages(kind: str, text: str, tokens: int, share: float) -> None:
    tokenizer, overlap = TOKENIZERS[kind], int(tokens * share)
    found = list(passages.split(text, tokenizer, tokens, overlap))
    assert_passages(tokenizer, text, found, tokens)


def assert_passages(tokenizer: Any, text: str, found: list[Passage], tokens: int) -> None:
    covered = 0
    if not found:
        assert count(tokenizer, text) == 0 or not text.strip()
        return
    for part in found:
        end = part.start + len(part.text)
        assert text[part.start : end] == part.text and part.text == part.text.strip() != ""
        assert count(tokenizer, part.text) <= tokens
        # Every character that is not blank is in a passage, and every passage brings something new.
        assert part.start <= covered or not text[covered : part.start].strip()
        assert end > covered
        covered = end
    assert not text[covered:].strip()
    for one, two in itertools.pairwise(found):
        assert two.start > one.start


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(
    words=st.lists(st.sampled_from([w for w in WORDS if w.isalpha()]), min_size=30, max_size=90),
    tokens=st.integers(8, 24),
)
def test_passages_of_words_are_full_and_overlap(kind: str, words: list[str], tokens: int) -> None:
    """Where every word is one token: passages begin and end between words, are full, and share all that was asked."""
    tokenizer, text = TOKENIZERS[kind], " ".join(words)
    tokens = tokens if kind == "bert" else 3 * tokens  # RoBERTa's: a word is one token after a blank, else up to eight
    overlap = tokens // 4
    found = list(passages.split(text, tokenizer, tokens, overlap))
    for part in found:
        end = part.start + len(part.text)
        assert (part.start == 0 or text[part.start - 1] == " ") and (end == len(text) or text[end] == " ")
    if kind == "bert":
        assert all(count(tokenizer, part.text) == tokens for part in found[:-1])
    for one, two in itertools.pairwise(found):
        shared = text[two.start : one.start + len(one.text)].split()
        assert len(shared) == overlap if kind == "bert" else overlap - 8 <= len(shared) <= overlap


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_text(kind: str) -> None:
    """A million characters with long stretches of blanks, of one word, and of what makes no token."""
    tokenizer = TOKENIZERS[kind]
    text = " ".join(WORDS[i * i % 40].strip("#") for i in range(30_000))
    text += " " * 100_000 + "river" * 2_000 + "\u200b" * (5_000 if kind == "bert" else 5) + " " + text
    assert_passages(tokenizer, text, list(passages.split(text, tokenizer, 384, 64)), 384)


def test_a_text_that_is_too_long() -> None:
    with pytest.raises(PlaitError, match="at most 2,000,000 characters, but it has 2,000,001"):
        passages.split("x" * 2_000_001, TOKENIZERS["bert"], 384, 64)


@pytest.mark.parametrize(("tokens", "overlap"), [(7, 0), (0, 0), (16, 9), (16, -1)])
def test_passages_that_cannot_be(tokens: int, overlap: int) -> None:
    with pytest.raises(PlaitError, match="tokens is"):
        passages.split("some text", TOKENIZERS["bert"], tokens, overlap)  # at once, not when the first is asked for


# Doors


@settings(max_examples=25, deadline=None)
@given(text=texts, question=st.sampled_from(["who?", "what is the river", "河水 😀?"]))
@example(text="\u200b", question="who?")
@example(text="\u200b" * 50 + " river", question="who?")
def test_answers_of_a_known_text(model: Plait, text: str, question: str) -> None:
    assume(text.strip())
    try:
        known = model.read(text, passage_tokens=24, overlap=6)
    except PlaitError as told:
        assert "token" in str(told) and count(model.tokenizer, text) == 0
        return
    assert isinstance(known, Known) and known.tokens > 0
    found = known.ask(question, read=50)
    assert text[found.start : found.end] == found.answer and found.answer.strip() == found.answer != ""
    assert text[found.sentence_start : found.sentence_start + len(found.sentence)] == found.sentence
    assert found.sentence_start <= found.start and found.end <= found.sentence_start + len(found.sentence)


@settings(max_examples=100, deadline=None)
@given(text=texts, data=st.data())
def test_sentences_hold_what_they_are_about(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    first, last = passages.sentence(text, start, end, longest=20)
    assert 0 <= first <= start <= end <= last <= len(text)
    assert start - first <= 20 and last - end <= 20


def test_the_sentence_around_an_answer() -> None:
    text = "It rained. Dr Ash built the bridge in 1843! Who knew?\nNobody. "
    for answer, sentence in {
        "1843": "Dr Ash built the bridge in 1843!",
        "It": "It rained.",
        "Nobody": "Nobody.",
        "Who": "Who knew?",
    }.items():
        start = text.index(answer)
        first, last = passages.sentence(text, start, start + len(answer))
        assert text[first:last] == sentence


@pytest.fixture(scope="module")
def models(model: Plait, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Plait]:
    folder = tmp_path_factory.mktemp("kinds")
    plans = {"score": "join=1,mode=oneway", "span": "join=1,reader=passage"}
    paths = {kind: small_checkpoint(folder / kind, kind, plans=plans) for kind in KINDS if kind != "bert"}
    return {"bert": model} | {kind: Plait.from_pretrained(path) for kind, path in paths.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_an_index(models: dict[str, Plait], tmp_path: Path, kind: str) -> None:
    """Every stored token stands where its offsets say, in its passage and in its document."""
    parts = [*ODD, *BLANKS, *WORDS]
    documents = [
        Document(f"d{n}", " ".join(parts[(n * 7 + i * (n + 3)) % len(parts)] for i in range(5 + 12 * n)))
        for n in range(12)
    ]
    index = Index.create(tmp_path / "s.plait", models[kind], name="", passage_tokens=30, overlap=7)
    index.add(documents)
    by_id = {document.id: document.text for document in documents}
    rows = index.store.passages(index.store.ids())
    assert len(rows) > 40 and {row.document for row in rows} == set(by_id)
    for row in rows:
        text = by_id[row.document]
        assert text[row.start : row.start + len(row.text)] == row.text
        segment = models[kind].text.segments("passage", [row.text])[0]
        assert segment.cut == 0 and [tuple(o) for o in row.offsets.tolist()] == segment.offsets
        for a, b in row.offsets.tolist():
            assert text[row.start + a : row.start + b] == row.text[a:b]
    for answer in index.ask("who built the river 河?", top_k=50, read=50, first_stage="all").answers:
        start = answer.hit.start
        assert by_id[answer.hit.document][start + answer.start : start + answer.end] == answer.answer
