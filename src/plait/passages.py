"""Documents to passages: windows of tokens that overlap, cut between words, each at a known place of its document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from plait.errors import PlaitError

USUAL = 384
"""Tokens of a passage, less where a model reads less."""
SHORTEST = 8
"""Tokens that a passage must have room for."""
LONGEST = 2_000_000
"""Characters of the longest text: a long novel. Its states are written as one piece and must fit into memory."""


@dataclass(frozen=True)
class Passage:
    """Characters [start, start + len(text)) of a document."""

    text: str
    start: int


def require_readable(tokens: int, room: int) -> None:
    """Refuse passages of more tokens than a model reads, the USUAL ones apart."""
    if tokens > max(room, USUAL):
        raise PlaitError(
            f"passages must be read whole, and this model reads {room} tokens of one, but passage_tokens is {tokens}; "
            f"pass at most {room}"
        )


def split(text: str, tokenizer: Any, tokens: int, overlap: int) -> Iterator[Passage]:
    """Cut a text into passages of at most `tokens` tokens; neighbours share about `overlap` tokens.

    A passage begins and ends between words where there are blanks to cut at, else between tokens. Together the
    passages hold every character that is not blank. A text of which the tokenizer reads nothing has none.

    Raises:
        PlaitError: overlap is larger than half of tokens, tokens is below SHORTEST, one of them is not whole, or the
            text is longer than LONGEST.
    """
    for name, number in (("tokens", tokens), ("overlap", overlap)):
        if isinstance(number, bool) or not isinstance(number, Integral):
            raise PlaitError(
                f"passages need whole numbers of tokens and overlap, but {name} is {number!r}; pass for example "
                "tokens=384, overlap=64"
            )
    if tokens < SHORTEST or not 0 <= overlap <= tokens // 2:
        raise PlaitError(
            f"passages need tokens of {SHORTEST} or more and an overlap of at most half of that, but tokens is "
            f"{tokens} and overlap {overlap}; pass for example tokens=384, overlap=64"
        )
    if len(text) > LONGEST:
        raise PlaitError(
            f"a text must have at most {LONGEST:,} characters, but it has {len(text):,}; cut it into chapters"
        )
    return _split(text, tokenizer, tokens, overlap)


def _split(text: str, tokenizer: Any, tokens: int, overlap: int) -> Iterator[Passage]:
    begin = done = _next(text, 0)
    while begin < len(text):
        window, places = _window(text, begin, tokenizer, tokens)
        if len(places) <= tokens:
            if places:
                yield Passage(window.rstrip(), begin)
            return
        end = _end(window, places, tokens, done - begin)
        while end > 1 and len(_places(window[:end], tokenizer)) > tokens:
            end -= 1  # a word that was cut can have more tokens than it had as a whole
        part = window[:end].rstrip()
        if begin + len(part) <= done:  # no room for anything new: leave the overlap out
            begin = _next(text, done)
            continue
        yield Passage(part, begin)
        done = begin + len(part)
        if _next(text, done) == len(text):
            return
        starts = [a for a, _ in places[:tokens] if a < end]
        begin = _next(text, begin + _overlap(window, starts, end, overlap))


def _window(text: str, begin: int, tokenizer: Any, tokens: int) -> tuple[str, list[tuple[int, int]]]:
    """Text from `begin` on that has more than `tokens` tokens, or all of it, and the places of its tokens."""
    size = 8 * tokens
    while True:
        stop = min(begin + size, len(text))
        whole = next((i for i in range(stop, min(stop + 200, len(text))) if text[i].isspace()), stop)
        window = text[begin:whole]
        places = _places(window, tokenizer)
        if len(places) > tokens or whole == len(text):
            return window, places
        size *= 2


def _places(text: str, tokenizer: Any) -> list[tuple[int, int]]:
    """First and one-past-last character of every token."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    places: list[tuple[int, int]] = encoded["offset_mapping"]
    return places


def _end(window: str, places: list[tuple[int, int]], tokens: int, seen: int) -> int:
    """Where the first `tokens` tokens end: after the last whole word, unless that leaves half of them out."""
    limit = max(places[tokens][0], 1)
    end = limit
    while end > 0 and not window[end - 1].isspace():
        end -= 1
    return end if end > max(places[tokens // 2][0], seen) else limit


def _overlap(window: str, starts: list[int], end: int, overlap: int) -> int:
    """Where the next passage begins: at a word among the last `overlap` tokens, or at a token if none begins there."""
    last = starts[len(starts) - overlap :] if overlap else []
    words = [a for a in last if a > 0 and window[a - 1].isspace()]
    return (words or [a for a in last if a > 0] or [end])[0]


def _next(text: str, begin: int) -> int:
    """The first character from `begin` on that is not blank."""
    while begin < len(text) and text[begin].isspace():
        begin += 1
    return begin


def sentence(text: str, start: int, end: int, longest: int = 400) -> tuple[int, int]:
    """Characters of the sentence (at most about `longest`) around characters [start, end)."""
    first = max(start - longest // 2, 0)
    for mark in (". ", "? ", "! ", "\n"):
        place = text.rfind(mark, first, start)
        first = place + len(mark) if place >= 0 else first
    last = min(end + longest // 2, len(text))
    for mark in (". ", "? ", "! ", "\n"):
        place = text.find(mark, end, last)
        last = place + 1 if place >= 0 else last
    while first < start and text[first].isspace():
        first += 1
    while last > end and text[last - 1].isspace():
        last -= 1
    return first, last
