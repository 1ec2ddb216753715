"""Documents to passages: windows of tokens that overlap, cut between words, each at a known place of its document."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from plait.errors import PlaitError

BLOCK = 100_000
"""Characters tokenized at once, so that a document of any size needs little memory."""


@dataclass(frozen=True)
class Passage:
    """Characters [start, start + len(text)) of a document."""

    text: str
    start: int


def split(text: str, tokenizer: Any, tokens: int, overlap: int) -> Iterator[Passage]:
    """Cut a text into passages of at most `tokens` tokens; neighbours share about `overlap` tokens.

    A passage begins and ends between words where there are blanks to cut at. Together the passages hold every
    character that is not blank.

    Raises:
        PlaitError: overlap is not smaller than half of tokens, or tokens is below 8.
    """
    if tokens < 8 or not 0 <= overlap <= tokens // 2:
        raise PlaitError(
            f"passages need tokens of 8 or more and an overlap of at most half of that, but tokens is {tokens} and "
            f"overlap {overlap}; pass for example tokens=384, overlap=64"
        )
    starts = _word_starts(text, tokenizer)
    begin = 0
    while begin < len(starts):
        room, end = tokens, begin
        while end < len(starts) and starts[end][1] <= room:
            room -= starts[end][1]
            end += 1
        end = max(end, begin + 1)
        first, last = starts[begin][0], starts[end][0] if end < len(starts) else len(text)
        yield Passage(text[first:last].rstrip(), first)
        if end == len(starts):
            return
        back, shared = end, 0
        while back > begin + 1 and shared + starts[back - 1][1] <= overlap:
            back -= 1
            shared += starts[back][1]
        begin = back


def _word_starts(text: str, tokenizer: Any) -> list[tuple[int, int]]:
    """First character and number of tokens of every word; words are cut at blanks, very long ones at tokens."""
    words: list[tuple[int, int]] = []
    for offset, block in _blocks(text):
        encoded = tokenizer(block, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        begins = _begins(block)
        word, count = -1, 0
        for a, b in encoded["offset_mapping"]:
            if b <= a:
                continue
            here = bisect_right(begins, a) - 1
            if here == word and count < 16:
                words[-1] = (words[-1][0], words[-1][1] + 1)
                count += 1
            else:
                words.append((offset + (a if here == word else begins[max(here, 0)]), 1))
                word, count = here, 1
    return words


def _begins(block: str) -> list[int]:
    """Characters at which a word begins: not blank, after a blank or first."""
    return [i for i, c in enumerate(block) if not c.isspace() and (i == 0 or block[i - 1].isspace())]


def _blocks(text: str) -> Iterator[tuple[int, str]]:
    begin = 0
    while begin < len(text):
        end = min(len(text), begin + BLOCK)
        if end < len(text):
            cut = max(text.rfind(" ", begin + BLOCK // 2, end), text.rfind("\n", begin + BLOCK // 2, end))
            end = cut + 1 if cut >= 0 else end
        yield begin, text[begin:end]
        begin = end
