"""Checkpoints: ordinary `transformers` folders in, ordinary `transformers` folders out.

A folder may carry both heads: it is then a superset of `...ForSequenceClassification` and `...ForQuestionAnswering`,
and either class loads its own part (the latter with `num_labels=2`, where the scores have another number of labels).
Only ModernBERT's heads have the same names: there `transformers` finds the score head, and the span head stands beside.
The plans stand in `config.json` under the key `plait`. A dual encoder's score head is no class of `transformers`; its
weights stand beside the encoder's, as `compare.*`, and so do those of bottlenecks, as `bottleneck.*`, and of saliency.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from plait import beside, lora
from plait.errors import DataWarning, PlaitError, reason
from plait.families import check_model_type, classifier, register
from plait.head_plans import HEADS
from plait.heads import Score, Span, class_names, score_head, span_head
from plait.hub import locate
from plait.plan import FULL, Plan
from plait.saved import Saved
from plait.writer import Writer, require_whole


@dataclass
class Checkpoint:
    """What a folder holds: the encoder without heads, its tokenizer and config, the heads and the plans it was saved
    with, whether its span head can say that there is no answer, its model card, the bottlenecks and the saliency of
    states, whether its dual encoder reads texts framed alone (None if nobody said), and whether its score head was
    trained.
    """

    base: Any
    tokenizer: Any
    config: Any
    heads: dict[str, nn.Module]
    plans: dict[str, Plan]
    no_answer: bool = False
    card: str = ""
    bottlenecks: nn.ModuleDict = field(default_factory=nn.ModuleDict)
    saliency: nn.ModuleDict = field(default_factory=nn.ModuleDict)
    single: bool | None = None
    trained: bool = False


def load(
    path: str | os.PathLike[str],
    *,
    new_heads: Sequence[str] = (),
    labels: Sequence[str] = (),
    heads: Sequence[str] = HEADS,
    compare: bool | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
    token: str | None = None,
    use_safetensors: bool = True,
) -> Checkpoint:
    """Load a local folder or a hub id, in the dtype of its files.

    Weights that nothing here reads are named in a DataWarning.

    Args:
        path: folder or hub id; of an adapter of `peft`, which is merged into its base.
        new_heads: heads to start at random where the checkpoint lacks them; any other missing head is left out.
        labels: names of a new score head's classes; empty for one label. A head of others gives way: a DataWarning.
        heads: which to load of those that the checkpoint has.
        compare: whether the score head is to be a dual encoder's (None: as the checkpoint has it).
        revision, local_files_only, token: as in `transformers`' `from_pretrained`.
        use_safetensors: refuse weights that are pickled (`pytorch_model.bin`), which can run code as they are read.

    Raises:
        PlaitError: no such checkpoint, an unknown family, a cut or broken file, missing encoder weights.
    """
    where: dict[str, Any] = dict(revision=revision, local_files_only=local_files_only, token=token)
    name = locate(os.fspath(path))
    if _try(name, lambda: lora.is_adapter(name, where)):
        with tempfile.TemporaryDirectory() as folder:
            with _quiet():
                _try(name, lambda: lora.write_merged(name, where, Path(folder), use_safetensors))
            merged = load(folder, new_heads=new_heads, labels=labels, heads=heads, compare=compare)
        return replace(merged, card=_card(name))
    with _quiet():
        config = _config(name, where)
        tokenizer = _try(name, lambda: AutoTokenizer.from_pretrained(name, **where))
        _require_tokens(name, tokenizer, config)
        reading = where | {"dtype": "auto", "output_loading_info": True, "use_safetensors": use_safetensors or None}
        source = _Source(name, where, reading, config, tokenizer, Saved.of(config, name, heads))
        if config.is_encoder_decoder:
            return _writing(source, heads, new_heads)
        return _encoding(source, heads, new_heads, labels, compare)


@dataclass(frozen=True)
class _Source:
    """A folder or hub id: where it is, how `transformers` is to read its weights, and what stands beside these."""

    name: str
    where: dict[str, Any]
    reading: dict[str, Any]
    config: Any
    tokenizer: Any
    saved: Saved


def _encoding(
    source: _Source, heads: Sequence[str], new_heads: Sequence[str], labels: Sequence[str], compare: bool | None
) -> Checkpoint:
    """An encoder with its heads."""
    name, config = source.name, source.config
    if "text" in new_heads:
        raise PlaitError(
            f"a text head is the decoder of an encoder-decoder model, such as a T5, but {name!r} is "
            f"{config.model_type}, an encoder; name another model, or set another task than text"
        )
    scorer, lacking, extra = _scorer(source, labels, new="score" in new_heads)
    inside = scorer.base_model_prefix
    base = getattr(scorer, inside)
    _report(name, {key for key in extra if not key.startswith((*beside.OURS, "qa_outputs.", f"{inside}."))})
    weights = _beside(name, source.where) if any(key.startswith(beside.OURS) for key in extra) else {}
    spans = any(key.startswith("qa_outputs") for key in extra)
    if not spans and _is(config, "ForQuestionAnswering"):
        spans = True  # of a family whose two heads have the same names: what was read is the span head
        _renew(scorer, lacking)
    found: dict[str, nn.Module] = {}
    dual = any(key.startswith("compare.") for key in weights)
    same = class_names(config) == class_names(scorer.config)
    if not same and (dual or not lacking):
        _start_anew(name, config, scorer)
    if dual and same and compare is not False and "score" in heads:
        plan = source.saved.plans.get("score", FULL)
        found["score"] = _try(name, lambda: beside.compare(config, plan, weights))
    elif "score" in heads and ("score" in new_heads or not lacking):
        found["score"] = score_head(scorer)
    if not isinstance(found.get("score"), Score) and getattr(base, "pooler", None) is not None:
        base.pooler = None  # else random weights of it would be saved, and hashed into the fingerprint
    if "span" in heads and ("span" in new_heads or spans):
        parts = {k: v for k, v in weights.items() if k.startswith("qa_outputs.")}
        if reader := _span(source, parts, "span" in new_heads):
            found["span"] = reader
    return Checkpoint(
        base, source.tokenizer, scorer.config, found, dict(source.saved.plans), source.saved.no_answer, _card(name),
        beside.bottlenecks(scorer.config, weights), beside.saliency(weights), source.saved.single,
        trained=same and not dual and not lacking and not _is(config, "ForQuestionAnswering"),
    )  # fmt: skip


def _scorer(source: _Source, labels: Sequence[str], *, new: bool) -> tuple[Any, set[str], set[str]]:
    """A model with a score head, which may be `new`, of these labels; the weights that this head or the pooler lacks,
    and those that the class of `transformers` does not have.
    """
    name, config = source.name, source.config
    kind: Any = AutoModelForSequenceClassification
    options: dict[str, Any] = _labels(config, labels) if new else {"config": config}
    if _is(config, "ForMultipleChoice") and not (new and labels):  # its head has one label
        kind, options, config.num_labels = AutoModelForMultipleChoice, {"config": config}, 1
    scorer, info = _try(name, lambda: kind.from_pretrained(name, **options, **source.reading))
    inside = scorer.base_model_prefix
    if missing := [k for k in info["missing_keys"] if k.startswith(inside) and "pooler" not in k]:
        raise PlaitError(
            f"the checkpoint must hold every weight of the encoder, but {name!r} lacks {len(missing)}, "
            f"{missing[0]!r} first; download or save it again"
        )
    return scorer, set(info["missing_keys"]), set(info["unexpected_keys"])


def _span(source: _Source, parts: dict[str, torch.Tensor], new: bool) -> Span | None:
    """The span head: new, or the checkpoint's, of which `parts` stand beside; None if that is of another make."""
    name = source.name
    model, info = _try(
        name,
        lambda: AutoModelForQuestionAnswering.from_pretrained(
            name, num_labels=2, ignore_mismatched_sizes=True, **source.reading
        ),
    )
    lacking = [key for key in info["missing_keys"] if not key.startswith(model.base_model_prefix)]
    if lacking and not new and not parts:
        return None
    head = span_head(model)
    if parts:
        _try(name, lambda: head.load_state_dict(parts))
    return head


