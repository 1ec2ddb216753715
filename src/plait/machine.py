"""What the machine under us does well."""

from __future__ import annotations

import contextlib
import ctypes

import torch

from plait.errors import PlaitError, reason

CPU = torch.device("cpu")
MALLOC_KEEPS = 31 << 20
"""Bytes; glibc raises its thresholds for a freed block of up to 32 MiB."""


def fast_dtype(device: torch.device = CPU) -> str:
    """`bfloat16` where this machine's processor (or a GPU) computes it faster than float32, else `float32`."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bfloat16" if fast else "float32"


def to_device(device: torch.device | str) -> torch.device:
    """A device by its name, or `auto`: the first GPU where PyTorch has CUDA, else the CPU. PlaitError for one that is
    not here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.ones(1, device=device).tolist()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise PlaitError(
            f"device must be one that PyTorch can use here, but is {str(device)!r} ({reason(error)}); pass auto or cpu"
        ) from None
    return torch.device(device)


def to_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """A dtype by its name; PlaitError for one that models do not run in."""
    named = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in named:
        raise PlaitError(f"dtype must be one of {', '.join(named)}, but is {dtype!r}")
    return named[dtype]


def keep_memory() -> None:
    """Let the C library keep up to 62 MiB of freed memory for the next batch, where it is glibc.

    It gives memory back above twice the largest block that was freed so far, and a page that it gets again costs a
    fault, at every query. Nothing happens elsewhere.
    """
    torch.empty(MALLOC_KEEPS, dtype=torch.uint8)


def keep_all_memory() -> None:
    """The same without a limit, for a process that only trains: it works on hundreds of megabytes at every step."""
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # names of glibc's malloc.h
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        c = ctypes.CDLL(None)
        c.mallopt(mmap_threshold, 1 << 30)
        c.mallopt(trim_threshold, (1 << 31) - 1)
        c.mallopt(top_pad, 64 << 20)
