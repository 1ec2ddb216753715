"""The plan of every head: what a head can have, and what one is given that is not said."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import get_args

from plait.errors import FallbackWarning, PlaitError
from plait.plan import FULL, VECTORS, Mode, Plan, Positions
from plait.plan_text import fields_of

HEADS = ("score", "span", "text")
"""`score`: sequence classification, read from the reader's first token (or the mean of all). `span`: question
answering, from all its tokens. `text`: a decoder that writes, from all tokens of the example; see plait.writer.
"""
MODES: Mapping[str, tuple[Mode, ...]] = {"score": get_args(Mode), "span": ("joint",), "text": ("joint",)}
"""The modes that a head can have: in others the tokens that span and text heads read never read the live text."""


def turned(plan: Plan) -> bool:
    """Whether of two texts the first is the known one, so that a query is the second."""
    return len(plan.roles) == 2 and plan.known == plan.roles[:1]


def require_query_first(task: str, plans: Iterable[Plan]) -> None:
    """Refuse a `rank` task, whose examples are a query and a passage, under plans by which the second is the query."""
    if task == "rank" and (wrong := next(filter(turned, plans), None)):
        raise PlaitError(
            f"a rank task needs the query's role first and the passage known, but the plan is {wrong}; leave roles, "
            "known and reader out"
        )


def deepest(head: str, layers: int) -> int:
    """The last join at which a head still reads all texts; a decoder reads those that never met."""
    return layers if head == "text" else layers - 1


def mode_of(head: str, plan: Plan, mode: str) -> Mode:
    """A mode, where this plan of a head can have it; else `joint`."""
    return next((m for m in MODES[head] if m == mode and plan.reader not in plan.known), "joint")


def head_plans(
    heads: Sequence[str],
    plan: str | Plan | Mapping[str, str | Plan] | None,
    saved: Mapping[str, Plan],
    begin: Positions = 0,
    pool: str = "",
) -> dict[str, Plan]:
    """The plan of every head: the given one, else the saved one, else the full pair model.

    Plans in text form need not say where positions begin: where the saved ones do, for the model was trained so, else
    at `begin`, if all texts meet at once. Nor need they say by which `pool` a text becomes the one vector that they
    compare, nor the roles of a model that was saved with others than usual.

    One plan given for all heads is the span head's as far as that can have it: it reads the passage's tokens, all of
    them whatever the budget, and `joint`; what is `oneway`, `frozen` or compared leaves it the saved plan, if there is
    one that fits. A FallbackWarning says so.
    """
    given = _given(plan)
    shared = isinstance(given, str | Plan) and len(heads) > 1
    by_head = dict.fromkeys(heads, given) if isinstance(given, str | Plan) else given
    said = {head: _said(one, saved.get(head)) for head, one in by_head.items()}
    found = {head: Plan.from_dict(fields) for head, fields in said.items()}
    trained = [one.offset for one in saved.values() if one.positions != "continue"]
    if trained:
        begin = trained[0]
    elif any("positions" in fields for fields in said.values()) or any(
        p.join or not p.others() for p in found.values()
    ):
        begin = 0
    pool = next((one.pool for one in saved.values() if one.compare in VECTORS), pool)
    for head, one in found.items():
        positions = begin if begin and "positions" not in said[head] else one.positions
        pooled = pool if pool and one.compare in VECTORS and "pool" not in said[head] else one.pool
        found[head] = replace(one, positions=positions, pool=pooled)  # type: ignore[arg-type]
    if shared and "span" in found:
        found["span"] = _shared(found["span"], saved.get("span"))
    found = {head: _for_head(head, one) for head, one in found.items()}
    return {head: found.get(head) or saved.get(head) or _for_head(head, FULL) for head in heads}


def require_heads(
    plan: str | Plan | Mapping[str, str | Plan] | None, wanted: Sequence[str], there: Sequence[str]
) -> None:
    """PlaitError if a plan is given for a head that was wanted and that the checkpoint lacks."""
    given = _given(plan)
    missing = [] if isinstance(given, str | Plan) else [h for h in given if h in wanted and h not in there]
    if missing:
        raise PlaitError(
            f"plans are for heads that the checkpoint has ({', '.join(there) or 'none'}), but one is for "
            f"{missing[0]!r}; leave it out, or train that head first"
        )


def _given(plan: str | Plan | Mapping[str, str | Plan] | None) -> str | Plan | Mapping[str, str | Plan]:
    """The one plan for all heads, or those of some by name."""
    given = _each(plan) if isinstance(plan, str) and ":" in plan and not plan.lstrip().startswith("{") else plan
    if isinstance(given, str | Plan):
        return given
    given = given or {}
    if not isinstance(given, Mapping) or not all(isinstance(one, str | Plan) for one in given.values()):
        raise PlaitError(
            f"a plan must be a text, a Plan, or one of these for each head by name, but is {plan!r:.60}; e.g. 'join=4'"
        )
    if unknown := [head for head in given if head not in HEADS]:
        raise PlaitError(
            f"plans are given for the heads {', '.join(HEADS)}, but one is for {unknown[0]!r}; leave it out"
        )
    return given


def _said(plan: str | Plan, saved: Plan | None) -> Mapping[str, object]:
    """The fields that a plan says, and the unusual roles that a text form need not say."""
    if isinstance(plan, Plan):
        return plan.to_dict()
    fields = fields_of(plan)
    if saved is None or saved.roles == FULL.roles or "roles" in fields:
        return fields
    return {"roles": saved.roles, "known": saved.known, "reader": saved.reader, **fields}


def _shared(plan: Plan, saved: Plan | None) -> Plan:
    """What the span head has of a plan that is given for all heads."""
    if plan.mode == "joint" and plan.compare == "none":
        fewer = tuple(budget for budget in plan.keep if budget.role != _for_head("span", plan).reader)
        if fewer != plan.keep:
            _say(f"reads all tokens, whatever the budget in {plan}")
        return replace(plan, keep=fewer)
    fits = saved is not None and saved.positions == plan.own_positions and saved.roles == plan.roles
    if saved is not None and fits:
        _say(f"keeps its plan, {saved}, for it cannot have {plan}")
        return saved
    if plan.compare != "none":
        return plan  # which is refused
    found = _shared(replace(plan, mode="joint", states="hidden"), None)
    _say(f"has {_for_head('span', found)}, for it cannot have {plan}")
    return found


def _say(how: str) -> None:
    warnings.warn(
        f"the span head {how}; give each head a plan of its own, 'score: …; span: …', for another",
        FallbackWarning,
        stacklevel=6,
    )


def compared(plan: str | Plan | Mapping[str, str | Plan] | None) -> str:
    """How a given plan makes the score head a dual encoder's, which a checkpoint without a head can have; or `none`."""
    try:
        return head_plans(["score"], plan, {})["score"].compare if plan is not None else "none"
    except PlaitError:  # said with the checkpoint's own heads
        return "none"


