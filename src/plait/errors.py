"""The one exception that a user is meant to read: it states the rule, the value and the fix in one sentence."""

from numbers import Integral


class PlaitError(ValueError):
    """Bad input of any kind. The message is a whole sentence; commands print it without a traceback."""


class Failure(PlaitError):
    """What a disk, a store or a model fails at, through no fault of whoever asks. Said as any other."""


def reason(error: Exception) -> str:
    """What another library's error says, in one line: its first, or its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


_FIXES = (
    ("permission denied", "give this user the right to read and write it"),
    ("operation not permitted", "give this user the right to read and write it"),
    ("read-only file system", "to write, copy it to where that is possible"),
    ("too many open files", "let the process open more files (ulimit -n), or close some"),
)


def system_fix(error: BaseException) -> str | None:
    """What to do where the system refused a file, whatever is in it; None for other failures."""
    said = str(error).lower()
    return next((fix for sign, fix in _FIXES if sign in said), None)


def require_least(name: str, value: object, usual: str) -> None:
    """PlaitError unless a count is a whole number of 1 or more; `usual` says what to take."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise PlaitError(f"{name} must be 1 or more, but is {value!r}; {usual}")


class TruncationWarning(UserWarning):
    """A text was longer than the model reads; the message says how many tokens were cut from which texts."""


class FallbackWarning(UserWarning):
    """Something faster would run here but cannot; the message says why, and what takes its place."""


class DataWarning(UserWarning):
    """A file holds records that are left out; the message says how many and why."""
