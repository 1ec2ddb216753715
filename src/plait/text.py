"""Texts to tokens: ids, types, positions and the characters that each token stands for."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from plait.errors import PlaitError
from plait.layout import Layout

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Segment:
    """One text as its role reads it.

    Attributes:
        ids: token ids, special tokens included.
        offsets: for each token, first and one-past-last character of the text; (0, 0) for special tokens.
        type: token type of all its tokens, but of a classification token behind them, which has the next one.
        cut: tokens that did not fit and were left out.
        closed: whether its last token is the example's classification token (XLNet).
        first: the position of its first token.
        frame: how many special tokens stand before and behind the text's own.
    """

    ids: list[int]
    offsets: list[tuple[int, int]]
    type: int
    cut: int = 0
    closed: bool = False
    first: int = 0
    frame: tuple[int, int] = (0, 0)

    @property
    def own(self) -> int:
        """Tokens of the text itself."""
        return len(self.ids) - sum(self.frame)

    def types(self) -> list[int]:
        """Token types, one a token."""
        types = [self.type] * len(self.ids)
        return [*types[:-1], self.type + 1] if self.closed else types


@dataclass(frozen=True)
class Tokens:
    """A packed batch of segments: ids, types, positions int64 [T]."""

    ids: Tensor
    types: Tensor
    positions: Tensor
    layout: Layout

    @staticmethod
    def pack(
        segments: Sequence[Segment],
        *,
        first_positions: Sequence[int] | None = None,
        multiple: int = 1,
        device: torch.device | str = "cpu",
    ) -> Tokens:
        """Put segments side by side; segment i counts its positions from first_positions[i], or from its own first."""
        layout = Layout.few_shapes([len(s.ids) for s in segments], multiple, device)
        nobody = layout.tokens - layout.used
        ids = [i for s in segments for i in s.ids] + [0] * nobody
        types = [t for s in segments for t in s.types()] + [0] * nobody
        positions = layout.within
        firsts = [s.first for s in segments] if first_positions is None else list(first_positions)
        if any(firsts):
            offset = torch.tensor(firsts, device=device).repeat_interleave(layout.lengths_tensor)
            positions = positions + torch.cat([offset, offset.new_zeros(nobody)])
        return Tokens(torch.tensor(ids, device=device), torch.tensor(types, device=device), positions, layout)


class Text:
    """How a tokenizer's pair encoding falls apart into segments.

    The first role is framed as the tokenizer frames a single text (`[CLS] a [SEP]`); every other role gets what the
    pair encoding adds after that (`b [SEP]`, or `</s> b </s>`), so that the segments of a pair, one after the other,
    are exactly the tokenizer's own pair. What it puts behind all texts alone (XLNet's `<cls>`) ends the last role.
    Texts that never meet are each framed as a single text.

    Args:
        positions: the most tokens that the model can place; types: its number of token types.
        last: whether the model's classification token stands last.
        offset: where all roles but the first begin to count positions.
        single: whether no text ever meets another, as in a dual encoder.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        roles: Sequence[str],
        *,
        positions: int,
        types: int,
        last: bool = False,
        offset: int = 0,
        single: bool = False,
    ) -> None:
        if not tokenizer.is_fast:
            raise PlaitError(
                f"the tokenizer must be a fast one, which knows character offsets, but is {type(tokenizer).__name__}; "
                "convert it with transformers.convert_slow_tokenizer"
            )
        self.tokenizer: Any = tokenizer
        self.roles = tuple(roles)
        self.positions, self._offset, self.single = positions, offset, single
        alone, pair = self.tokenizer("a"), self.tokenizer("a", "b")
        ids, both = alone["input_ids"], pair["input_ids"]
        lead, trail = _frame(alone.sequence_ids(), 0)
        _, after = _frame(pair.sequence_ids(), 1)
        begin = pair.sequence_ids().index(1)
        end = len(ids) - trail
        while end < len(ids) and ids[: end + 1] == both[: end + 1]:
            end += 1
        closing = ids[end:]
        if last != bool(closing):
            raise PlaitError(
                f"a model of this family reads its answer from the {'last' if last else 'first'} token of an example, "
                f"but its tokenizer puts {len(closing)} tokens behind all texts; take one with the family's template"
            )
        type_ids = pair.get("token_type_ids") or [0] * len(both)
        first = ids[:lead], ids[len(ids) - trail : end]
        middle = both[end:begin], both[len(both) - after : len(both) - len(closing)]
        others = len(self.roles) - 1
        self._frames = [first, *[first if single else middle] * others]
        self._types = [type_ids[0], *[type_ids[0] if single else min(type_ids[begin], types - 1)] * others]
        self._closed = {role for role in self.roles if last and (single or role == self.roles[-1])}
        self._closing = closing

    def begins(self, role: str) -> int:
        """The position of a segment's first token."""
        return 0 if role == self.roles[0] else self._offset

    def room(self, role: str) -> int:
        """Tokens of a text of `role` that the model can place, its special tokens excluded."""
        before, after = self._frame_of(role)
        return self.positions - self.begins(role) - len(before) - len(after)

    @property
    def together(self) -> int:
        """Tokens of an example whose positions run on: as many as the tokenizer says, if the model can place them."""
        return min(self.positions, int(self.tokenizer.model_max_length))

    def reading(self, role: str) -> Hashable:
        """All that a text's tokens depend on beside itself; the same for roles that read it alike."""
        before, after = self._frame_of(role)
        return tuple(before), tuple(after), self._types[self.roles.index(role)], self.begins(role)

    def _frame_of(self, role: str) -> tuple[list[int], list[int]]:
        """Special tokens before and behind a text of `role`."""
        before, after = self._frames[self.roles.index(role)]
        return before, [*after, *(self._closing if role in self._closed else ())]

    def segments(self, role: str, texts: Sequence[str], room: int | None = None) -> list[Segment]:
        """Tokenize texts of one role; a text longer than `room` tokens (default: all the model reads) is cut at its
        end.
        """
        if not texts:
            return []
        room = self.room(role) if room is None else room
        encoded = self.tokenizer(
            list(texts), add_special_tokens=False, return_offsets_mapping=True, return_token_type_ids=False,
            return_attention_mask=False, verbose=False,
        )  # fmt: skip
        return [
            self._framed(role, ids[:room], offsets[:room], max(0, len(ids) - room))
            for ids, offsets in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        ]

    def reframed(self, role: str, segment: Segment, before: Text) -> Segment:
        """A segment that `before`, with the same roles and tokenizer, framed, as this frames it."""
        lead, trail = before._frame_of(role)
        inside = slice(len(lead), len(segment.ids) - len(trail))
        return self._framed(role, segment.ids[inside], segment.offsets[inside], segment.cut)

    def _framed(self, role: str, ids: list[int], offsets: list[tuple[int, int]], cut: int) -> Segment:
        before, after = self._frame_of(role)
        nothing = [(0, 0)]
        return Segment(
            ids=[*before, *ids, *after],
            offsets=[*nothing * len(before), *offsets, *nothing * len(after)],
            type=self._types[self.roles.index(role)],
            cut=cut,
            closed=role in self._closed,
            first=self.begins(role),
            frame=(len(before), len(after)),
        )


