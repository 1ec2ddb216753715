"""Recently read bytes, up to a limit."""

import threading
from collections import OrderedDict

Key = tuple[str, int]
"""Data file and position in it. Data files never change and are never named again, so no entry can be out of date."""


class Cache:
    """Keeps the most recently used entries whose sizes together stay within `limit` bytes. 0 keeps nothing."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._entries: OrderedDict[Key, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> bytes | None:
        """The bytes kept under the key, or None."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
            return entry

    def put(self, key: Key, view: memoryview) -> None:
        """Keep a copy; the least recently used entries leave to make room. Entries above the limit are not kept."""
        if len(view) > self.limit:
            return
        with self._lock:
            if key in self._entries:
                return
            self._entries[key] = bytes(view)
            self.used += len(view)
            while self.used > self.limit:
                _, old = self._entries.popitem(last=False)
                self.used -= len(old)

    def keep_files(self, files: set[str]) -> None:
        """Drop what lies in other files: rows that were replaced or moved."""
        with self._lock:
            for key in [key for key in self._entries if key[0] not in files]:
                self.used -= len(self._entries.pop(key))
