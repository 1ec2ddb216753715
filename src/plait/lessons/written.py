"""What a decoder is to write, as tokens."""

from __future__ import annotations

from collections.abc import Sequence

from plait.errors import PlaitError
from plait.lessons.cut import say_cut
from plait.text import Text


def written(texts: Sequence[str], text: Text, longest: int) -> dict[str, list[int]]:
    """The tokens of each text, the one that ends it among them, `longest` at most.

    What is cut is said in a TruncationWarning.

    Raises:
        PlaitError: a text of which the tokenizer makes no token.
    """
    unique = list(dict.fromkeys(texts))
    role = text.roles[0]  # framed as a text by itself
    [nothing] = text.segments(role, [""])
    segments = text.segments(role, unique, room=longest - len(nothing.ids))
    for one, segment in zip(unique, segments, strict=True):
        if len(segment.ids) == len(nothing.ids):
            raise PlaitError(
                f"a text that is to be written must have a token, but the tokenizer finds none in {one!r}; write "
                "another, or leave the example out"
            )
    say_cut("texts that are to be written", longest, segments)
    return {one: segment.ids for one, segment in zip(unique, segments, strict=True)}
