"""Examples that lack a role, such as claims with few evidence sentences."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from plait.plan import Plan
from plait.states import States


def with_nothing(plan: Plan, states: Mapping[str, States], examples: Tensor) -> tuple[Mapping[str, States], Tensor]:
    """The same with a segment without tokens behind those of each role that some example lacks, in place of -1."""
    if not (examples < 0).any():
        return states, examples
    whole = dict(states)
    for column, role in enumerate(plan.roles):
        if (examples[:, column] < 0).any():
            whole[role] = whole[role].with_nothing()
    ends = torch.tensor([len(states[role].layout.lengths) for role in plan.roles], device=examples.device)
    return whole, torch.where(examples < 0, ends, examples)
