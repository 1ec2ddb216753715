"""The commands. Thin: they read arguments, call the library and print; every bad input is one sentence on standard
error.
"""

from __future__ import annotations

import errno
import io
import os
import sys
import warnings
from typing import NoReturn

from rich.markup import escape

from plait.cli import answers, corpus, evaluate, positions, serve, training, vectors  # each registers its commands  # noqa: F401
from plait.cli.app import app, err, out
from plait.errors import DataWarning, FallbackWarning, PlaitError, TruncationWarning

__all__ = ["app", "err", "main", "out"]

UNWRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EPIPE)
"""How writing fails where nothing is wrong but the place written to."""


def main() -> None:
    """The `plait` command: errors are one sentence and exit code 1; so is output that nobody reads, without any."""
    warnings.showwarning = _note
    warnings.filterwarnings("ignore", category=FutureWarning)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # what a terminal's encoding lacks
    try:
        try:
            app()
        finally:
            if sys.stdout is not None:  # as it is where it was closed
                sys.stdout.flush()  # while what fails can be said
    except PlaitError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno not in UNWRITTEN:
            raise
        if isinstance(sys.stdout, io.TextIOWrapper):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # takes what is left when Python ends
        if error.errno == errno.EPIPE:
            sys.exit(1)
        _fail(
            f"output must be written whole, but could not be ({error.strerror}); free some space, or send it elsewhere"
        )


def _fail(sentence: str) -> NoReturn:
    err.print(f"plait: {escape(' '.join(sentence.split()))}", style="red")  # one line, whatever it quotes
    sys.exit(1)


def _note(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: object = None,
) -> None:
    if issubclass(category, TruncationWarning | FallbackWarning | DataWarning):
        err.print(f"note: {escape(str(message))}", style="yellow")