def _writing(source: _Source, heads: Sequence[str], new_heads: Sequence[str]) -> Checkpoint:
    """An encoder-decoder model, whose one head is its decoder."""
    name = source.name
    if set(new_heads) - {"text"} or "text" not in heads:
        raise PlaitError(
            f"a model with a decoder has a text head, but {name!r} was to have {', '.join(new_heads or heads)}; take "
            "an encoder for that"
        )
    model, info = _try(name, lambda: AutoModelForSeq2SeqLM.from_pretrained(name, **source.reading))
    ours = [key for key in info["unexpected_keys"] if key.startswith(beside.FOR_STATES)]
    _report(name, set(info["unexpected_keys"]) - set(ours))
    if missing := require_whole(model, set(info["missing_keys"])):
        raise PlaitError(
            f"the checkpoint must hold every weight of encoder and decoder, but {name!r} lacks {missing!r}; "
            "download or save it again"
        )
    weights = _beside(name, source.where) if ours else {}
    head: dict[str, nn.Module] = {"text": Writer(model)}
    return Checkpoint(
        model.get_encoder(), source.tokenizer, model.config, head, dict(source.saved.plans), card=_card(name),
        bottlenecks=beside.bottlenecks(model.config, weights), saliency=beside.saliency(weights),
    )  # fmt: skip


