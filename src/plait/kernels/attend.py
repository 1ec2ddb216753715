"""Softmax attention of packed tokens, with gradients, by a processor's bfloat16 units."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from plait.errors import PlaitError
from plait.kernels.build import library
from plait.layout import Layout

UNIT = 32
"""Heads must be a multiple of this wide."""

Part = tuple[Layout, Tensor, Tensor]
"""Tokens that are read: their layout, and their keys and values, [T, A, D] each."""


class _Source(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("key", "value", "key_slope", "value_slope", "starts", "lengths")]


def can_attend(query: Tensor, layout: Layout, parts: Sequence[Part]) -> bool:
    """Whether `attend` takes queries [T, A, D] and parts like these, here."""
    numbers = (query, *(x for _, key, value in parts for x in (key, value)))
    plain = all(x.device.type == "cpu" and x.dtype == torch.bfloat16 for x in numbers)
    own = all(len(of.lengths) == len(layout.lengths) for of, _, _ in parts)
    return plain and own and query.shape[-1] % UNIT == 0 and library() is not None


def attend(query: Tensor, layout: Layout, parts: Sequence[Part], scale: float) -> Tensor:
    """Every group's queries read the tokens of the same group of all parts: `attention.attend`, with gradients.

    Args:
        query: bfloat16 [T, A, D], packed by `layout`.
        parts: one or more; every group has a token in one of them.
        scale: multiplies the scores.

    Returns:
        bfloat16 [T, A, D]; 0 for the tokens of nobody.
    """
    layouts = [layout, *(of for of, _, _ in parts)]
    tensors = [query, *(x for _, key, value in parts for x in (key, value))]
    context: Tensor = _Attend.apply(layouts, scale, *tensors)
    return context


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, layouts: list[Layout], scale: float, *tensors: Tensor) -> Tensor:
        tensors = tuple(x.contiguous() for x in tensors)
        context = torch.zeros_like(tensors[0])
        logs = torch.empty(context.shape[:2], dtype=torch.float32)  # [T, A]
        _run(layouts, scale, tensors, context, logs)
        ctx.save_for_backward(*tensors, context, logs)
        ctx.layouts, ctx.scale = layouts, scale
        return context

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, context, logs = ctx.saved_tensors
        found = [torch.zeros_like(x) for x in tensors]
        _run(ctx.layouts, ctx.scale, tensors, context, logs, slopes[0].to(context.dtype).contiguous(), found)
        return (None, None, *found)


def _run(
    layouts: Sequence[Layout],
    scale: float,
    tensors: Sequence[Tensor],
    context: Tensor,
    logs: Tensor,
    slope: Tensor | None = None,
    found: Sequence[Tensor] = (),
) -> None:
    kernel = library()
    assert kernel is not None  # can_attend says so
    layout, *parts = layouts
    sources = (_Source * len(parts))()
    for number, of in enumerate(parts):
        mine = slice(1 + 2 * number, 3 + 2 * number)
        gradients = found[mine] if found else (None, None)
        pointers = (*tensors[mine], *gradients, of.starts, of.lengths_tensor)
        sources[number] = _Source(*(None if x is None else x.data_ptr() for x in pointers))
    given = [ctypes.c_void_p(x.data_ptr()) for x in (tensors[0], layout.starts, layout.lengths_tensor)]
    results = [
        None if x is None else ctypes.c_void_p(x.data_ptr())
        for x in (context, logs, slope, found[0] if found else None)
    ]
    groups, (heads, size) = len(layout.lengths), context.shape[1:]
    failed = kernel.plait_attend(
        *given, ctypes.c_int64(groups), sources, ctypes.c_int64(len(parts)), ctypes.c_int64(heads),
        ctypes.c_int64(size), ctypes.c_float(scale), *results, ctypes.c_int(torch.get_num_threads()),
    )  # fmt: skip
    if failed:
        raise PlaitError(f"attention over {layout.used:,} tokens needs more memory than is free; take smaller batches")
