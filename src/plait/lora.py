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


def merge(name: str, where: dict[str, Any], folder: Path) -> None:
    """Write the checkpoint that an adapter makes of its base to `folder`, with the adapter's tokenizer or the base's.

    Raises:
        PlaitError: `peft` is not installed, or the adapter does not say what it was trained on, or for a task without a
            head here.
    """
    peft = library("peft", "lora")
    settings = json.loads(Path(str(_found(name, CONFIG, where))).read_text())
    base, task = settings.get("base_model_name_or_path"), settings.get("task_type") or "FEATURE_EXTRACTION"
    if not base or task not in CLASSES:
        raise PlaitError(
            f"an adapter must name its base model and one of the tasks {', '.join(CLASSES)}, but {name!r} has the base "
            f"{base!r} and the task {task!r}; merge it with peft and pass the result"
        )
    labels = {"num_labels": count} if (count := _labels(name, where)) and task == "SEQ_CLS" else {}
    at = {key: value for key, value in where.items() if key != "revision"}  # the revision is the adapter's
    model = getattr(transformers, CLASSES[task]).from_pretrained(base, dtype="auto", **labels, **at)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # between two libraries
        merged = peft.PeftModel.from_pretrained(model, name, **where).merge_and_unload()
    merged.save_pretrained(folder)
    tokenizer = name if _found(name, "tokenizer_config.json", where) else base
    AutoTokenizer.from_pretrained(tokenizer, **(where if tokenizer == name else at)).save_pretrained(folder)


def _found(name: str, file: str, where: dict[str, Any]) -> str | None:
    found: str | None = cached_file(
        name, file, **where, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
    )  # fmt: skip
    return found


def _labels(name: str, where: dict[str, Any]) -> int:
    """How many labels the score head has that an adapter brings; 0 if it brings none."""
    from safetensors import safe_open

    path = _found(name, WEIGHTS, where)
    if path is None:
        return 0
    with safe_open(path, "pt") as weights:
        heads = [k for k in weights.keys() if ".classifier." in k and k.endswith("weight")]
        return int(weights.get_slice(heads[-1]).get_shape()[0]) if heads else 0
