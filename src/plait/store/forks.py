"""Forked processes: the table library's threads are not in them, and its calls wait for these for ever."""

import os
from pathlib import Path

from plait.errors import PlaitError

_process = 0
"""The one that uses stores; 0 before any did."""


def require_unforked(path: Path) -> None:
    """PlaitError in a process that was forked from one that had used a store."""
    global _process
    _process = _process or os.getpid()
    if os.getpid() != _process:
        raise PlaitError(
            f"stores must be used in the process that first used one, but {path} is asked for in process "
            f"{os.getpid()}, forked from {_process}; start processes by spawn, or open stores only after the fork"
        )
