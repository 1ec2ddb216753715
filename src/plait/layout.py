"""Where tokens are: the integers of a packed batch.

Dimension key of the whole project, used in trailing comments wherever a shape changes:

    T tokens of a packed batch      G groups (tokens of one group read one another)
    B examples                      M longest group, the padded length
    H hidden size                   A attention heads        D size of a head
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor


def rounded(tokens: int) -> int:
    """`tokens` rounded up to a multiple of 8, or to one of eight numbers an octave: few different ones.

    On a CPU every new shape of a product costs a compilation, which can take longer than the product.
    """
    step = max(8, 1 << max(0, tokens.bit_length() - 4))
    return -(-tokens // step) * step


class Layout:
    """Groups of tokens side by side without padding: group g holds tokens starts[g] ... starts[g] + lengths[g] - 1.

    Args:
        lengths: tokens of each group; 0 for a segment that an example lacks.
        multiple: the packed length is rounded up to a multiple of this, and the padded length to one of this or of 32.
            Tokens past the last group belong to nobody; they are there to have few shapes, see `rounded`.
        tokens: the packed length, if another one, at least that of all groups.
        tight: whether layouts made of this one are packed without tokens of nobody too.
        device: where index tensors live.

    Attributes:
        used: tokens of all groups; longest: the padded length; even: whether no group needs padding.
        uniform: whether packed and padded form are the same.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        *,
        multiple: int = 1,
        tokens: int | None = None,
        tight: bool = True,
        device: torch.device | str = "cpu",
    ) -> None:
        self.lengths = list(lengths)
        self.tight = tight
        self.multiple = multiple
        self.device = torch.device(device)
        self.used = sum(self.lengths)
        self.tokens = -(-self.used // multiple) * multiple if tokens is None else tokens
        longest = max(self.lengths, default=0)
        self.longest = -(-longest // min(multiple, 32)) * min(multiple, 32)
        self.even = self.used == self.longest * len(self.lengths)
        self.uniform = self.even and self.tokens == self.used

    @classmethod
    def few_shapes(cls, lengths: Sequence[int], multiple: int = 1, device: torch.device | str = "cpu") -> Layout:
        """A layout whose packed length is a multiple of `multiple`, or is `rounded` where that is 1."""
        tokens = rounded(sum(lengths)) if multiple == 1 else None
        return cls(lengths, multiple=multiple, tokens=tokens, tight=False, device=device)

    @cached_property
    def lengths_tensor(self) -> Tensor:
        """int64 [G]."""
        return torch.tensor(self.lengths, device=self.device)

    @cached_property
    def starts(self) -> Tensor:
        """First token of each group, int64 [G]."""
        return torch.cumsum(self.lengths_tensor, 0) - self.lengths_tensor

    @cached_property
    def ends(self) -> Tensor:
        """Last token of each group, int64 [G]; no group may be empty."""
        return self.starts + self.lengths_tensor - 1

    @cached_property
    def mask(self) -> Tensor:
        """True where the padded form holds a token, bool [G, M]."""
        return torch.arange(self.longest, device=self.device) < self.lengths_tensor[:, None]

    @cached_property
    def places(self) -> Tensor:
        """Token at each place of the padded form, int64 [G, M]; past its end a group's last one, if it has one."""
        place = torch.arange(self.longest, device=self.device).minimum(self.lengths_tensor[:, None] - 1)
        return (self.starts[:, None] + place).clamp(0, max(self.tokens - 1, 0))

    @cached_property
    def _packed(self) -> Tensor:
        """Place in the padded form of each token (0 for tokens of nobody), int64 [T]."""
        places = self.mask.flatten().nonzero().flatten()
        return torch.cat([places, places.new_zeros(self.tokens - self.used)])

    @cached_property
    def _real(self) -> Tensor:
        """False for tokens of nobody, bool [T]."""
        return torch.arange(self.tokens, device=self.device) < self.used

    @cached_property
    def within(self) -> Tensor:
        """Number of each token within its group, counted from 0 (0 for tokens of nobody), int64 [T]."""
        return self._packed % max(self.longest, 1)

    def pad(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """[T, ...] -> [G, M, ...]; what stands in padding is arbitrary but finite, and must not reach a loss.

        With `rows` (int64 [T], no gradients) token t is row rows[t] of x.
        """
        if rows is not None:
            x = x.index_select(0, rows if self.uniform else rows[self.places.flatten()])
        elif len(self.lengths) == 1:
            x = x[: self.longest]
        elif not self.uniform:
            x = _Move.apply(x, self.places.flatten(), self._packed, self._real)
        return x.reshape(len(self.lengths), self.longest, *x.shape[1:])  # [G, M, ...]

    def pack(self, x: Tensor) -> Tensor:
        """[G, M, ...] -> [T, ...], the inverse of `pad`."""
        x = x.flatten(0, 1)
        if self.uniform:
            return x
        if len(self.lengths) == 1:
            return torch.cat([x, x.new_zeros(self.tokens - len(x), *x.shape[1:])])
        return _Move.apply(x, self._packed, self.places.flatten(), self.mask.flatten())  # type: ignore[no-any-return]

    def select(self, groups: Tensor) -> tuple[Layout, Tensor]:
        """The layout of `groups` (int64 [B], repetitions allowed) and the token that each of its tokens copies,
        int64 [T].
        """
        chosen = Layout.few_shapes(self.lengths_tensor[groups].tolist(), self.multiple, self.device)
        return chosen, chosen.at(self.starts[groups])

    def at(self, begin: Tensor) -> Tensor:
        """Numbers of this layout's tokens elsewhere, where group g begins at begin[g] (int64 [G]), int64 [T]."""
        return self.spread(begin) + self.within

    def spread(self, x: Tensor) -> Tensor:
        """What each group has, [G], for each of its tokens, [T]; 0 for tokens of nobody."""
        spread = x.repeat_interleave(self.lengths_tensor)
        return torch.cat([spread, spread.new_zeros(self.tokens - self.used)])

    def mean(self, x: Tensor) -> Tensor:
        """The mean of each group's rows: [T, H] -> float32 [G, H]."""
        group = torch.arange(len(self.lengths), device=self.device).repeat_interleave(self.lengths_tensor)
        total = x.new_zeros(len(self.lengths), x.shape[1], dtype=torch.float32)
        return total.index_add(0, group, x[: self.used].float()) / self.lengths_tensor[:, None]

    def part(self, groups: slice) -> tuple[slice, Layout]:
        """Neighbouring groups: their tokens, and their own layout."""
        begin = sum(self.lengths[: groups.start])
        lengths = self.lengths[groups]
        return slice(begin, begin + sum(lengths)), Layout(lengths, device=self.device)

    @staticmethod
    def concat(layouts: Sequence[Layout]) -> tuple[Layout, Tensor]:
        """Group g of the result is group g of every layout, one after the other.

        Returns:
            The layout, and for each of its tokens the token's number in `torch.cat` of the packed parts, int64 [T].
        """
        first = layouts[0]
        lengths = [sum(group) for group in zip(*(part.lengths for part in layouts), strict=True)]
        whole = Layout.few_shapes(lengths, first.multiple, first.device)
        source = torch.zeros(whole.tokens, dtype=torch.int64, device=first.device)
        place, base = whole.starts, 0
        for part in layouts:
            target = place.repeat_interleave(part.lengths_tensor) + part.within[: part.used]
            source[target] = torch.arange(base, base + part.used, device=first.device)
            place = place + part.lengths_tensor
            base += part.tokens
        return whole, source

    def thinned(self, lengths: Sequence[int]) -> Layout:
        """The layout when of each group `lengths` tokens are left; packed as tightly as this one."""
        if self.tight:
            return Layout(lengths, device=self.device)
        return Layout.few_shapes(lengths, self.multiple, self.device)

    def last(self) -> Tensor:
        """True for the last token of each group, bool [T]."""
        ends = torch.zeros(self.tokens, dtype=torch.bool, device=self.device)
        ends[(self.starts + self.lengths_tensor - 1)[self.lengths_tensor > 0]] = True
        return ends

    def times(self, count: int) -> Layout:
        """The layout when each token is `count` neighbouring tokens."""
        lengths = [n * count for n in self.lengths]
        return Layout(lengths, multiple=self.multiple * count, tokens=self.tokens * count, device=self.device)

    def only_one(self) -> Layout:
        """The layout of one token a group: what is left when only its first or last token is computed."""
        return Layout([1] * len(self.lengths), device=self.device)


class _Move(torch.autograd.Function):
    """Rows `there` of x. The gradient comes back by `back`, to the rows of x that are `real`; the others, padding and
    tokens of nobody, have none. A gather both ways: PyTorch's own backward is a slow scatter.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, there: Tensor, back: Tensor, real: Tensor) -> Tensor:
        ctx.save_for_backward(back, real)
        return x.index_select(0, there)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        back, real = ctx.saved_tensors
        gradient = gradient.index_select(0, back)
        return gradient.mul_(real.to(gradient.dtype).view(-1, *[1] * (gradient.dim() - 1))), None, None, None
