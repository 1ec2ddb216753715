"""Memory that is used again."""

import sys
import threading

import numpy as np
from numpy.typing import NDArray


class Memory:
    """Blocks of bytes that are handed out again once nobody holds them. For use by several threads.

    Allocators give large blocks back to the system, and each fresh page of memory costs a fault, at every query.
    """

    def __init__(self, limit: int = 256 << 20) -> None:
        self.limit = limit
        """Bytes kept at most; what does not fit is allocated and forgotten."""
        self._blocks: list[NDArray[np.uint8]] = []
        self._lock = threading.Lock()

    def take(self, size: int) -> NDArray[np.uint8]:
        """uint8 [size] of arbitrary content; it is taken back when the last array or tensor over it is gone."""
        with self._lock:
            free = [i for i in range(len(self._blocks)) if sys.getrefcount(self._blocks[i]) == 2]
            fitting = [i for i in free if len(self._blocks[i]) >= size]
            if fitting:
                return self._blocks[min(fitting, key=lambda i: len(self._blocks[i]))][:size]
            for i in reversed(free):
                del self._blocks[i]
            block = np.empty(1 << max(0, size - 1).bit_length(), dtype=np.uint8)  # so that the next, longer ones fit
            if len(block) + sum(map(len, self._blocks)) <= self.limit:
                self._blocks.append(block)
            return block[:size]
