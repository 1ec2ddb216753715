"""Libraries that only some work needs: imported when it begins, and asked for by name where they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from plait.errors import PlaitError


def library(module: str, extra: str) -> Any:
    """The module; PlaitError that names the extra of Plait that installs it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise PlaitError(
            f"this needs the library {error.name}, which is not installed; pip install 'plait[{extra}]'"
        ) from None
