"""Small random models of every family, and the oracle that every plan is held against."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel

from plait.families import MODEL_TYPES, adapter
from plait.families.family import Family
from plait.plan import Plan
from plait.text import Segment

LAYERS = 3
VOCABULARY = 99


def small_config(model_type: str, **changes: Any) -> Any:
    """A config of 3 layers, 4 heads, 32 hidden (ELECTRA: 24 embedding)."""
    sizes: dict[str, Any] = dict(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=LAYERS, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=66, type_vocab_size=1 if "roberta" in model_type or model_type == "camembert" else 2,
        pad_token_id=1 if "bert" in model_type and model_type != "bert" else 0, initializer_range=0.3,
    )  # fmt: skip
    if model_type == "electra":
        sizes |= {"embedding_size": 24}
    return AutoConfig.for_model(model_type, **(sizes | changes))


def small_base(model_type: str, seed: int = 0) -> Any:
    """A random encoder of the family in evaluation mode; biases are random too, which `transformers` starts at 0."""
    torch.manual_seed(seed)
    base = AutoModel.from_config(small_config(model_type)).eval()
    for name, parameter in base.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.2)
    return base


def small_families() -> list[str]:
    """Every family that has an adapter."""
    return list(MODEL_TYPES)


def random_segments(lengths: Sequence[int], role: int, types: int, seed: int) -> list[Segment]:
    """Segments of random ids with the token type of their role."""
    generator = torch.Generator().manual_seed(seed * 31 + role)
    return [
        Segment(torch.randint(5, VOCABULARY, (n,), generator=generator).tolist(), [(0, 0)] * n, min(role, types - 1))
        for n in lengths
    ]


def oracle(base: Any, plan: Plan, example: Sequence[Segment]) -> Tensor:
    """Last states [tokens of all roles, H] of one example by `transformers` itself, layer by layer, under a 4-D mask.

    Written against the definition of a plan (DeFormer section 3, LAIT section 3, and for `frozen` the sentence in
    plait.plan), using nothing of the executor.
    """
    arch: Family = adapter(base)
    owner = torch.cat([torch.full((len(s.ids),), i) for i, s in enumerate(example)])
    restart = torch.cat([torch.arange(len(s.ids)) for s in example])
    positions = restart if plan.positions == "restart" else torch.arange(len(owner))
    first = arch.shape.positions - base.config.max_position_embeddings
    ids = torch.tensor([i for s in example for i in s.ids])
    types = torch.tensor([t for s in example for t in [s.type] * len(s.ids)])
    x = base.embeddings(input_ids=ids[None], token_type_ids=types[None], position_ids=positions[None] - first)
    if hasattr(base, "embeddings_project"):
        x = base.embeddings_project(x)
    apart = owner[:, None] == owner[None, :]
    reader = owner == plan.roles.index(plan.reader)
    reads = apart if plan.mode != "joint" else torch.ones_like(apart)
    reads = reads | reader[:, None]
    at_join = x
    for number, block in enumerate(base.encoder.layer):
        if number == plan.join:
            at_join = x
        allowed = apart if number < plan.join else reads
        mask = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)[None, None]
        if plan.mode == "frozen" and number >= plan.join:
            x = torch.where(reader[:, None], x, at_join)
        out = block(x, attention_mask=mask)
        x = out[0] if isinstance(out, tuple) else out
    last: Tensor = x[0]
    return last


def of_role(x: Tensor, example: Sequence[Segment], role: int) -> Tensor:
    """The rows of `oracle`'s result that belong to one role."""
    begin = sum(len(s.ids) for s in example[:role])
    return x[begin : begin + len(example[role].ids)]
