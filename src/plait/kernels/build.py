"""The kernels' library: compiled by this machine's C compiler when first wanted, then kept in the user's cache."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

import torch

from plait.errors import FallbackWarning

SOURCES = sorted(Path(__file__).parent.glob("*.c"))
HEADERS = sorted(Path(__file__).parent.glob("*.h"))
FLAGS = ("-O3", "-shared", "-fPIC", "-fopenmp")


@functools.cache
def library() -> ctypes.CDLL | None:
    """The library; None where the processor lacks its instructions, or (with a FallbackWarning) it cannot be used.

    The environment variable PLAIT_KERNELS=0 leaves it out without a warning.
    """
    if os.environ.get("PLAIT_KERNELS") == "0" or not fits():
        return None
    try:
        found = ctypes.CDLL(str(compiled(cache())))
        if found.plait_allow() != 0:
            raise OSError("Linux does not let this process use them")
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:  # RuntimeError: a user without a home
        said = (getattr(error, "stderr", None) or "").strip() or str(error)
        nowhere = isinstance(error, RuntimeError) or (isinstance(error, OSError) and str(cache()) in said)
        fix = "let XDG_CACHE_HOME be a folder that can be written" if nowhere else "install gcc 11 or later"
        warnings.warn(
            f"the kernels for this processor cannot be used ({said.splitlines()[0]}), so "
            f"that PyTorch's slower ones take their place; {fix}, or set PLAIT_KERNELS=0",
            FallbackWarning,
            stacklevel=2,
        )
        return None
    return found


def fits() -> bool:
    """Whether the kernels run on this machine: Linux, and a processor that multiplies bfloat16."""
    return platform.system() == "Linux" and platform.machine() == "x86_64" and torch.cpu._is_avx512_bf16_supported()


def architecture() -> str:
    """What the compiler is to write for: matrix units (AMX) where this processor has them, else vectors."""
    return "-march=sapphirerapids" if torch.cpu._is_amx_tile_supported() else "-march=cooperlake"


def compiler() -> list[str]:
    """The command of this machine's C compiler: that in CC, or gcc or cc."""
    return shlex.split(os.environ.get("CC", "")) or [shutil.which("gcc") or shutil.which("cc") or "gcc"]


def cache() -> Path:
    """Where compiled kernels are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plait"


def compiled(folder: Path) -> Path:
    """The library in `folder`, compiled if it is not there yet. OSError or SubprocessError if that fails."""
    flags = [architecture(), *FLAGS]
    content = "\n".join([*flags, *(source.read_text() for source in [*HEADERS, *SOURCES])])
    target = folder / f"kernels-{hashlib.sha256(content.encode()).hexdigest()[:16]}.so"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as made:  # renamed when whole: another process may be compiling
            command = [*compiler(), *flags, *map(str, SOURCES), "-lm", "-o", f"{made}/kernels.so"]
            subprocess.run(command, capture_output=True, text=True, check=True)
            os.replace(f"{made}/kernels.so", target)
    return target
