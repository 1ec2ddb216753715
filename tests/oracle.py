"""What every plan is held against: `transformers` itself, layer by layer, under a mask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.masking_utils import create_bidirectional_sliding_window_mask

from plait.plan import Plan
from plait.text import Segment
from tests.kinds import COUNTING_FROM_PADDING, ROTATING, WITHOUT_POSITIONS, WITHOUT_TYPES, WRITING


def inputs(base: Any, example: Sequence[Segment], positions: Tensor) -> dict[str, Tensor]:
    """What the model takes of segments side by side at `positions` [tokens] that count from 0: tensors [1, tokens]."""
    if base.config.model_type in COUNTING_FROM_PADDING:
        positions = positions + base.config.pad_token_id + 1
    given = {"input_ids": torch.tensor([[i for s in example for i in s.ids]])}
    if base.config.model_type not in WITHOUT_POSITIONS:
        given["position_ids"] = positions[None]
    if base.config.model_type not in WITHOUT_TYPES:
        given["token_type_ids"] = torch.tensor([[t for s in example for t in s.types()]])
    return given


def embedded(base: Any, **given: Tensor) -> Tensor:
    """What the first layer reads of these inputs, by the model's own modules: [1, tokens, H]."""
    if base.config.model_type in WRITING:
        ids: Tensor = base.embed_tokens(given["input_ids"])
        return ids
    if base.config.model_type == "eurobert":
        tokens: Tensor = base.embed_tokens(given["input_ids"])
        return tokens
    if base.config.model_type == "xlnet":
        words: Tensor = base.word_embedding(given["input_ids"])
        return words
    x: Tensor = base.embeddings(**given)
    if base.config.model_type == "albert":
        x = base.encoder.embedding_hidden_mapping_in(x)
    if base.config.model_type == "electra":
        x = base.embeddings_project(x)
    return x


def layers_of(base: Any) -> list[Any]:
    """The model's own layers in the order in which it runs them; one that it runs twice stands there twice."""
    config = base.config
    if config.model_type == "distilbert":
        return list(base.transformer.layer)
    if config.model_type == "albert":
        each = config.num_hidden_layers / config.num_hidden_groups
        groups = [base.encoder.albert_layer_groups[int(i / each)] for i in range(config.num_hidden_layers)]
        return [layer for group in groups for layer in group.albert_layers]
    if config.model_type in WRITING:
        return list(base.block)
    if config.model_type == "xlnet":
        return list(base.layer)
    return list(base.layers if config.model_type in ("modernbert", *ROTATING) else base.encoder.layer)


def run_layer(base: Any, block: Any, x: Tensor, allowed: Tensor, types: Tensor | None = None) -> Tensor:
    """A layer of the model, its tokens standing side by side, under a mask: x [1, tokens, H], bool [tokens, tokens]."""
    if base.config.model_type == "xlnet":
        return run_xlnet_layer(base, block, x, allowed, types)
    kind, places = base.config.model_type, torch.arange(x.shape[1])
    given: dict[str, Any] = {}
    if kind == "modernbert":
        if block.attention_type == "sliding_attention":
            local: Any = create_bidirectional_sliding_window_mask(base.config, x, None)
            allowed = allowed if local is None else allowed & local[0, 0]
        given = {"position_embeddings": base.rotary_emb(x, places[None], block.attention_type)}
    if kind in ROTATING:
        given = {"position_embeddings": base.rotary_emb(x, places[None])}
    if kind in ("t5", "mt5"):
        given = {"position_bias": base.block[0].layer[0].SelfAttention.compute_bias(len(places), len(places))}
    if kind == "mpnet":
        given = {"position_bias": base.encoder.compute_position_bias(x)}
    mask = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)[None, None]
    if kind == "deberta-v2":
        mask = allowed[None, None]
        given = {"relative_pos": base.encoder.get_rel_pos(x), "rel_embeddings": base.encoder.get_rel_embedding()}
    out = block(x, attention_mask=mask, **given)
    after: Tensor = out[0] if isinstance(out, tuple) else out
    return after


