"""Work that is done in turn, by one thread: a model uses all cores for one query. Knows no HTTP."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from plait.errors import DataWarning, FallbackWarning, TruncationWarning

T = TypeVar("T")
NOTES = (TruncationWarning, FallbackWarning, DataWarning)


class Busy(Exception):
    """As many wait as may."""


class Turns:
    """A queue.

    Args:
        limit: most that may wait or be at work.

    Attributes:
        waiting: how many do.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.waiting = limit, 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="plait")

    async def run(self, work: Callable[[], T]) -> tuple[T, list[str]]:
        """What the work gives, and what it warned of.

        Raises:
            Busy: no place is free. Whatever the work raises.
        """
        if self.waiting >= self.limit:
            raise Busy
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, _noted, work)
        finally:
            self.waiting -= 1

    def close(self) -> None:
        """Wait for the work that was begun, and do no more."""
        self._thread.shutdown(wait=True, cancel_futures=True)


def _noted(work: Callable[[], T]) -> tuple[T, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = work()
    return result, [str(one.message) for one in caught if issubclass(one.category, NOTES)]
