"""What a plan means for a model, as facts to print: who reads whom, what is stored, what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from plait.cost import BYTES, Shape, cost
from plait.errors import PlaitError
from plait.head_plans import HEADS, MODES, head_plans, require_meeting
from plait.plan import Plan
from plait.saved import Saved

JOIN = 4
"""Where a model without a plan is explained to join, one way, where nothing else is asked for."""
LIVE, KNOWN = 16, 154
"""Tokens of a live and of a known text, where nothing else is asked for."""


def explain(
    model: str, plan: str | None, lengths: str | None, passages: int, codec: str, head: str = "score"
) -> dict[str, Any]:
    """JSON-able facts; see `plait plan`. `bytes_per_token` is by known role. Reads the model's config only.

    Args:
        model: folder or hub id.
        plan: text form, of one head or of each; None for the one that the checkpoint has for this `head`.
        lengths: `query=16,passage=154`, tokens of every role; None for `usual_lengths`.
        passages: passages read with one query.
        codec: a name in plait.cost.BYTES.
    """
    from plait.checkpoint import load_config
    from plait.families import shape
    from plait.fitting import fit_shape

    if head not in HEADS:
        raise PlaitError(f"head must be one of {', '.join(HEADS)}, but is {head!r}")
    config = load_config(model)
    if config.is_encoder_decoder:
        head = "text"
    elif head == "text":
        raise PlaitError(f"a text head needs a decoder, but {model} has none; take score or span")
    own, sizes = Saved.of(config, model, (head,)).plans, shape(config)
    usual_plan = f"join={min(JOIN, sizes.layers - 1)}{',mode=oneway' if 'oneway' in MODES[head] else ''}"
    given = plan if plan is not None or own else usual_plan
    parsed = head_plans([head], given, own)[head]
    fit_shape(parsed, sizes)
    require_meeting(head, parsed, sizes.layers)
    tokens = usual_lengths(parsed, sizes) if lengths is None else _lengths(lengths, parsed, sizes)
    if codec not in BYTES:
        raise PlaitError(f"codec must be one of {', '.join(BYTES)}, but is {codec!r}")
    if passages < 1:
        raise PlaitError(f"passages must be 1 or more, but is {passages}; one query is read with at least one")
    counted = cost(parsed, sizes, tokens, passages, codec)
    return {
        "model": model,
        "plan": str(parsed),
        "layers": sizes.layers,
        "hidden": sizes.hidden,
        "roles": list(parsed.roles),
        "reads": reads(parsed, sizes.layers),
        "stored": {role: list(parsed.stored(role, sizes.layers)) for role in parsed.roles},
        "lengths": tokens,
        "passages": passages,
        "codec": codec,
        "bytes_per_token": dict(counted.bytes_per_token),
        "bytes_per_example": counted.bytes_per_example,
        "offline": counted.offline,
        "online": counted.online,
        "full": counted.full,
        "gain": counted.gain,
    }


def usual_lengths(plan: Plan, shape: Shape) -> dict[str, int]:
    """Tokens of every role, as many as the model can place; those of a plan that knows no text as of a known one."""
    known = plan.known or plan.roles
    return {role: min(KNOWN if role in known else LIVE, shape.positions) for role in plan.roles}


def unpractised(model: str, config: Any, plans: Mapping[str, Plan]) -> Iterator[str]:
    """What to say of plans that split texts otherwise than those that a checkpoint was saved with, by its config."""
    own = Saved.of(config, model, tuple(plans)).plans
    for head, plan in plans.items():
        had = own.get(head)
        same = had is not None and plan == replace(had, states=plan.states)  # what is stored changes no score
        if plan.join and plan.compare == "none" and not same:
            was = "reads both texts in all layers" if had is None else f"was saved with the plan {had}"
            yield (
                f"the {head} head of {model} {was}, but here has {plan}: unless it was trained for that too, it knows "
                "little; plait evaluate says how well it ranks, plait adopt and plait train teach it"
            )


def reads(plan: Plan, layers: int) -> list[dict[str, Any]]:
    """For each range of layers, what the tokens of each role read: rows of `layers` and one cell for each role."""
    rows = []
    if plan.join > 0:
        rows.append({"layers": f"0-{plan.join - 1}", "cells": ["itself"] * len(plan.roles)})
    if plan.join < layers:
        others = {role: [r for r in plan.roles if r != role] for role in plan.roles}
        cells = []
        for role in plan.roles:
            if plan.mode == "joint" or role == plan.reader:
                cells.append(" + ".join(["itself", *others[role]]))
            else:
                cells.append("itself" if plan.mode == "oneway" else f"nothing (stays at layer {plan.join})")
        rows.append({"layers": f"{plan.join}-{layers - 1}", "cells": cells})
    for role in plan.roles:
        for step in plan.recipe(role):
            cells = [f"keeps {step}".rpartition("@")[0] if r == role else "" for r in plan.roles]
            rows.append({"layers": f"before {step.layer}" if step.layer < layers else "after all", "cells": cells})
    if plan.compare != "none":
        rows.append({"layers": "score", "cells": [plan.compare if r == plan.reader else "" for r in plan.roles]})
    return rows


def _lengths(text: str, plan: Plan, shape: Shape) -> dict[str, int]:
    found: dict[str, int] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        role, _, value = part.partition("=")
        if role not in plan.roles or not value.isdecimal() or not 1 <= int(value) <= shape.positions:
            raise PlaitError(
                f"lengths are written role=tokens with roles {', '.join(plan.roles)} and 1 to {shape.positions} "
                f"tokens, but has {part!r}; e.g. {','.join(f'{role}=16' for role in plan.roles)}"
            )
        found[role] = int(value)
    for role in plan.roles:
        if role not in found:
            raise PlaitError(f"lengths must name every role, but {role!r} is missing in {text!r}; add {role}=100")
    return found
