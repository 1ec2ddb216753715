"""A passage's states as one run of bytes (a blob), and many blobs back as packed tensors.

Blob layout, format 1, little-endian, nothing between the parts:

    blob    = matrix of tensor 0, matrix of tensor 1, ...      in the order of the fingerprint's `tensors`
    matrix  = row of token 0, row of token 1, ..., token n-1    n = tokens of the passage
    row     = float32, float16, bfloat16:  width numbers
              int8:                        width int8 numbers, then one bfloat16 scale;  x = number * scale
              int4:                        h = ceil(width / 2) bytes, then ceil(width / 32) bfloat16 scales;
                                           byte i: number i in the low four bits, number h + i in the high four, each
                                           in two's complement from -7 to 7;  x[c] = number c * scale[c // 32]

Of a reduced tensor (`states.4~coreset:32@4`) a matrix has as many rows as its recipe leaves of the passage's tokens, so
that n is another number in each; `sizes` and `places` are always float32, since no other format holds them exactly.

A row's length follows from codec and width, so a blob's length follows from n too and needs no header. The store
keeps each matrix in a column of its own: matrices of one tensor read one after the other are the packed matrix
[T, row length] of the batch, decoded by one operation, and a reader that needs one tensor does not read the others.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plait.errors import PlaitError
from plait.keep import EXACT, rows
from plait.store.memory import Memory
from plait.store.number import NUMBERS, READABLE


class Codec:
    """Writes and reads the blobs of passages that all have the same tensors.

    name: float32, float16, bfloat16, int8 or int4. tensors: (name, width) of every stored tensor, in order.
    PlaitError for an unknown name, no tensors, a width below 1 or a tensor named twice.
    """

    def __init__(self, name: str, tensors: Sequence[tuple[str, int]]) -> None:
        if name not in NUMBERS:
            raise PlaitError(f"codec must be one of {', '.join(NUMBERS)}, but is {name!r}; int4 is the smallest")
        self.name = name
        self.tensors = tuple((key, int(width)) for key, width in tensors)
        self.widths = dict(self.tensors)
        if not self.tensors or len(self.widths) < len(self.tensors) or min(self.widths.values()) < 1:
            raise PlaitError(
                f"stored tensors must be one or more pairs (name, width ≥ 1) with different names, but are "
                f"{list(self.tensors)}; give for example [('states.4', 384)]"
            )
        self._numbers = {key: NUMBERS["float32" if key.startswith(EXACT) else name] for key in self.widths}
        self.row_bytes = {key: self._numbers[key].row_bytes(width) for key, width in self.tensors}
        """Bytes of one row of each tensor."""

    @property
    def token_bytes(self) -> int:
        """Bytes of one row of every tensor."""
        return sum(self.row_bytes.values())

    def size(self, name: str, length: int) -> int:
        """Bytes of one tensor's matrix of a passage of `length` tokens."""
        return rows(name, length) * self.row_bytes[name]

    def encode(self, states: Mapping[str, Tensor], length: int | None = None) -> bytes:
        """The blob of one passage of `length` ≥ 1 tokens (None: as many as the first tensor has rows). states: every
        tensor, floating [rows, width], on any device.

        PlaitError for missing or unknown names, other shapes, NaN or infinity, or numbers too large for the codec.
        """
        if set(states) != set(self.widths):
            raise PlaitError(
                f"states must be exactly the tensors {list(self.widths)}, but are {sorted(states)}; "
                "encode what the plan says is stored"
            )
        length = states[self.tensors[0][0]].shape[0] if length is None else length
        parts = []
        for name, width in self.tensors:
            x = states[name].detach()
            if x.shape != (rows(name, length), width) or length == 0:
                raise PlaitError(
                    f"{name} must have shape [{rows(name, length)}, {width}] for a passage of {length} tokens, one or "
                    f"more, but has {list(x.shape)}; pass the packed states of one passage"
                )
            x = x.to("cpu", torch.float32)
            if not torch.isfinite(x).all():
                raise PlaitError(f"{name} must be finite, but holds NaN or infinity; check the model that made it")
            parts.append(self._numbers[name].pack(x).numpy().tobytes())
        return b"".join(parts)

    def split(self, blob: bytes, length: int) -> dict[str, memoryview]:
        """The matrix of each tensor within a blob of `length` tokens, not copied. PlaitError if the size is wrong."""
        sizes = {name: self.size(name, length) for name in self.widths}
        if length < 1 or len(blob) != sum(sizes.values()):
            raise PlaitError(
                f"a blob of {length} tokens must have {sum(sizes.values())} bytes with the codec {self.name}, but has "
                f"{len(blob)}; encode it with this store's codec"
            )
        parts, start = {}, 0
        for name, size in sizes.items():
            parts[name] = memoryview(blob)[start : start + size]
            start += size
        return parts

    def decode(
        self,
        blobs: Sequence[bytes],
        lengths: Sequence[int],
        names: Sequence[str] | None = None,
        dtype: torch.dtype = torch.bfloat16,
    ) -> dict[str, Tensor]:
        """Packed states of several passages: for each of names (default: all) a [rows of all, width] in dtype.

        dtype is bfloat16 or float32. PlaitError for an unknown name, another dtype, or a blob of the wrong size.
        """
        matrices = [self.split(blob, length) for blob, length in zip(blobs, lengths, strict=True)]
        states = {}
        for name in self.select(names):
            pieces = (np.frombuffer(bytearray(matrix[name]), dtype=np.uint8) for matrix in matrices)
            states[name] = self.unpack(name, pieces, lengths, dtype, Memory())
        return states

    def unpack(
        self,
        name: str,
        pieces: Iterable[NDArray[np.uint8]],
        lengths: Sequence[int],
        dtype: torch.dtype,
        memory: Memory,
    ) -> Tensor:
        """[rows of all, width] from the matrices of one tensor of passages of these lengths, in pieces of uint8 [whole
        rows] joined in their order; in dtype, but `sizes` and `places` in float32.

        A piece is done with when the next is asked for, so that all may lie in the same memory, small enough to stay
        in the processor's cache. `memory` gives that of the result. PlaitError for a dtype that is neither bfloat16
        nor float32.
        """
        if dtype not in READABLE:
            raise PlaitError(f"states can be read as bfloat16 or float32, but {dtype} was asked; convert afterwards")
        dtype = torch.float32 if name.startswith(EXACT) else dtype
        width, start, count = self.widths[name], 0, sum(rows(name, length) for length in lengths)
        out = torch.from_numpy(memory.take(count * width * dtype.itemsize)).view(dtype).view(count, width)
        for piece in pieces:
            some = torch.from_numpy(piece).view(-1, self.row_bytes[name])
            self._numbers[name].unpack(some, out[start : start + len(some)])
            start += len(some)
        return out

    def bound(self, states: Tensor, dtype: torch.dtype) -> Tensor:
        """Float32 [n, width]: no element of states [n, width], stored and read as dtype, is off by more than this.

        u is 2^-24, 2^-11, 2^-8 for float32, float16, bfloat16 (half a step, relative). Stored: float32 0; float16 and
        bfloat16 u|x|; int8 half the token's scale, that is max|x| of the token / 254, up to 1/128 more as the scale is
        rounded up; int4 half the scale of its group of 32, that is max|x| of the group / 14, up to 1/128 more. Reading
        as bfloat16 adds u (|x| + that), unless bfloat16 is what was stored.
        """
        return NUMBERS[self.name].bound(states, dtype)

    def select(self, names: Sequence[str] | None) -> tuple[str, ...]:
        """names, or all tensors if None. PlaitError for a name that is not stored, or none."""
        chosen = tuple(self.widths) if names is None else tuple(names)
        unknown = [name for name in chosen if name not in self.widths]
        if unknown or not chosen:
            raise PlaitError(
                f"tensors to read must be among {list(self.widths)}, but are {unknown or 'none'}; "
                "they are what the store was built with"
            )
        return chosen
