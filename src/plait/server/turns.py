"""Work that is done in turn, by one thread: a model uses all cores for one query. Knows no HTTP."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from plait.errors import DataWarning, FallbackWarning, TruncationWarning

T = TypeVar("T")
NOTES = (TruncationWarning, FallbackWarning, DataWarning)
_noting = threading.Lock()
"""Warnings are collected for a whole process: one at a time, however many queues it has."""


class Busy(Exception):
    """As many wait as may."""


class Left(Exception):
    """Nobody waits for the answer any more."""


class Turns:
    """A queue.

    Args:
        limit: most that may wait or be at work.

    Attributes:
        waiting: how many do.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.waiting = limit, 0
        self._thread: ThreadPoolExecutor | None = None
        self._turn = asyncio.Lock()

    @property
    def full(self) -> bool:
        """Whether no place is free."""
        return self.waiting >= self.limit

    async def run(self, work: Callable[[], T], left: Callable[[], Awaitable[bool]]) -> tuple[T, list[str]]:
        """What the work gives, and what it warned of. `left` is asked before it begins.

        Raises:
            Busy: no place is free. Left: there is no need. Whatever the work raises.
        """
        if self.full:
            raise Busy
        self.waiting += 1
        try:
            async with self._turn:
                if await left():
                    raise Left
                if self._thread is None:
                    self._thread = ThreadPoolExecutor(1, thread_name_prefix="plait")
                return await asyncio.get_running_loop().run_in_executor(self._thread, _noted, work)
        finally:
            self.waiting -= 1

    def close(self) -> None:
        """Wait for the work that was begun; what comes later begins anew."""
        thread, self._thread, self._turn = self._thread, None, asyncio.Lock()
        if thread is not None:
            thread.shutdown(wait=True)


def _noted(work: Callable[[], T]) -> tuple[T, list[str]]:
    with _noting:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = work()
    others = [one for one in caught if not issubclass(one.category, NOTES)]
    for one in others:
        warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    return result, list(dict.fromkeys(str(one.message) for one in caught if one not in others))
