"""Small random models of every family."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

from plait.checkpoint import Checkpoint
from plait.families import MODEL_TYPES
from plait.heads import score_head, span_head
from plait.plan import Plan
from plait.saving import save
from plait.text import Segment
from tests.kinds import COUNTING_FROM_PADDING, ROTATING, WITHOUT_SPANS, WITHOUT_TYPES, WRITING
from tests.tokenizers import small_tokenizer

LAYERS = 3
VOCABULARY = 99


def small_config(model_type: str, **changes: Any) -> Any:
    """A config of 3 layers, 4 heads, 32 hidden (ELECTRA, ALBERT: 24 embedding; ALBERT's first two layers are one)."""
    sizes: dict[str, Any] = dict(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=LAYERS, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=66, type_vocab_size=1 if model_type in COUNTING_FROM_PADDING else 2,
        pad_token_id=1 if model_type in COUNTING_FROM_PADDING else 0, initializer_range=0.3,
    )  # fmt: skip
    if model_type in ("electra", "albert"):
        sizes |= {"embedding_size": 24}
    if model_type == "albert":
        sizes |= {"num_hidden_groups": 2}
    if model_type == "ernie":
        sizes |= {"use_task_id": True}
    if model_type in ROTATING:  # gates multiply: smaller weights keep rounding errors as small as elsewhere
        sizes |= {"initializer_range": 0.2}
    if model_type == "eurobert":  # two heads of queries share keys and values
        sizes |= {"num_key_value_heads": 2, "bos_token_id": 0, "eos_token_id": 2, "mask_token_id": 3}
    if model_type == "modernbert":  # the middle layer sees four tokens to both sides
        sizes |= {"local_attention": 8, "global_attn_every_n_layers": 2, "cls_token_id": 2, "sep_token_id": 3}
    if model_type == "deberta-v2":  # as version 3 has them
        sizes |= {"relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"],
                  "share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False,
                  "type_vocab_size": 0}  # fmt: skip
    if model_type in WRITING:  # heads are wider than their share of the states; mT5's and umT5's layers are gated
        sizes = dict(
            vocab_size=VOCABULARY, d_model=32, d_kv=12, num_heads=4, d_ff=48, num_layers=LAYERS, num_decoder_layers=2,
            relative_attention_num_buckets=8, relative_attention_max_distance=20, pad_token_id=0, eos_token_id=1,
            decoder_start_token_id=0, feed_forward_proj="relu" if model_type == "t5" else "gated-gelu",
        )  # fmt: skip
    if model_type == "xlnet":
        sizes = dict(
            vocab_size=VOCABULARY, d_model=32, n_layer=LAYERS, n_head=4, d_inner=48, initializer_range=0.3,
            pad_token_id=1, num_labels=2,
        )  # fmt: skip
    sizes |= changes
    if model_type in WITHOUT_TYPES:
        sizes = {k: v for k, v in sizes.items() if k != "type_vocab_size"}
    if model_type == "distilbert":
        sizes = {"hidden_dim" if k == "intermediate_size" else k: v for k, v in sizes.items()}
    return AutoConfig.for_model(model_type, **sizes)


def small_base(model_type: str, seed: int = 0, **changes: Any) -> Any:
    """A random encoder of the family in evaluation mode; biases are random too, which `transformers` starts at 0."""
    torch.manual_seed(seed)
    config = small_config(model_type, **changes)
    base = AutoModel.from_config(config).eval()
    base = base.get_encoder() if model_type in WRITING else base
    for name, parameter in base.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.2)
    return base


def small_pair(model_type: str, num_labels: int = 1, seed: int = 0, **changes: Any) -> tuple[Any, Any]:
    """A random `...ForSequenceClassification` and a `...ForQuestionAnswering` (None where the family has none) on one
    encoder, in evaluation mode.
    """
    changes = {"vocab_size": len(small_tokenizer(model_type))} | changes
    scorer = AutoModelForSequenceClassification.from_config(small_config(model_type, num_labels=num_labels, **changes))
    if model_type in WITHOUT_SPANS:
        reader = None
    else:
        reader = AutoModelForQuestionAnswering.from_config(small_config(model_type, **changes))
    torch.manual_seed(seed)
    for model in filter(None, (scorer, reader)):
        for name, parameter in model.named_parameters():
            if "norm" not in name.lower():
                torch.nn.init.normal_(parameter, std=0.2 if name.endswith("bias") else 0.3)
    base = scorer.base_model_prefix
    if reader is None:
        return scorer.eval(), None
    getattr(reader, base).load_state_dict(getattr(scorer, base).state_dict(), strict=False)
    return scorer.eval(), reader.eval()


def small_writer(model_type: str, folder: Path, **changes: Any) -> Path:
    """Save a random encoder-decoder model with its tokenizer to `folder`, as `transformers` does."""
    tokenizer = small_tokenizer(model_type)
    torch.manual_seed(0)
    changes = {"vocab_size": len(tokenizer)} | changes
    model = AutoModelForSeq2SeqLM.from_config(small_config(model_type, **changes))
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def small_checkpoint(
    folder: Path,
    model_type: str = "bert",
    heads: Sequence[str] | None = None,
    num_labels: int = 1,
    plans: Mapping[str, str] | None = None,
    seed: int = 0,
    **changes: Any,
) -> Path:
    """Save a random model with its tokenizer to `folder`, as Plait does, with all heads that its family has or some;
    `changes` are of the config.
    """
    scorer, reader = small_pair(model_type, num_labels, seed, **changes)
    made: dict[str, torch.nn.Module] = {"score": score_head(scorer)}
    if reader is not None:
        made["span"] = span_head(reader)
    parts = Checkpoint(
        getattr(scorer, scorer.base_model_prefix), small_tokenizer(model_type), scorer.config,
        {head: made[head] for head in (made if heads is None else heads)},
        {head: Plan.parse(plan) for head, plan in (plans or {}).items()},
    )  # fmt: skip
    save(parts, folder)
    return folder


def change_config(folder: Path, **changes: object) -> None:
    """Write other values into a checkpoint's config."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def small_families(head: str = "") -> list[str]:
    """Every family that has an adapter; or those that have a head."""
    without = {"": (), "score": WRITING, "span": WITHOUT_SPANS}[head]
    return [kind for kind in MODEL_TYPES if kind not in without]


def random_segments(
    lengths: Sequence[int], role: int, types: int, seed: int, *, closed: bool = False, first: int = 0
) -> list[Segment]:
    """Segments of random ids with the token type of their role; `closed` by a classification token; at `first`."""
    generator = torch.Generator().manual_seed(seed * 31 + role)
    return [
        Segment(
            torch.randint(5, VOCABULARY, (n,), generator=generator).tolist(), [(0, 0)] * n, min(role, types - 1),
            closed=closed, first=first,
        )
        for n in lengths
    ]  # fmt: skip
