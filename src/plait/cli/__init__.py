"""The commands. Thin: they read arguments, call the library and print; every bad input is one sentence on standard
error.
"""

from __future__ import annotations

import sys
import warnings

from rich.markup import escape

from plait.cli import answers, corpus, evaluate, positions, training, vectors  # each registers its commands  # noqa: F401
from plait.cli.app import app, err, out
from plait.errors import DataWarning, FallbackWarning, PlaitError, TruncationWarning

__all__ = ["app", "err", "main", "out"]


def main() -> None:
    """The `plait` command: errors are one sentence and exit code 1."""
    warnings.showwarning = _note
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        app()
    except PlaitError as error:
        err.print(f"plait: {escape(' '.join(str(error).split()))}", style="red")  # one line, whatever it quotes
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
