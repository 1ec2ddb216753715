"""Turns what the table library or the disk raises into one sentence for a person."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plait.errors import Failure, PlaitError, system_fix
from plait.store.forks import require_unforked
from plait.store.gone import Gone

_FULL = ("no space left", "file too large", "quota exceeded", "os error 28", "os error 27", "os error 122")
_GONE = ("not found", "no such file")


@contextmanager
def told(path: Path, action: str) -> Iterator[None]:
    """PlaitError in place of any failure of `action` (a verb phrase such as "read passages from") on the store at path:
    Gone if a file is not there.

    Also for a panic of the native library, which Python sees as a BaseException of the module pyo3_runtime; and in a
    forked process, where the action could hang.
    """
    require_unforked(path)
    try:
        yield
    except PlaitError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__module__ != "pyo3_runtime":
            raise
        kind = Gone if any(sign in str(error).lower() for sign in _GONE) else Failure
        raise kind(_sentence(path, action, error)) from error


def _sentence(path: Path, action: str, error: BaseException) -> str:
    # The library appends source positions and nested causes; the first line and 200 characters name the cause.
    cause = " ".join(str(error).split())
    if any(sign in cause.lower() for sign in _FULL):
        return (
            f"there must be free space on the disk of {path}, but it is full or a size limit is reached; "
            "free some and run again, everything added before is kept"
        )
    cause = cause if len(cause) <= 200 else cause[:199] + "…"
    if fix := system_fix(error):
        advice = fix
    elif not path.exists():
        advice = "check the path, and that its folder can be written to"
    else:
        advice = (
            "if another process has just compacted it, open it again, else it is damaged: delete what plait verify "
            "names, or build it anew from the sources"
        )
    return f"cannot {action} {path}: {cause or type(error).__name__}; {advice}"
