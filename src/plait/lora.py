"""LoRA and other adapters of `peft`: merged into the checkpoint that they were trained on, and loaded as one."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoTokenizer
from transformers.utils.hub import cached_file

from plait.errors import PlaitError
from plait.extras import library
from plait.writer import require_whole

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
CLASSES = {
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "FEATURE_EXTRACTION": "AutoModel",
}
"""What a model of each of peft's task types is loaded as; one without a task type is an encoder."""


def is_adapter(name: str, where: dict[str, Any]) -> bool:
    """Whether a folder or hub id holds an adapter and no checkpoint."""
    return _found(name, CONFIG, where) is not None and _found(name, "config.json", where) is None


def write_merged(name: str, where: dict[str, Any], folder: Path, use_safetensors: bool = True) -> None:
    """Write the checkpoint that an adapter makes of its base to `folder`, with the adapter's tokenizer or the base's.

    Raises:
        PlaitError: `peft` is not installed; the adapter does not say what it was trained on, or is for a task without a
            head here, or cannot be merged; its weights are pickled and may not be; or some weight is in neither.
    """
    peft = library("peft", "lora")
    settings = json.loads(Path(str(_found(name, CONFIG, where))).read_text())
    base, task = base_of(name, where), settings.get("task_type") or "FEATURE_EXTRACTION"
    if task not in CLASSES:
        raise PlaitError(
            f"an adapter must be for one of the tasks {', '.join(CLASSES)}, but {name!r} is for {task!r}; merge it "
            "with peft and pass the result"
        )
    shapes = _shapes(name, where)
    if not shapes and use_safetensors:
        raise PlaitError(
            f"weights must be in safetensors, for pickled ones can run code as they are read, but the adapter {name!r} "
            "has none; pass use_safetensors=False if you trust it"
        )
    heads = [shape for key, shape in shapes.items() if key.endswith("classifier.weight")]
    labels = {"num_labels": heads[-1][0], "ignore_mismatched_sizes": True} if heads and task == "SEQ_CLS" else {}
    at = where | {"revision": settings.get("revision")}  # that of the base
    model, info = getattr(transformers, CLASSES[task]).from_pretrained(
        base, dtype="auto", use_safetensors=use_safetensors or None, output_loading_info=True, **labels, **at
    )
    unused = {"pooler"} if task == "FEATURE_EXTRACTION" else set()
    lacking = {key for key in info["missing_keys"] if key not in shapes and unused.isdisjoint(key.split("."))}
    modules = dict(model.named_modules())
    astray = {key.partition(".lora_")[0] for key in shapes if ".lora_" in key} - set(modules)
    if first := require_whole(model, lacking) or next(iter(sorted(astray)), ""):
        raise PlaitError(
            f"an adapter and its base must hold every weight between them, but {first} of {name!r} on {base!r} "
            f"{'has no place there' if first in astray else 'is in neither'}; save the adapter with it, or merge it "
            "with peft and pass the result"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # between two libraries
        live = peft.PeftModel.from_pretrained(model, name, **where)
    if not hasattr(live, "merge_and_unload"):
        raise PlaitError(
            f"an adapter must merge into weights, but {name!r} is {settings.get('peft_type')}; train a LoRA adapter"
        )
    live.merge_and_unload().save_pretrained(folder)
    tokenizer = name if _found(name, "tokenizer_config.json", where) else base
    AutoTokenizer.from_pretrained(tokenizer, **(where if tokenizer == name else at)).save_pretrained(folder)


def base_of(name: str, where: dict[str, Any]) -> str:
    """The checkpoint that an adapter was trained on."""
    base = json.loads(Path(str(_found(name, CONFIG, where))).read_text()).get("base_model_name_or_path")
    if not base:
        raise PlaitError(f"an adapter must name its base model, but {name!r} has none; merge it with peft")
    return str(base)


def _found(name: str, file: str, where: dict[str, Any]) -> str | None:
    found: str | None = cached_file(
        name, file, **where, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
    )  # fmt: skip
    return found


def _shapes(name: str, where: dict[str, Any]) -> dict[str, list[int]]:
    """The shapes of an adapter's weights, by the names of the model that it adapts; empty if they are pickled."""
    from safetensors import safe_open

    path = _found(name, WEIGHTS, where)
    if path is None:
        return {}
    with safe_open(path, "pt") as weights:
        keys = list(weights.keys())
        return {key.removeprefix("base_model.model."): weights.get_slice(key).get_shape() for key in keys}
