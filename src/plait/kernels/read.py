"""Attention of a few queries over states that are read as they are, by a processor's bfloat16 units."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from plait.errors import PlaitError
from plait.kernels.build import library
from plait.layout import Layout

UNIT = 32
"""Widths must be multiples of this."""

Part = tuple[Layout, Tensor, Tensor | None, Tensor | None]
"""Tokens that are read: their layout, states [rows, H], each token's row, int64 [T], or None for row t, and how many
tokens each row stands for, float32 [rows], or None for one.
"""


class _Source(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("states", "rows", "sizes", "starts", "lengths")]


def can_read(query: Tensor, parts: Sequence[Part], value: Tensor) -> bool:
    """Whether `read` takes queries [T, A, H], parts and a value matrix [A, D, H] like these, here."""
    numbers = (query, value, *(states for _, states, _, _ in parts))
    plain = all(x.device.type == "cpu" and x.dtype == torch.bfloat16 for x in numbers)
    whole = value.shape[1] % UNIT == 0 and value.shape[2] % UNIT == 0
    return plain and whole and library() is not None


def read(query: Tensor, layout: Layout, parts: Sequence[Part], value: Tensor, bias: Tensor, scale: float) -> Tensor:
    """Softmax-weighted means of states, through the value matrix: what `attention.attend` says, without gradients.

    Args:
        query: bfloat16 [T, A, H], each head's query carried through its key matrix, packed by `layout`. A layout of one
            group stands for as many equal groups as the parts have.
        parts: one or more; bfloat16.
        value, bias: bfloat16 [A, D, H] and [A, D].
        scale: multiplies the scores.

    Returns:
        bfloat16 [T, A, D], packed by `layout`, or by as many copies of its one group as the parts have groups.
    """
    kernel = library()
    assert kernel is not None  # can_read says so
    groups = len(parts[0][0].lengths)
    shared = len(layout.lengths) < groups
    starts, lengths = layout.starts, layout.lengths_tensor
    if shared:
        starts, lengths = starts.expand(groups).contiguous(), lengths.expand(groups).contiguous()
    begin = torch.arange(groups) * layout.used if shared else starts
    (_, heads, width), size = query.shape, value.shape[1]
    context = query.new_empty(groups * layout.used if shared else layout.tokens, heads, size)
    context[groups * layout.used if shared else layout.used :] = 0  # the tokens of nobody
    query, value, bias = query.contiguous(), value.contiguous(), bias.contiguous()
    sources, held = (_Source * len(parts))(), []
    for number, (of, states, rows, sizes) in enumerate(parts):
        sizes = None if sizes is None else sizes.float().contiguous()
        tensors = (states.contiguous(), rows, sizes, of.starts, of.lengths_tensor)
        held.append(tensors)  # until the kernel has read them
        sources[number] = _Source(*(None if x is None else x.data_ptr() for x in tensors))
    pointers = [ctypes.c_void_p(x.data_ptr()) for x in (query, starts, lengths, begin)]
    failed = kernel.plait_read(
        *pointers, ctypes.c_int64(groups), sources, ctypes.c_int64(len(parts)), ctypes.c_void_p(value.data_ptr()),
        ctypes.c_void_p(bias.data_ptr()), ctypes.c_int64(heads), ctypes.c_int64(size), ctypes.c_int64(width),
        ctypes.c_float(scale), ctypes.c_void_p(context.data_ptr()), ctypes.c_int(torch.get_num_threads()),
    )  # fmt: skip
    if failed:
        raise PlaitError(
            f"reading {sum(of.used for of, *_ in parts):,} tokens needs more memory than is free; read fewer "
            "passages at once"
        )
    return context
