"""Where the tokens of a plan's roles stand in their examples, for families whose attention minds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from plait.errors import PlaitError
from plait.layout import Layout
from plait.plan import Plan
from plait.relation import SEGMENT
from plait.states import States

Read = tuple[str, States, Layout, Tensor | None]
"""A role that is read: its states, the layout of those chosen, and which rows these are (None: all, in order)."""


def begins(plan: Plan, states: Mapping[str, States], examples: Tensor, segments: bool) -> list[Tensor]:
    """Where the segment of each role begins in the tokens of its example, before any budget: int64 [B] each. All roles
    but the first are SEGMENT further where `segments` are minded.
    """
    lengths = [states[role].layout.lengths_tensor[examples[:, i]] for i, role in enumerate(plan.roles)]
    found = [torch.zeros_like(lengths[0])]
    for length in lengths[:-1]:
        found.append(found[-1] + length)
    return [found[0], *(begin + SEGMENT * segments for begin in found[1:])]


def stand_at(
    plan: Plan, role: str, places: Tensor | None, layout: Layout, lengths: Tensor, segments: bool
) -> Tensor | None:
    """Places within segments of a role, int64 [T]; None where they are in order. Where `segments` are minded, the
    classification token that ends the last role is one of its own.

    Args:
        places: which token of its segment each is; None for all of them.
        layout: of these tokens; lengths: of their segments before any budget, int64 [G].
    """
    if not segments:
        return places
    places = layout.within if places is None else places
    return places + SEGMENT * (places == layout.spread(lengths - 1)) if role == plan.roles[-1] else places


def read_places(
    plan: Plan, states: Mapping[str, States], examples: Tensor, others: Sequence[Read], segments: bool
) -> tuple[Tensor | None, list[Tensor | None]]:
    """Where tokens stand, counted from the reader's first one: those of the reader's rows (None where that is in
    order), which are the same in all examples, and those of each other role in every example.
    """
    begin = dict(zip(plan.roles, begins(plan, states, examples, segments), strict=True))
    reader, recipe = states[plan.reader], plan.recipe(plan.reader, plan.join)
    own = stand_at(
        plan, plan.reader, reader.places(recipe), reader.rows(recipe), reader.layout.lengths_tensor, segments
    )
    found: list[Tensor | None] = []
    for role, of, chosen, numbers in others:
        places = of.places(plan.recipe(role, plan.join))
        places = chosen.within if places is None else places if numbers is None else places[numbers]
        lengths = of.layout.lengths_tensor[examples[:, plan.roles.index(role)]]
        stand = stand_at(plan, role, places, chosen, lengths, segments)
        found.append((places if stand is None else stand) + chosen.spread(begin[role] - begin[plan.reader]))
    return own, found


def last_reads(plan: Plan, examples: Tensor) -> Plan:
    """The plan of a score that is read from the last token of an example, which is its last role's.

    Raises:
        PlaitError: an example lacks that role, or the plan cannot be (see `require_last`).
    """
    require_last(plan)
    role = plan.roles[-1]
    if (examples[:, -1] < 0).any():
        raise PlaitError(f"the {role} ends with the token that a score is read from, but an example lacks it; give it")
    return replace(plan, reader=role)


def require_last(plan: Plan) -> None:
    """Refuse a plan whose last token cannot give a score: it reads nobody, or a budget may drop it."""
    role = plan.roles[-1]
    if plan.reader != role and plan.mode != "joint":
        raise PlaitError(
            f"this model reads a score from its last token, so that under mode={plan.mode} the reader must be the last "
            f"role, but the roles are {', '.join(plan.roles)} and the reader is {plan.reader}; give "
            f"roles={'+'.join((*plan.others(), plan.reader))},reader={plan.reader},known={'+'.join(plan.known)}"
        )
    if plan.recipe(role) and plan.protect != "ends":
        raise PlaitError(
            f"this model reads a score from the last token of the {role}, so that a budget must leave it, but protect "
            f"is {plan.protect}; add protect=ends"
        )
