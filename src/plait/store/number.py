"""How the numbers of one tensor are written as bytes: one row of bytes per token, and back.

Every format keeps the rows of one token together and gives all of them the same length, so the packed rows of many
passages, one after the other, are themselves one matrix of bytes that a single tensor operation can read.
"""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from plait import kernels
from plait.errors import PlaitError

_UNIT = {torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
"""Largest relative error of rounding to nearest in each type (half a step)."""
_LEAST = {torch.float32: 2.0**-150, torch.float16: 2.0**-25, torch.bfloat16: 2.0**-134}
"""Largest absolute error of rounding where a type is subnormal."""
READABLE = (torch.bfloat16, torch.float32)
"""The types that states can be read in."""
GROUP = 32
"""Neighbouring numbers of a token that share a scale in Int4."""


class Number(Protocol):
    """A format of numbers."""

    def row_bytes(self, width: int) -> int:
        """Bytes of one token of a tensor of this width."""

    def pack(self, states: Tensor) -> Tensor:
        """Float32 [n, width] to uint8 [n, row_bytes(width)]. PlaitError for numbers that the format cannot hold."""

    def unpack(self, rows: Tensor, out: Tensor) -> None:
        """Write the numbers of rows, uint8 [T, row_bytes(width)], into out [T, width] in the type of out."""

    def bound(self, states: Tensor, dtype: torch.dtype) -> Tensor:
        """Float32 [n, width]: no element read back in dtype is farther than this from what was packed."""


class Plain:
    """The numbers themselves, little-endian: float32, float16 or bfloat16."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def row_bytes(self, width: int) -> int:
        """2 or 4 bytes a number."""
        return width * self.dtype.itemsize

    def pack(self, states: Tensor) -> Tensor:
        """Round to the type; PlaitError where the type has no such large number."""
        rounded = states.to(self.dtype).contiguous()
        if not torch.isfinite(rounded).all():
            raise PlaitError(
                f"states must be at most {torch.finfo(self.dtype).max:.4g} in size to be stored as "
                f"{str(self.dtype).removeprefix('torch.')}, but reach {states.abs().max().item():.4g}; "
                "use the codec bfloat16 or float32"
            )
        return rounded.view(torch.uint8)

    def unpack(self, rows: Tensor, out: Tensor) -> None:
        """One copy."""
        out.copy_(rows.view(self.dtype))

    def bound(self, states: Tensor, dtype: torch.dtype) -> Tensor:
        """Half a step of the stored type at x; then half a step of dtype if that is coarser."""
        stored = torch.zeros_like(states) if self.dtype == torch.float32 else _rounding(states, self.dtype)
        return _read(states, stored, dtype, exact=dtype in (self.dtype, torch.float32))


class Int8:
    """Whole numbers from -127 to 127 times one scale per token; a token's scale, a bfloat16, follows its numbers.

    The scale is max|x| / 127 rounded up to a bfloat16, and the numbers are rounded with that very scale, so storing
    it in two bytes adds no error of its own.
    """

    def row_bytes(self, width: int) -> int:
        """One byte a number, two for the scale."""
        return width + 2

    def pack(self, states: Tensor) -> Tensor:
        """Round to nearest; a token of zeros has scale 0."""
        scale = self.scale(states)  # [n, 1] bfloat16
        return torch.cat([_whole(states, scale, 127).view(torch.uint8), scale.view(torch.uint8)], dim=1)

    def unpack(self, rows: Tensor, out: Tensor) -> None:
        """A multiplication, rounded once to the type of out, which holds the whole numbers exactly."""
        if kernels.unpack(rows, out):
            return
        width = out.shape[1]
        whole = rows[:, :width].view(torch.int8)
        # A copy always: contiguous() would leave a single row where it is, at a byte where no bfloat16 may start.
        scale = rows[:, width:].clone(memory_format=torch.contiguous_format).view(torch.bfloat16)  # [T, 1]
        out.copy_(whole).mul_(scale)  # in one step, out of two types, it is slower

    def bound(self, states: Tensor, dtype: torch.dtype) -> Tensor:
        """Half a scale of its token (and 2^-15 of that for the division's rounding); then half a step of dtype."""
        stored = (self.scale(states).float() * (0.5 * (1 + 2.0**-15))).expand_as(states)
        return _read(states, stored, dtype, exact=dtype == torch.float32)

    def scale(self, states: Tensor) -> Tensor:
        """Bfloat16 [n, 1]: the scale that each token of states [n, width] is stored with."""
        return _scale(states.float().abs().amax(dim=1, keepdim=True), 127)


class Int4:
    """Whole numbers from -7 to 7 times a scale for every 32 neighbours of a token; the last group may be shorter.

    A row is ceil(width / 2) bytes of two numbers each, in two's complement, then the scales, bfloat16. With h =
    ceil(width / 2), byte i holds number i in its low four bits and number h + i in its high four (0 where an odd width
    leaves none), so that the halves of a row are read as they stand, without interleaving. Scales are made as in Int8:
    max|x| of the group / 7 rounded up to a bfloat16, and the numbers are rounded with that very scale.
    """

    def row_bytes(self, width: int) -> int:
        """Half a byte a number, two bytes a scale."""
        return -(-width // 2) + 2 * -(-width // GROUP)

    def pack(self, states: Tensor) -> Tensor:
        """Round to nearest; a group of zeros has scale 0."""
        width = states.shape[1]
        scale = self.scale(states)  # [n, groups] bfloat16
        whole = _whole(states, _spread(scale, width), 7)
        half = -(-width // 2)
        low, high = whole[:, :half], pad(whole[:, half:], (0, width % 2))
        return torch.cat([((high << 4) | (low & 15)).view(torch.uint8), scale.view(torch.uint8)], dim=1)

    def unpack(self, rows: Tensor, out: Tensor) -> None:
        """A multiplication, rounded once to the type of out, which holds the whole numbers exactly."""
        if kernels.unpack4(rows, out):
            return
        width = out.shape[1]
        half = -(-width // 2)
        pairs = rows[:, :half].view(torch.int8)
        out[:, :half].copy_((pairs << 4) >> 4)  # the shift back repeats the sign
        out[:, half:].copy_(pairs[:, : width - half] >> 4)
        scale = rows[:, half:].clone(memory_format=torch.contiguous_format).view(torch.bfloat16)  # as in Int8
        whole = width // GROUP * GROUP
        out[:, :whole].unflatten(1, (-1, GROUP)).mul_(scale[:, : whole // GROUP, None])
        if whole < width:
            out[:, whole:].mul_(scale[:, -1:])

    def bound(self, states: Tensor, dtype: torch.dtype) -> Tensor:
        """Half a scale of its group (and 2^-15 of that for the division's rounding); then half a step of dtype."""
        stored = _spread(self.scale(states).float() * (0.5 * (1 + 2.0**-15)), states.shape[1])
        return _read(states, stored, dtype, exact=dtype == torch.float32)

    def scale(self, states: Tensor) -> Tensor:
        """Bfloat16 [n, ceil(width / 32)]: the scales that each token of states [n, width] is stored with."""
        groups = pad(states.float(), (0, -states.shape[1] % GROUP)).unflatten(1, (-1, GROUP))
        return _scale(groups.abs().amax(dim=2), 7)


NUMBERS: dict[str, Number] = {
    "float32": Plain(torch.float32),
    "float16": Plain(torch.float16),
    "bfloat16": Plain(torch.bfloat16),
    "int8": Int8(),
    "int4": Int4(),
}


def _scale(largest: Tensor, most: int) -> Tensor:
    """Bfloat16 [n, groups]: largest, float32 [n, groups], / most, rounded up. PlaitError if that times most is inf."""
    # Adding just under one bfloat16 step to the bits of a positive float32 and cutting rounds up.
    scale = (((largest / most).view(torch.int32) + 0xFFFF) >> 16).to(torch.int16).view(torch.bfloat16)
    if not torch.isfinite(scale * most).all():
        raise PlaitError(
            f"states must be at most 3.3e+38 in size to be stored as whole numbers times a bfloat16, but reach "
            f"{largest.max().item():.4g}; use the codec float32"
        )
    return scale


def _whole(states: Tensor, scale: Tensor, most: int) -> Tensor:
    """Int8 [n, width]: states / scale, to nearest, from -most to most."""
    divisor = torch.where(scale > 0, scale.float(), 1.0)
    return (states / divisor).round_().clamp_(-most, most).to(torch.int8)


def _spread(scale: Tensor, width: int) -> Tensor:
    """[n, width]: for each number the value of its group in scale [n, groups]."""
    return scale.repeat_interleave(GROUP, dim=1)[:, :width]


def _rounding(size: Tensor, dtype: torch.dtype) -> Tensor:
    return size.float().abs() * _UNIT[dtype] + _LEAST[dtype]


def _read(states: Tensor, stored: Tensor, dtype: torch.dtype, exact: bool) -> Tensor:
    return stored if exact else stored + _rounding(states.float().abs() + stored, dtype)
