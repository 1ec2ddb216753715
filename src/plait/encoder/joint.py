"""Joined layers of mode `joint`: all segments of an example read one another (DeFormer, LAIT)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from plait.attention import runs_of
from plait.encoder.joined import Answer, Joined
from plait.encoder.layers import Layers
from plait.places import begins
from plait.plan import Plan
from plait.states import States
from plait.thinning import Track, loses, thinned

TOKENS = 2048
"""Tokens joined at once on a CPU: batches that stay in a core's cache are faster than large ones."""


def runs(plan: Plan, states: Mapping[str, States], examples: Tensor, whole: bool) -> Sequence[slice]:
    """Neighbouring examples (int64 [B, roles]) that are joined at once; all of them if they are to stay `whole`."""
    if whole or torch.is_grad_enabled() or examples.device.type != "cpu":
        return [slice(None)]
    lengths = [states[role].rows(plan.recipe(role, plan.join)).lengths_tensor for role in plan.roles]
    tokens: list[int] = torch.stack([n[examples[:, i]] for i, n in enumerate(lengths)]).sum(0).tolist()
    return runs_of(tokens, TOKENS)


def joint(
    layers: Layers,
    plan: Plan,
    states: Mapping[str, States],
    examples: Tensor,
    answer: Answer,
    trace: list[Tensor] | None,
) -> Joined:
    """Last states of the reader's tokens, or of all; see `Encoder.join`."""
    parts = [layers.part(plan, role, states[role], examples[:, i]) for i, role in enumerate(plan.roles)]
    begin_at = begins(plan, states, examples, layers.family.segments) if layers.relative else None
    whole = Track.together(parts, begin_at)
    lengths = [states[role].layout.lengths_tensor[examples[:, i]].tolist() for i, role in enumerate(plan.roles)]
    steps = [{step.layer: step for step in plan.recipe(role) if step.layer > plan.join} for role in plan.roles]
    last = layers.count - 1
    for layer in range(plan.join, layers.count):
        if now := [(i, of_role[layer]) for i, of_role in enumerate(steps) if layer in of_role]:
            asks = plan.selector == "attention" and any(loses(s, lengths[i], parts[i].layout) for i, s in now)
            parts = whole.apart(parts, layers.received(layer - 1, whole) if asks else None)
            for i, step in now:
                parts[i] = thinned(parts[i], step, lengths[i])
            whole = Track.together(parts, begin_at)
        if layer == last and answer != "whole":
            break
        x = layers.run(layer, whole, layers.readable(layer, whole))
        whole = replace(whole, x=x, before=whole.x)
        if trace is not None:
            trace.append(x)
    if answer == "whole":
        return Joined(whole.x, whole.layout, None, parts)
    joined = _answered(layers, plan, whole, parts, answer)
    if trace is not None:
        trace.append(joined.states)
    return joined


def _answered(layers: Layers, plan: Plan, whole: Track, parts: list[Track], answer: Answer) -> Joined:
    """The last layer, of those tokens alone that are asked for."""
    position = plan.roles.index(plan.reader)
    reader, places, begin = parts[position].layout, parts[position].places, whole.layout.starts
    begin = begin + sum((part.layout.lengths_tensor for part in parts[:position]), torch.zeros_like(begin))
    if answer == "first":
        tokens = begin + layers.answering(reader) - reader.starts
        reader, places = reader.only_one(), None
    else:
        tokens = reader.at(begin)
    last = layers.count - 1
    x = layers.run(last, whole.of(tokens, reader, placed=layers.relative), layers.readable(last, whole))
    return Joined(x, reader, places)
