"""How what is new in a model begins before it is trained: as the first batches say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch

from plait.bottleneck import Bottleneck, bottleneck_key
from plait.compare import Compare
from plait.keep import named
from plait.lessons import Lesson
from plait.model import Plait
from plait.outputs import own
from plait.plan import Plan
from plait.tasks import Values
from plait.teacher import Teacher

BEGIN, MOST = 20_000, 100_000
"""How many states say how a new bottleneck begins, and of how many tokens they may be made: budgets leave few."""
VALUES = 512
"""How many values say how a new comparison begins."""


@torch.inference_mode()
def begin_bottlenecks(model: Plait, items: list[Lesson]) -> None:
    """Those that are new begin as the principal components of what the first batches put into them."""
    for plan in model.plans.values():
        narrow = plan.known if plan.compare == "none" else plan.roles
        there = {layer: _bottleneck(model, layer, width) for layer, width in plan.bottlenecks(model.layers)}
        new = {layer: bottleneck for layer, bottleneck in there.items() if not bottleneck.begun}
        for layer, states in _first_states(model, items, plan, narrow, list(new)).items():
            new[layer].begin(states)


def _first_states(
    model: Plait, items: list[Lesson], plan: Plan, roles: Sequence[str], layers: Sequence[int]
) -> dict[int, torch.Tensor]:
    """What a plan stores of the input states of layers, of the first batches' texts of these roles: [T, H] each."""
    found: dict[int, list[torch.Tensor]] = {layer: [] for layer in layers}
    tokens = 0
    for item in items if layers else ():
        for role in (role for role in roles if item.segments[role]):
            recipes = {layer: plan.recipe(role, layer) for layer in layers}
            names = {layer: named(f"states.{layer}", recipe) for layer, recipe in recipes.items()}
            states = model.own(item.segments[role], list(names.values()))
            for layer, name in names.items():
                found[layer].append(states.tensors[name][: states.rows(recipes[layer]).used])
            tokens += states.layout.used
        if tokens >= MOST or min(sum(map(len, some)) for some in found.values()) >= BEGIN:
            break
    return {layer: torch.cat(some) for layer, some in found.items()}


@torch.no_grad()
def begin_comparison(model: Plait, items: Sequence[Lesson], teacher: Teacher | None) -> None:
    """Where values are learned by a new `cosine` or `maxsim`, its scale and shift begin as they fit the values of the
    first batches, or a teacher's answers: at a model's learning rate a training hardly moves two such numbers.
    """
    head = model.heads["score"] if "score" in model.heads else None
    if not isinstance(head, Compare) or head.kind == "mlp" or head.begun:
        return
    cosines: list[torch.Tensor] = []
    values: list[torch.Tensor] = []
    for item in items:
        for target in (target for target in item.targets if isinstance(target, Values)):
            plan = model.plans["score"]
            cosines.append(head.cosines(plan, own(model, item, [plan]), target.examples.to(model.device)))
            wanted = target.values if teacher is None else teacher.outputs(item, [target])[0].logits.squeeze(-1)
            assert wanted is not None
            values.append(wanted)
        if sum(map(len, values)) >= VALUES:
            break
    if values:
        head.begin(torch.cat(cosines), torch.cat(values))


def _bottleneck(model: Plait, layer: int, width: int) -> Bottleneck:
    return cast(Bottleneck, model.bottlenecks[bottleneck_key(layer, width)])