def _require_tokens(name: str, tokenizer: Any, config: Any) -> None:
    """Refuse a checkpoint without a tokenizer, and one whose tokenizer has more tokens than the model."""
    if len(tokenizer) <= len(tokenizer.all_special_tokens):  # what transformers makes up where there are no files
        raise PlaitError(
            f"the checkpoint must hold its tokenizer, but {name!r} has none; copy the tokenizer's files there"
        )
    largest = max(tokenizer.get_vocab().values())
    if largest >= config.vocab_size:
        raise PlaitError(
            f"the tokenizer must have no more tokens than the model's table of {config.vocab_size}, but one is "
            f"numbered {largest}; use the tokenizer that the model was trained with"
        )


def load_config(path: str | os.PathLike[str]) -> Any:
    """The config of a checkpoint of a known family, without its weights."""
    name = locate(os.fspath(path))
    with _quiet():
        if _try(name, lambda: lora.is_adapter(name, {})):
            name = lora.base_of(name, {})
        return _config(name, {})


def _is(config: Any, kind: str) -> bool:
    """Whether a checkpoint was saved as a `...kind`."""
    return str((config.architectures or [""])[0]).endswith(kind)


def _labels(config: Any, labels: Sequence[str]) -> dict[str, Any]:
    """What tells `transformers` of a new score head's classes; one label where none are named."""
    names = list(labels) or (list(config.id2label.values()) if config.num_labels == 1 else ["LABEL_0"])
    numbers = {name: i for i, name in enumerate(names)}
    known = {"id2label": dict(enumerate(names)), "label2id": numbers, "num_labels": len(names)}
    return {**known, "ignore_mismatched_sizes": True}


def _report(name: str, extra: Iterable[str]) -> None:
    """Say which weights nothing here reads, such as those of a language model's head."""
    found = Counter(key.partition(".")[0] for key in extra)
    if found:
        parts = ", ".join(f"{part} ({count})" for part, count in sorted(found.items()))
        warnings.warn(f"weights of {name} that nothing here reads: {parts}", DataWarning, stacklevel=5)


def _renew(scorer: Any, missing: set[str]) -> None:
    """Random modules in place of a model's score head, and their weights among the missing ones."""
    fresh = type(scorer)(scorer.config).to(scorer.dtype)
    for name, module in fresh.named_children():
        if name != scorer.base_model_prefix:
            setattr(scorer, name, module)
            missing |= {f"{name}.{key}" for key in module.state_dict()}


def _start_anew(name: str, config: Any, scorer: Any) -> None:
    """A score head of other labels than the checkpoint's begins at random, and says so."""
    warnings.warn(
        f"the score head of {name} has the labels {', '.join(class_names(config))}; one with "
        f"{', '.join(class_names(scorer.config))} takes its place, untrained",
        DataWarning,
        stacklevel=5,
    )
    for module in classifier(scorer).modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=config.initializer_range)
            nn.init.zeros_(module.bias)


def _beside(name: str, where: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The weights that are no model of `transformers`."""
    from safetensors.torch import load_file
    from transformers.utils.hub import cached_file

    weights = _try(name, lambda: load_file(str(cached_file(name, "model.safetensors", **where))))
    return {k: v for k, v in weights.items() if k.startswith(beside.OURS)}


def _card(name: str) -> str:
    """The model card of a local folder; one on the hub stays there."""
    path = Path(name) / "README.md"
    return path.read_text("utf-8", errors="replace") if path.is_file() else ""


def _config(name: str, where: dict[str, Any]) -> Any:
    register()
    config = _try(name, lambda: AutoConfig.from_pretrained(name, **where))
    check_model_type(str(config.model_type))
    return config


def _try(name: str, load: Any) -> Any:
    try:
        return load()
    except PlaitError:
        raise
    except Exception as error:  # whatever transformers, safetensors and the hub raise for a bad folder
        if "named model.safetensors" in str(error):
            raise PlaitError(
                f"weights must be in safetensors, for pickled ones can run code as they are read, but {name!r} has "
                "none; if you trust it, convert it: from_pretrained(..., use_safetensors=False), then save_pretrained"
            ) from error
        raise PlaitError(
            f"the checkpoint must be a folder or hub id that transformers can load, but {name!r} is not "
            f"({reason(error)}); check the path and that the files are whole"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Missing and unexpected heads are decided here, so transformers' own report of them is kept back."""
    log = transformers.utils.logging
    before, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(before)
        if bars:
            log.enable_progress_bar()
