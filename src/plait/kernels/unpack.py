"""Stored numbers as the numbers that layers read."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from plait.kernels.build import library

UNIT = 16
"""Widths must be multiples of this."""


def unpack(rows: Tensor, out: Tensor) -> bool:
    """Write number * scale, rounded once, to out, where the kernel fits; else return False and write nothing.

    Args:
        rows: uint8 [T, H + 2]: int8 numbers of a token, then their scale, a bfloat16.
        out: [T, H]; the kernel writes bfloat16 on the CPU, H a multiple of 16, rows without gaps.
    """
    width = out.shape[1]
    fits = out.dtype == torch.bfloat16 and out.device.type == "cpu" and width % UNIT == 0
    kernels = library() if fits and rows.is_contiguous() and out.is_contiguous() else None
    if kernels is None:
        return False
    kernels.plait_unpack(
        ctypes.c_void_p(rows.data_ptr()), ctypes.c_int64(len(rows)), ctypes.c_int64(width),
        ctypes.c_void_p(out.data_ptr()), ctypes.c_int(torch.get_num_threads()),
    )  # fmt: skip
    return True
