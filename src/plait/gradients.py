"""What answers depend on: gradients of heads' logits with respect to tokens' states, and saliency from them."""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch

from plait.bottleneck import Bottleneck, bottleneck_key
from plait.errors import PlaitError
from plait.keep import SALIENT
from plait.lessons import Lesson
from plait.model import Plait
from plait.outputs import Asked, continued, outputs, runs_known
from plait.plan import Plan
from plait.saliency import Saliency
from plait.states import States
from plait.tasks import Target
from plait.text import Segment

GRADIENTS = 50_000
"""How many tokens say what a new saliency is."""
PORTIONS = 4
"""In how many parts the examples of a batch are asked: where a budget is what makes a training fit into memory, all of
them with all their tokens would not.
"""
LEAST = 1e-3
"""The least gradient that counts, of the mean in a segment."""


def begin_saliency(model: Plait, items: Sequence[Lesson], *, bfloat16: bool) -> None:
    """What is new begins, and stays, as what the answers to the first batches depend on: the logarithm of the norm of
    the gradient, with respect to each token's state, of the heads' logits, added with random signs, under plans that
    keep all tokens.

    Raises:
        PlaitError: no answer depends on the states before a layer.
    """
    new = {layer: saliency for layer, saliency in model.saliency.items() if not cast(Saliency, saliency).begun}
    found: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {layer: [] for layer in new}
    plans = {head: _whole(model, plan) for head, plan in model.plans.items()}
    coins = torch.Generator().manual_seed(0)
    with _tracked(model), torch.autocast(model.device.type, torch.bfloat16, enabled=bfloat16):
        for item in items:
            if all(sum(len(x) for x, _ in some) >= GRADIENTS for some in found.values()):
                break
            for target in item.targets:
                for layer, states, x, norms in _norms(model, item, target, plans, new, coins):
                    found[layer] += _within(states, x, norms)
    for layer, some in found.items():
        if not some:
            raise PlaitError(
                f"saliency is fitted to how answers change with the states before layer {layer}, but no answer in the "
                "data does; take selector=coreset"
            )
        cast(Saliency, new[layer]).begin(*(torch.cat(column) for column in zip(*some, strict=True)))


@contextlib.contextmanager
def _tracked(model: Plait) -> Iterator[None]:
    """Gradients reach the states of every layer, the embeddings too where their table is not to be trained."""
    table = cast(Any, model.base).get_input_embeddings().weight
    before = table.requires_grad
    table.requires_grad_(True)
    try:
        yield
    finally:
        table.requires_grad_(before)


def _norms(
    model: Plait,
    item: Lesson,
    target: Target,
    plans: Mapping[str, Plan],
    new: Container[str],
    coins: torch.Generator,
) -> Iterator[tuple[str, States, torch.Tensor, torch.Tensor]]:
    """For each layer that is new and role that is chosen there: the states before it [T, H], and the gradients' norms
    [T].
    """
    plan = model.plans[target.head]
    steps = [(role, step) for role in plan.roles for step in plan.recipe(role) if step.selector in SALIENT]
    places = [(str(step.layer), role) for role, step in steps if str(step.layer) in new]
    if runs_known(plan):
        target, _ = target.thinned(1.0, coins)
    if not places or not len(target.examples):
        return
    whole = plans[target.head]
    for rows in torch.arange(len(target.examples)).split(-(-len(target.examples) // PORTIONS)):
        examples, written = target.examples[rows], None if target.written is None else target.written[rows]
        if plan.positions == "continue":
            states, [examples] = continued(model, item, [examples], [whole])
        else:
            more = [f"states.{layer}" for layer, _ in places]
            segments, examples = _portion(item, examples)
            names = {role: sorted({*whole.needs(role, model.layers), *more}) for role in segments}
            states = {role: model.own(some, names[role]) for role, some in segments.items()}
        said = outputs(model, plans, states, [Asked(target.head, examples, written)])[0].logits
        signs = torch.randint(2, said.shape, generator=coins).mul_(2).sub_(1).to(said)
        inputs = [states[role].tensors[f"states.{layer}"] for layer, role in places]
        gradients = torch.autograd.grad((said * signs).sum(), inputs)
        for (layer, role), x, gradient in zip(places, inputs, gradients, strict=True):
            yield layer, states[role], x.detach().float(), gradient.float().norm(dim=1)


def _portion(item: Lesson, examples: torch.Tensor) -> tuple[dict[str, list[Segment]], torch.Tensor]:
    """The segments of a lesson that some of its examples need, and these examples of them."""
    segments, columns = {}, []
    for column, (role, some) in zip(examples.T, item.segments.items(), strict=True):
        used, places = torch.unique(column, return_inverse=True)
        absent = int((used < 0).sum())  # stands first
        segments[role] = [some[number] for number in used[absent:].tolist()] or [some[0]]
        columns.append(places - absent)
    return segments, torch.stack(columns, 1)


def _whole(model: Plait, plan: Plan) -> Plan:
    """The plan without budgets, and without bottlenecks that are new and still lose most."""
    narrow = [model.bottlenecks[bottleneck_key(*place)] for place in plan.bottlenecks(model.layers)]
    new = not all(cast(Bottleneck, one).begun for one in narrow)
    return replace(plan, keep=(), bottleneck=0 if new and plan.compare == "none" else plan.bottleneck)


def _within(states: States, x: torch.Tensor, norms: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """States and logarithms of norms of each segment's tokens but the first, less their means."""
    found = []
    for begin, length in zip(states.layout.starts.tolist(), states.layout.lengths, strict=True):
        some, own = norms[begin + 1 : begin + length], x[begin + 1 : begin + length]
        if len(some) > 1 and some.mean() > 0:
            wanted = some.clamp(min=LEAST * float(some.mean())).log()
            found.append((own - own.mean(0), wanted - wanted.mean()))
    return found