def batches(segments: Sequence[Segment], tokens: int) -> Iterator[list[int]]:
    """Numbers of segments of like length, longest first, in batches of at most `tokens` tokens (or one segment)."""
    batch: list[int] = []
    for i in sorted(range(len(segments)), key=lambda i: -len(segments[i].ids)):
        if batch and len(segments[batch[0]].ids) * (len(batch) + 1) > tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def fit(columns: Sequence[Sequence[Segment]], positions: int) -> list[list[Segment]]:
    """Cut the longest texts at their ends until every example has at most `positions` tokens, as `longest_first` of
    `tokenizers` does: all that are cut keep as many, or one more, the longest first and of equal ones the last.

    Args:
        columns: for each role, one segment an example.
    """
    fitted = [list(column) for column in columns]
    for number in range(len(columns[0])):
        whole = [column[number] for column in columns]
        if sum(len(segment.ids) for segment in whole) > positions:
            room = positions - sum(sum(segment.frame) for segment in whole)
            order = sorted(range(len(whole)), key=lambda i: (min(whole[i].own, room), whole[i].own + whole[i].cut, i))
            for place, i in enumerate(order):
                share = min(whole[i].own, room // (len(order) - place))
                fitted[i][number] = _cut(whole[i], share)
                room -= share
    return fitted


def _cut(segment: Segment, own: int) -> Segment:
    """The first `own` of a text's tokens, in its frame."""
    before, behind = segment.frame
    kept, last = before + own, len(segment.ids) - behind
    return replace(
        segment,
        ids=segment.ids[:kept] + segment.ids[last:],
        offsets=segment.offsets[:kept] + segment.offsets[last:],
        cut=segment.cut + segment.own - own,
    )


def _frame(sequence_ids: list[int | None], sequence: int) -> tuple[int, int]:
    """How many special tokens stand before and after the tokens of one sequence."""
    inside = [i for i, s in enumerate(sequence_ids) if s == sequence]
    return inside[0], len(sequence_ids) - 1 - inside[-1]


def require_list(what: str, values: Any) -> list[Any]:
    """The list that is meant. One text is refused, whose letters would be taken for several, and a dict, whose keys."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise PlaitError(f"{what} must be a list of texts, but are {values!r:.40}; pass [...]")
    return list(values)


def require_texts(role: str, texts: Iterable[object], numbers: Iterable[int] | None = None) -> None:
    """Refuse what no tokenizer can read: no text, a blank one, half of a surrogate pair. `numbers`: what they are
    called, if not by their places.
    """
    for number, text in enumerate(texts) if numbers is None else zip(numbers, texts, strict=True):
        if not isinstance(text, str) or not text.strip():
            raise PlaitError(
                f"a {role} must be a text with a character that is not blank, but number {number} is {text!r}; leave "
                "it out"
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise PlaitError(
                f"a {role} must be Unicode text, but character {error.start} of number {number} is half of a surrogate "
                "pair; check how it was decoded"
            ) from None
