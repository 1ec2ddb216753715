"""What a sentence-transformers folder says beside the checkpoint of `transformers` that it holds."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

from plait.errors import FallbackWarning
from plait.hub import HubOptions, locate
from plait.lora import base_of, is_adapter

POOLS = {"cls": "first", "mean": "mean", "mean_sqrt_len": "mean"}
"""A plan's `pool` by the names of sentence-transformers; the square root of a length changes no cosine."""


def pooling(model_name_or_path: str | os.PathLike[str], where: HubOptions) -> str:
    """The `pool` of a checkpoint's vectors, or nothing where its folder says none that Plait has.

    Vectors that go through more than pooling and a normalization, which cosines do not see, are not made: a
    FallbackWarning says so, and where a folder's files cannot be read.
    """
    name = locate(os.fspath(model_name_or_path))
    if is_adapter(name, dict(where)):
        name = base_of(name, dict(where))
    modules = _json(name, "modules.json", where)
    kinds = {
        str(module.get("type", "")).rpartition(".")[2]: str(module.get("path", ""))
        for module in (modules if isinstance(modules, list) else [])
        if isinstance(module, dict)
    }
    if "Pooling" not in kinds:
        return ""
    fields = _json(name, f"{kinds['Pooling']}/config.json", where)
    fields = fields if isinstance(fields, dict) else {}
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
            f"the vectors of {name} are made with {what}, which is left out here: they may not be those of "
            "sentence-transformers; say pool in the plan, train with it, or give its vectors by `plait vectors`",
            FallbackWarning,
            stacklevel=4,
        )
    return pool


def activation(model_name_or_path: str | os.PathLike[str], where: HubOptions) -> str:
    """What a CrossEncoder of version 6 or later applies to its logits, such as `torch.nn.modules.linear.Identity`, or
    nothing where the folder says none. Earlier ones say it in the config of `transformers`.

    A prompt that it puts before every text is left out: a FallbackWarning says so.
    """
    name = locate(os.fspath(model_name_or_path))
    fields = _json(name, "config_sentence_transformers.json", where)
    fields = fields if isinstance(fields, dict) else {}
    prompts, usual = fields.get("prompts"), fields.get("default_prompt_name")
    if prompt := prompts.get(str(usual)) if isinstance(prompts, dict) else None:
        warnings.warn(
            f"sentence-transformers puts the prompt {prompt!r} before texts for {name}, which is left out here: scores "
            "are not those; put it before the texts yourself",
            FallbackWarning,
            stacklevel=4,
        )
    return str(fields.get("activation_fn") or "")


def _json(name: str, file: str, where: HubOptions) -> Any:
    """A JSON file of a checkpoint, None if it has no such file; a warning if nobody can tell whether it has."""
    from transformers.utils.hub import cached_file

    try:
        found = cached_file(name, file, _raise_exceptions_for_missing_entries=False, **where)
        return None if found is None else json.loads(Path(str(found)).read_text("utf-8"))
    except (OSError, ValueError):
        warnings.warn(
            f"{file} of {name} cannot be read: its vectors or scores may not be those of sentence-transformers; fetch "
            "it, or say pool in the plan and activation_fn to predict",
            FallbackWarning,
            stacklevel=5,
        )
        return None