def _each(text: str) -> dict[str, str]:
    """`score: join=4; span: join=3` by head."""
    plans: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in text.split(";"))):
        head, colon, plan = (p.strip() for p in part.partition(":"))
        if not colon or head in plans:
            raise PlaitError(
                f"plans are written 'score: join=4,mode=oneway; span: join=3', each head once, but {part!r} "
                f"{'names its head again' if colon else 'names no head'} in {text!r}"
            )
        plans[head] = plan
    return plans


def _for_head(head: str, plan: Plan) -> Plan:
    if head == "span" and plan.compare != "none":
        raise PlaitError(
            f"the span head reads answers from tokens that read both texts, but its plan has compare={plan.compare}; "
            f"give every head a plan of its own, e.g. 'score: {plan}; span: join=3'"
        )
    if head == "span" and plan.mode not in MODES[head]:
        raise PlaitError(
            f"the span head reads its answer from the passage's tokens and needs mode=joint, but its plan has mode="
            f"{plan.mode}; give every head a plan of its own, e.g. 'score: {plan}; span: join={plan.join}'"
        )
    if head == "text" and (plan.mode not in MODES[head] or plan.compare != "none"):
        raise PlaitError(
            f"the text head writes from all tokens of an example and needs mode=joint and compare=none, but its plan "
            f"is {plan}; give join={plan.join}"
        )
    if head == "span" and plan.reader not in plan.known and len(plan.roles) > 1:
        return replace(plan, reader=plan.known[0] if plan.known else plan.roles[1])
    return plan


def require_meeting(head: str, plan: Plan, layers: int) -> None:
    """Refuse to answer by a head that reads its reader alone; a text head reads all, wherever these met."""
    last = deepest(head, layers)
    if plan.join > last and len(plan.roles) > 1 and plan.compare == "none":
        if layers == 0:
            raise PlaitError(
                f"a model without layers compares vectors, but its plan is {plan}; add compare=cosine or mlp"
            )
        raise PlaitError(
            f"the {head} head must read all texts, so that join must be below {layers} (the layers of this model), but "
            f"is {plan.join}; pass join={last} or less, for a dual encoder compare=cosine, mlp or maxsim, or use "
            "encode for the states alone"
        )


def require_separator(plan: Plan) -> None:
    """Refuse a span plan that may drop the last token, by which a model says that there is no answer."""
    if plan.recipe(plan.reader) and plan.protect != "ends":
        raise PlaitError(
            f"this model says by the last token of the {plan.reader} that there is no answer, so that a budget must "
            f"leave it, but protect is {plan.protect}; add protect=ends to the span head's plan"
        )