def run_xlnet_layer(base: Any, block: Any, x: Tensor, allowed: Tensor, types: Tensor | None) -> Tensor:
    """The same, which takes tokens first; types [tokens]."""
    assert types is not None
    count = x.shape[1]
    segments = torch.nn.functional.one_hot((types[:, None] != types[None]).long(), 2)[:, :, None].float()
    mask = (~allowed).float()[:, :, None, None]
    distances = base.relative_positional_encoding(count, count, bsz=1)
    out: Tensor = block(x.transpose(0, 1), None, mask, None, distances, segments)[0]
    return out.transpose(0, 1)


def oracle(base: Any, plan: Plan, example: Sequence[Segment]) -> Tensor:
    """Last states [tokens of all roles, H] of one example, whatever budgets drop of them; see `oracle_kept`."""
    return oracle_kept(base, plan, example)[0]


def oracle_kept(base: Any, plan: Plan, example: Sequence[Segment]) -> tuple[Tensor, Tensor]:
    """Last states [tokens of all roles, H] of one example by `transformers` itself, layer by layer, under a 4-D mask;
    and which tokens budgets left, bool [tokens]; the states of others mean nothing.

    Written against the definition of a plan (DeFormer section 3, LAIT section 3, and for `frozen` the sentence in
    plait.plan), using nothing of the executor. Of selectors it knows `first` and `norm`.
    """
    owner = torch.cat([torch.full((len(s.ids),), i) for i, s in enumerate(example)])
    restart = torch.cat([torch.arange(len(s.ids)) for s in example])
    positions = torch.arange(len(owner)) if plan.positions == "continue" else restart + plan.offset * (owner > 0)
    given = inputs(base, example, positions)
    types = given["token_type_ids"][0] if "token_type_ids" in given else None
    x = embedded(base, **given)
    apart = owner[:, None] == owner[None, :]
    reader = owner == plan.roles.index(plan.reader)
    reads = apart if plan.mode != "joint" else torch.ones_like(apart)
    reads = reads | reader[:, None]
    at_join = x
    alive = torch.ones(len(owner), dtype=torch.bool)
    for number, block in enumerate(layers_of(base)):
        for budget in plan.keep:
            if (plan.join if budget.layer is None else budget.layer) == number:
                mine = owner == plan.roles.index(budget.role)
                alive = alive & ~(mine & ~_left(x[0], plan, mine, mine & alive, budget.tokens))
        if number == plan.join:
            at_join = x
        allowed = (apart if number < plan.join else reads) & (alive | torch.eye(len(owner), dtype=torch.bool))
        if plan.mode == "frozen" and number >= plan.join:
            x = torch.where(reader[:, None], x, at_join)
        x = run_layer(base, block, x, allowed, types)
    if base.config.model_type == "modernbert":
        x = base.final_norm(x)
    if base.config.model_type == "eurobert":
        x = base.norm(x)
    if base.config.model_type in WRITING:
        x = base.final_layer_norm(x)
    last: Tensor = x[0]
    return last, alive


def _left(x: Tensor, plan: Plan, mine: Tensor, alive: Tensor, tokens: float) -> Tensor:
    """Which of one role's living tokens a budget leaves."""
    places = alive.nonzero().flatten().tolist()
    if not places:
        return alive
    protected = [places[0], places[-1]][: 2 if plan.protect == "ends" else 1]
    wanted = max(len(set(protected)), int(tokens) if tokens >= 1 else math.ceil(tokens * int(mine.sum())))
    order = places if plan.selector == "first" else sorted(places, key=lambda i: -float(x[i].norm()))
    chosen = list(dict.fromkeys([*protected, *order]))[:wanted]
    return torch.zeros_like(alive).index_fill(0, torch.tensor(chosen), True)


def of_role(x: Tensor, example: Sequence[Segment], role: int) -> Tensor:
    """The rows of `oracle`'s result that belong to one role."""
    begin = sum(len(s.ids) for s in example[:role])
    return x[begin : begin + len(example[role].ids)]
