"""Joined layers of modes `oneway` and `frozen`: the reader reads itself and the others, who do not read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from plait.attention import Hidden, KeyValue
from plait.encoder.joined import Answer, Joined
from plait.encoder.layers import Layers
from plait.keep import named
from plait.layout import Layout
from plait.places import read_places
from plait.plan import Plan
from plait.states import States


def reading(
    layers: Layers,
    plan: Plan,
    states: Mapping[str, States],
    examples: Tensor,
    answer: Answer,
    trace: list[Tensor] | None,
) -> Joined:
    """Last states of the reader's tokens; see `Encoder.join`."""
    own, recipe = states[plan.reader], plan.recipe(plan.reader, plan.join)
    now, sizes = own.rows(recipe), own.sizes(recipe)
    layout, tokens = now.select(examples[:, plan.roles.index(plan.reader)])
    x = layers.input(plan, plan.reader, own, plan.join)
    # One query for all: its first upper layer is the same for all up to attention.
    shared = len(now.lengths) == 1
    count = now.used
    if not shared:
        x, now = x.index_select(0, tokens), layout
        sizes = None if sizes is None else sizes.index_select(0, tokens)
    others = [(r, states[r], *_chosen(plan, r, states[r], examples)) for r in plan.others()]
    places: Tensor | None = None
    other_places: list[Tensor | None] = [None] * len(others)
    if layers.relative:
        places, other_places = read_places(plan, states, examples, others, layers.family.segments)
    asked = places
    if places is not None:
        places = places.index_select(0, tokens)
        asked = asked if shared else places
    for layer in range(plan.join, layers.count):
        answered = layer == layers.count - 1 and answer == "first"
        sources = [_itself(layers, plan, layer, x, layout, tokens if shared else None, sizes)]
        sources += [_stored(layers, plan, layer, *other) for other in others]
        if layers.relative:
            sources = [_at(source, at) for source, at in zip(sources, (places, *other_places), strict=True)]
        if answered:
            tokens_of = layers.answering(now)
            # A reader's first token stands at 0.
            asked = (now.within if asked is None else asked)[tokens_of] if layers.family.shape.last else None
            x, now = x[tokens_of], now.only_one()
        context = layers.attended(layer, x, now, sources, asked)  # [T, A, D]
        if shared:
            now = layout.only_one() if answered else layout
            x, shared, asked = x[:count].repeat(len(layout.lengths), 1), False, places
            sizes = None if sizes is None else sizes.index_select(0, tokens)
            x = F.pad(x, (0, 0, 0, now.tokens - len(x)))
            context = F.pad(context, (0, 0, 0, 0, 0, now.tokens - len(context)))
        x = layers.family.merge(layer, x, context)
        if trace is not None:
            trace.append(x)
    return Joined(x, now)


def _itself(
    layers: Layers, plan: Plan, layer: int, x: Tensor, layout: Layout, rows: Tensor | None, sizes: Tensor | None
) -> KeyValue | Hidden:
    """What an upper layer reads of the reader itself, in the form in which it reads the others."""
    form = layers.family.hidden if plan.states == "hidden" else layers.family.key_value
    return replace(form(layer, x, layout), rows=rows, sizes=sizes)


def _stored(
    layers: Layers, plan: Plan, layer: int, role: str, states: States, layout: Layout, rows: Tensor | None
) -> KeyValue | Hidden:
    """What an upper layer reads of a role that does not read the reader."""
    source, recipe = plan.source(layer), plan.recipe(role, plan.join)
    sizes = states.sizes(recipe)
    if plan.states == "hidden":
        x = layers.input(plan, role, states, source)
        return replace(layers.family.hidden(layer, x, layout), rows=rows, sizes=sizes)
    names = [named(f"{kind}.{layer}@{source}", recipe) for kind in ("key", "value")]
    key, value = (layers.family.split(states.tensors[name]) for name in names)
    return KeyValue(layout, key, value, rows, sizes)


def _at(source: KeyValue | Hidden, places: Tensor | None) -> KeyValue | Hidden:
    return replace(source, places=places) if isinstance(source, KeyValue) else source


def _chosen(plan: Plan, role: str, states: States, examples: Tensor) -> tuple[Layout, Tensor | None]:
    """`layout.select`, without rows where each group is chosen once, in order."""
    layout, groups = states.rows(plan.recipe(role, plan.join)), examples[:, plan.roles.index(role)]
    if len(groups) == len(layout.lengths) and torch.equal(groups, torch.arange(len(groups), device=groups.device)):
        return layout, None
    return layout.select(groups)
