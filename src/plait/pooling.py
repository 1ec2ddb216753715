"""How a sentence-transformers folder makes its vectors, where Plait can make them alike."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from plait.errors import FallbackWarning

POOLS = {"cls": "first", "mean": "mean"}
"""A plan's `pool` by the names of sentence-transformers."""


def pooling(name: str, where: dict[str, Any]) -> str:
    """The `pool` of a checkpoint's vectors, or nothing where its folder says none that Plait has.

    Vectors that go through more than pooling and a normalization, which cosines do not see, are not made: a
    FallbackWarning says so.

    Args:
        name: a folder or hub id.
        where: `revision`, `local_files_only`, `token`, as `transformers` takes them.
    """
    modules = _json(name, "modules.json", where) or []
    kinds = {str(module.get("type", "")).rpartition(".")[2]: module for module in modules if isinstance(module, dict)}
    if "Pooling" not in kinds:
        return ""
    fields = _json(name, f"{kinds['Pooling'].get('path', '')}/config.json", where) or {}
    found = fields.get("pooling_mode") or [
        key.removeprefix("pooling_mode_").removesuffix("_tokens").removesuffix("_token")
        for key, value in fields.items()
        if key.startswith("pooling_mode_") and value is True
    ]
    modes = [found] if isinstance(found, str) else list(found)
    pool = POOLS.get(modes[0], "") if len(modes) == 1 else ""
    more = [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize")]
    if more or not pool:
        what = " and ".join([*([] if pool else [f"pooling by {'+'.join(modes) or 'nothing'}"]), *more])
        warnings.warn(
            f"the vectors of {name} are made with {what}, which is left out here: they are not those of "
            "sentence-transformers; train with this plan, or give its vectors by `plait vectors`",
            FallbackWarning,
            stacklevel=3,
        )
    return pool


def _json(name: str, file: str, where: dict[str, Any]) -> Any:
    """A JSON file of a checkpoint, None if it has no such file."""
    from transformers.utils.hub import cached_file

    try:
        return json.loads(Path(str(cached_file(name, file, **where))).read_text("utf-8"))
    except (OSError, ValueError):  # not there, or not JSON
        return None
