"""A checkpoint made to fit the plans that it is given: the heads, bottlenecks and saliency that they need."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from plait.bottleneck import Bottleneck, bottleneck_key
from plait.checkpoint import Checkpoint
from plait.compare import Compare
from plait.cost import Shape
from plait.errors import PlaitError
from plait.families import adapter, shape
from plait.families.family import Family
from plait.head_plans import compared, head_plans, require_heads
from plait.hub import HubOptions
from plait.keep import MERGING
from plait.passages import SHORTEST
from plait.places import require_last
from plait.plan import VECTORS, Plan, Positions
from plait.saliency import Saliency
from plait.sbert import activation, pooling

APART = 64
"""Where the texts behind the first begin to count positions in a new full pair model, if nobody says otherwise."""


def fitted(
    parts: Checkpoint,
    name: str | os.PathLike[str],
    plan: str | Plan | Mapping[str, str | Plan] | None,
    *,
    heads: Sequence[str],
    new_heads: Sequence[str],
    where: HubOptions,
) -> Checkpoint:
    """A checkpoint with the plans that it is given, and with all that these need; `Plait.from_pretrained` says how.

    Args:
        parts: as it was loaded; changed in place.
        name: folder or hub id, `where` to find it: what sentence-transformers wrote beside it is read.
        heads, new_heads: which were to be loaded, and which of them may start untrained.
    """
    how = compared(plan)
    scores = "score" in parts.heads or ("score" in heads and how != "none")
    there = [*(["score"] if scores else []), *(head for head in parts.heads if head != "score")]
    require_heads(plan, heads, there)
    pool = pooling(name, where) if how in VECTORS else ""
    if "score" in parts.heads and (named := activation(name, where)):
        parts.config.sentence_transformers = {"activation_fn": named}
    begin = begins(parts, new_heads) if new_heads else 0
    parts.plans = head_plans(there, plan, parts.plans, begin, pool)
    fit_score(parts, new="score" in new_heads)
    fit_bottlenecks(parts, new=bool(new_heads))
    fit_saliency(parts, new=bool(new_heads))
    return parts


def begins(parts: Checkpoint, new_heads: Sequence[str]) -> Positions:
    """Where the texts behind the first begin to count positions in a full pair model that is to be trained: as they did
    where its score head was trained before. Else at `APART`, for an encoder with a table of learned positions that
    leaves most of it to them, or at 0.

    An encoder was pretrained on two texts one behind the other. If both begin at 0, its heads that look for neighbours
    find those of the other text too, and must unlearn it: docs/positions.md has what that costs.
    """
    if parts.trained and list(new_heads) == ["score"]:
        return "continue"
    family = adapter(parts.base)
    return APART if family.position_table() is not None and family.shape.positions >= 4 * APART else 0


def fit_shape(plan: Plan, shape: Shape) -> None:
    """Refuse a plan that does not fit an encoder of this shape."""
    plan.check(shape.layers)
    if plan.offset > shape.positions - SHORTEST:
        raise PlaitError(
            f"positions must leave {SHORTEST} of the {shape.positions} that this model has to the texts that begin "
            f"there, but is {plan.offset}; give a smaller number"
        )
    if plan.bottleneck > shape.hidden:
        raise PlaitError(
            f"a bottleneck must be no wider than the states of {shape.hidden} numbers that it stores, but is "
            f"{plan.bottleneck}; give a smaller number"
        )


def fit_plan(head: str, plan: Plan, family: Family, model_type: str) -> None:
    """Refuse a plan that does not fit an encoder or that a head of it cannot have."""
    fit_shape(plan, family.shape)
    if plan.offset and family.position_table() is None:
        raise PlaitError(
            f"positions={plan.offset} needs a table of learned positions, but {model_type} knows only how far apart "
            "tokens are; use positions=restart"
        )
    if head == "score" and family.shape.last and plan.compare == "none":
        require_last(plan)
    all_alike = head == "text" or (head == "score" and family.shape.reads_all and plan.compare == "none")
    averaged = plan.roles if head == "text" or plan.mode == "joint" else (plan.reader,)
    if all_alike and plan.selector in MERGING and any(budget.role in averaged for budget in plan.keep):
        raise PlaitError(
            "where an answer is read from all tokens alike, those that stand for several would count once, but the "
            f"plan of the {head} head merges by {plan.selector}; take one that drops, such as coreset"
        )


def in_common(plans: Mapping[str, Plan]) -> tuple[tuple[str, ...], int]:
    """What the heads of a model have in common: the roles, and the position at which all but the first begin."""
    first = next(iter(plans.values()), Plan())
    for head, plan in plans.items():
        if plan.roles != first.roles:
            raise PlaitError(
                f"the heads of a model must read the same roles, but one reads {', '.join(first.roles)} and {head} "
                f"{', '.join(plan.roles)}; give both a plan with the same roles"
            )
        if plan.offset != first.offset:
            raise PlaitError(
                f"the heads of a model must count positions alike, but one has positions={first.positions} and {head} "
                f"positions={plan.positions}; give both plans the same"
            )
    return first.roles, first.offset


def fit_score(checkpoint: Checkpoint, *, new: bool) -> None:
    """Give a checkpoint whose score plan is a dual encoder's the head that compares; see plait.compare.

    Args:
        new: whether a head with weights to be learned may start at random.

    Raises:
        PlaitError: its score head is another one, or one that is not there and would need training.
    """
    plan, head = checkpoint.plans.get("score"), checkpoint.heads.get("score")
    if plan is None:
        return
    there = head.kind if isinstance(head, Compare) else "none"
    config = checkpoint.config
    width = plan.bottleneck or config.hidden_size
    if plan.compare == there and (not isinstance(head, Compare) or head.width in (0, width)):
        return
    if plan.compare == "none" or (plan.compare == "mlp" and not new):
        was = f"{there} of {head.width} numbers" if isinstance(head, Compare) and head.width else there
        raise PlaitError(
            f"the plan of the score head must have compare={was}, as the checkpoint was trained, but has compare="
            f"{plan.compare} of {width}; leave the plan out, or train a checkpoint with this one"
        )
    if "text" in checkpoint.heads:
        raise PlaitError(f"a dual encoder is made of an encoder, but this checkpoint has a decoder; leave out {plan}")
    if head is None and plan.compare != "mlp":
        config.num_labels = 1  # an encoder's config says 2 though nothing of it has labels
    checkpoint.heads["score"] = Compare(plan.compare, width, config.num_labels).to(checkpoint.base.dtype)
    checkpoint.base.pooler = None


def fit_bottlenecks(checkpoint: Checkpoint, *, new: bool) -> None:
    """Give a checkpoint the bottlenecks that its plans name.

    Args:
        new: whether those that it lacks may start untrained.

    Raises:
        PlaitError: it lacks one.
    """
    config = checkpoint.config
    for plan in checkpoint.plans.values():
        for layer, width in plan.bottlenecks(shape(config).layers):
            if bottleneck_key(layer, width) in checkpoint.bottlenecks:
                continue
            if not new:
                there = ", ".join(checkpoint.bottlenecks) or "none"
                raise PlaitError(
                    f"a plan's bottlenecks must have been trained with the checkpoint, but it has none of {width} at "
                    f"layer {layer} (it has layer/width: {there}); train one with this plan, or leave bottleneck out"
                )
            narrow = Bottleneck(config.hidden_size, width).to(checkpoint.base.dtype)
            checkpoint.bottlenecks[bottleneck_key(layer, width)] = narrow


def fit_saliency(checkpoint: Checkpoint, *, new: bool) -> None:
    """Give a checkpoint the saliency that its plans choose by.

    Args:
        new: whether what it lacks may start unfitted.

    Raises:
        PlaitError: it lacks some, or it would be fitted to a head that is new itself.
    """
    for head, plan in checkpoint.plans.items():
        for layer in sorted(plan.salient() - {*checkpoint.saliency}) if new else ():
            if head == "score" and _untrained(checkpoint):
                raise PlaitError(
                    f"selector={plan.selector} keeps what the answers of a trained model depend on, but the score head "
                    "of this one is new; train it with all tokens first, and go on from there"
                )
            fresh = Saliency(checkpoint.config.hidden_size).to(checkpoint.base.dtype)
            checkpoint.saliency[layer] = fresh
        require_saliency(plan, checkpoint.saliency)


def _untrained(checkpoint: Checkpoint) -> bool:
    """Whether the score head has weights, and these are random."""
    head = checkpoint.heads["score"]
    return head.kind == "mlp" and not head.begun if isinstance(head, Compare) else not checkpoint.trained


def require_saliency(plan: Plan, saliency: Iterable[str]) -> None:
    """Refuse a plan that chooses by a saliency other than that of these layers."""
    if missing := plan.salient() - {*saliency}:
        raise PlaitError(
            f"selector={plan.selector} needs a saliency that was fitted before a training, but the checkpoint has none "
            f"at layer {min(missing, key=int)} (it has: {', '.join(saliency) or 'none'}); train one with this plan, or "
            "take selector=coreset"
        )
