"""Stored numbers as the numbers that layers read."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from plait.kernels.build import library

UNIT, UNIT4 = 16, 64
"""Widths must be multiples of this: of int8 and of int4 numbers."""


def unpack(rows: Tensor, out: Tensor) -> bool:
    """Write number * scale, rounded once, to out, where the kernel fits; else return False and write nothing.

    Args:
        rows: uint8 [T, H + 2]: int8 numbers of a token, then their scale, a bfloat16.
        out: [T, H]; the kernel writes bfloat16 on the CPU, H a multiple of 16, rows without gaps.
    """
    return _run("plait_unpack", rows, out, UNIT)


def unpack4(rows: Tensor, out: Tensor) -> bool:
    """The same of int4 numbers.

    Args:
        rows: uint8 [T, H / 2 + H / 16]: byte i holds number i (low bits) and number H / 2 + i of a token; then a scale,
            a bfloat16, for every 32 numbers.
        out: [T, H]; the kernel writes bfloat16 on the CPU, H a multiple of 64, rows without gaps.
    """
    return _run("plait_unpack4", rows, out, UNIT4)


def _run(name: str, rows: Tensor, out: Tensor, unit: int) -> bool:
    width = out.shape[1]
    fits = out.dtype == torch.bfloat16 and out.device.type == "cpu" and width % unit == 0
    kernels = library() if fits and rows.is_contiguous() and out.is_contiguous() else None
    if kernels is None:
        return False
    getattr(kernels, name)(
        ctypes.c_void_p(rows.data_ptr()), ctypes.c_int64(len(rows)), ctypes.c_int64(width),
        ctypes.c_void_p(out.data_ptr()), ctypes.c_int(torch.get_num_threads()),
    )  # fmt: skip
    return True
