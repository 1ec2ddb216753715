"""Small files, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from plait.errors import PlaitError


def require_writable(folder: Path) -> None:
    """Refuse a folder that cannot be made or written to, before the work whose results are to go there."""
    probe = folder / f".plait-probe-{os.getpid()}"  # a name that nothing of a user's has
    write(probe, "")
    probe.unlink()


def write(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write beside and rename; the folder is made if it is not there.

    Raises:
        PlaitError: the disk is full, or the place cannot be written.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(beside, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise PlaitError(
            f"a file must be written whole, but {path} could not be ({error.strerror or error}); free some space "
            "there, or name a folder that you may write to"
        ) from None
