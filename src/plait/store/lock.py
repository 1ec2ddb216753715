"""One writer at a time: a lock that the operating system drops with the process, however it ends."""

import os
import threading
from pathlib import Path

from plait.errors import PlaitError, system_fix


class WriterLock:
    """An exclusive flock on a file that also names the process holding it. Readers never touch it.

    A lock may be taken again by its holder; it is free when every acquire has been released.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._depth = 0
        self._descriptor = -1
        self._guard = threading.RLock()

    def __enter__(self) -> None:
        """Take the lock; a thread waits for others that share it. PlaitError that names the holder, without waiting, if
        another writer has it.
        """
        self._guard.acquire()
        try:
            if self._depth == 0:
                self._take()
            self._depth += 1
        except BaseException:
            self._guard.release()
            raise

    def __exit__(self, *exc: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            os.close(self._descriptor)
        self._guard.release()

    def _take(self) -> None:
        import fcntl

        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            fix = "make it writable" if self._path.exists() else "make the store's folder writable"
            fix = fix if isinstance(error, PermissionError) else system_fix(error) or fix
            raise PlaitError(
                f"writing needs a lock file at {self._path}, but it cannot be opened ({error.strerror}); {fix}"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise PlaitError(
                f"one process may write to a store at a time, but process {holder} is writing to {self._path.parent}; "
                "wait until it ends, or stop it"
            ) from error
        try:  # The name is for people; a full disk must not stop a delete that would free it.
            os.pwrite(descriptor, f"{os.getpid():<31}\n".encode(), 0)
        except OSError:
            pass
        self._descriptor = descriptor
