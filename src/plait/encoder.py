"""The executor: a plan's own layers and its joined layers. The thesis of the project on one page.

The same functions train, index and serve; there is no second implementation for inference, and no mask stands in
for the split: what a plan forbids is never computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from plait.attention import Hidden, KeyValue, attend
from plait.families.family import Family
from plait.layout import Layout
from plait.plan import Plan
from plait.text import Tokens

CACHE_TOKENS = 4096
"""Tokens computed at once: batches that stay in a core's cache are faster than large ones."""


@dataclass(frozen=True)
class States:
    """What segments of one role know by themselves: tensors by name (`states.4` [T, H], see Plan.needs), packed by
    layout.
    """

    layout: Layout
    tensors: Mapping[str, Tensor]


Answer = Literal["first", "all", "whole"]


class Encoder:
    """Runs a family's layers as plans say. Holds no weights."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.layers = family.shape.layers
        self._scale = family.shape.head_size**-0.5

    def own(self, tokens: Tokens, names: Sequence[str]) -> States:
        """Compute the named tensors of segments, each from its own tokens alone.

        Args:
            tokens: a packed batch of segments, all of one role.
            names: what is wanted, e.g. `plan.needs(role, layers)`.
        """
        wanted = {name: _parse(name) for name in names}
        deepest = max(source for _, _, source in wanted.values())
        layout = tokens.layout
        x = self.family.embed(tokens.ids, tokens.types, tokens.positions)  # [T, H]
        if torch.is_autocast_enabled(x.device.type):  # else the residual stream stays in float32, at twice the traffic
            x = x.to(torch.get_autocast_dtype(x.device.type))
        tensors: dict[str, Tensor] = {}
        for layer in range(deepest + 1):
            here = [(name, kind, reading) for name, (kind, reading, source) in wanted.items() if source == layer]
            readers = {reading for _, kind, reading in here if kind != "states"}
            readers |= {layer} if layer < deepest else set()
            readable = {reading: self.family.key_value(reading, x, layout) for reading in readers}
            for name, kind, reading in here:
                tensors[name] = x if kind == "states" else _half(readable[reading], kind)
            if layer < deepest:
                x = self._layer(layer, x, layout, readable[layer])
        return States(layout, tensors)

    def join(
        self,
        plan: Plan,
        states: Mapping[str, States],
        examples: Tensor,
        answer: Answer = "first",
        trace: list[Tensor] | None = None,
    ) -> tuple[Tensor, Layout]:
        """Run the layers from `plan.join` on and return the reader's last states.

        Args:
            plan: who reads whom.
            states: for every role, segments with the tensors that `plan.needs(role, layers)` names.
            examples: int64 [B, roles]; which segment of each role an example is made of, -1 for none (not of the
                reader). Segments may be shared.
            answer: compute the last layer for the `first` token of the reader only, for `all` of its tokens, or (joint)
                for the `whole` example, for heads that share one pass.
            trace: gets the states after every layer from `plan.join` on, of the tokens that go on through it.

        Returns:
            States [T, H] and their layout of B groups: one token each for `first`.
        """
        states, examples = with_nothing(plan, states, examples)
        if plan.join == self.layers:
            reader = states[plan.reader]
            layout, tokens = reader.layout.select(examples[:, plan.roles.index(plan.reader)])
            return _answer(reader.tensors[f"states.{plan.join}"][tokens], layout, answer)
        if plan.mode == "joint":
            return self._joint(plan, states, examples, answer, trace)
        return self._reading(plan, states, examples, answer, trace)

    def _joint(
        self, plan: Plan, states: Mapping[str, States], examples: Tensor, answer: Answer, trace: list[Tensor] | None
    ) -> tuple[Tensor, Layout]:
        """All segments of an example read one another."""
        name = f"states.{plan.join}"
        parts, layouts = [], []
        for column, role in enumerate(plan.roles):
            layout, tokens = states[role].layout.select(examples[:, column])
            parts.append(states[role].tensors[name].index_select(0, tokens))
            layouts.append(layout)
        whole, source = Layout.concat(layouts)
        x = torch.cat(parts).index_select(0, source)  # [T, H]
        for layer in range(plan.join, self.layers if answer == "whole" else self.layers - 1):
            x = self._layer(layer, x, whole, self.family.key_value(layer, x, whole))
            if trace is not None:
                trace.append(x)
        if answer == "whole":
            return x, whole
        position = plan.roles.index(plan.reader)
        reader = layouts[position]
        begin = whole.starts + sum((part.lengths_tensor for part in layouts[:position]), torch.zeros_like(whole.starts))
        if answer == "first":
            reader, tokens = reader.only_first(), begin
        else:
            tokens = reader.at(begin)
        readable = self.family.key_value(self.layers - 1, x, whole)
        x = self._layer(self.layers - 1, x.index_select(0, tokens), reader, readable)
        if trace is not None:
            trace.append(x)
        return x, reader

    def _reading(
        self, plan: Plan, states: Mapping[str, States], examples: Tensor, answer: Answer, trace: list[Tensor] | None
    ) -> tuple[Tensor, Layout]:
        """The reader reads itself and the others, who do not read it (`oneway`, `frozen`)."""
        own = states[plan.reader]
        layout, tokens = own.layout.select(examples[:, plan.roles.index(plan.reader)])
        x, now = own.tensors[f"states.{plan.join}"], own.layout
        # One query for all: its first upper layer is the same for all up to attention.
        shared = len(now.lengths) == 1
        if not shared:
            x, now = x.index_select(0, tokens), layout
        others = [(states[r], *_chosen(states[r].layout, examples[:, plan.roles.index(r)])) for r in plan.others()]
        for layer in range(plan.join, self.layers):
            answered = layer == self.layers - 1 and answer == "first"
            sources = [self._own(plan, layer, x, layout, tokens if shared else None)]
            sources += [self._stored(plan, layer, *other) for other in others]
            if answered:
                x, now = x[now.starts], now.only_first()
            context = attend(self.family.query(layer, x), now, sources, self._scale)  # [T, A, D]
            if shared:
                now = layout.only_first() if answered else layout
                x, shared = x[: own.layout.used].repeat(len(layout.lengths), 1), False
                x = F.pad(x, (0, 0, 0, now.tokens - len(x)))
                context = F.pad(context, (0, 0, 0, 0, 0, now.tokens - len(context)))
            x = self.family.merge(layer, x, context)
            if trace is not None:
                trace.append(x)
        return x, now

    def _own(self, plan: Plan, layer: int, x: Tensor, layout: Layout, rows: Tensor | None) -> KeyValue | Hidden:
        """What an upper layer reads of the reader itself, in the form in which it reads the others."""
        form = self.family.hidden if plan.states == "hidden" else self.family.key_value
        return replace(form(layer, x, layout), rows=rows)

    def _stored(self, plan: Plan, layer: int, states: States, layout: Layout, rows: Tensor | None) -> KeyValue | Hidden:
        """What an upper layer reads of a role that does not read the reader."""
        source = plan.source(layer)
        if plan.states == "hidden":
            return replace(self.family.hidden(layer, states.tensors[f"states.{source}"], layout), rows=rows)
        size = (-1, self.family.shape.heads, self.family.shape.head_size)
        key, value = (states.tensors[f"{kind}.{layer}@{source}"].view(size) for kind in ("key", "value"))
        return KeyValue(layout, key, value, rows)

    def _layer(self, layer: int, x: Tensor, layout: Layout, source: KeyValue) -> Tensor:
        context = attend(self.family.query(layer, x), layout, [source], self._scale)
        return self.family.merge(layer, x, context)


def with_nothing(plan: Plan, states: Mapping[str, States], examples: Tensor) -> tuple[Mapping[str, States], Tensor]:
    """The same with a segment without tokens behind those of each role that some example lacks, in place of -1."""
    if not (examples < 0).any():
        return states, examples
    whole = dict(states)
    for column, role in enumerate(plan.roles):
        layout = whole[role].layout
        if (examples[:, column] < 0).any():
            lengths = [*layout.lengths, 0]
            more = Layout(lengths, multiple=layout.multiple, tokens=layout.tokens, device=layout.device)
            whole[role] = States(more, whole[role].tensors)
    ends = torch.tensor([len(states[role].layout.lengths) for role in plan.roles], device=examples.device)
    return whole, torch.where(examples < 0, ends, examples)


def _chosen(layout: Layout, groups: Tensor) -> tuple[Layout, Tensor | None]:
    """`layout.select`, without rows where each group is chosen once, in order."""
    if len(groups) == len(layout.lengths) and torch.equal(groups, torch.arange(len(groups), device=groups.device)):
        return layout, None
    return layout.select(groups)


def _half(readable: KeyValue, kind: str) -> Tensor:
    return (readable.key if kind == "key" else readable.value).flatten(1)  # [T, H]


def _parse(name: str) -> tuple[str, int, int]:
    """`key.5@4` -> kind, the layer that reads, the layer whose input states are read; see Plan.needs."""
    kind, _, numbers = name.partition(".")
    layer, _, source = numbers.partition("@")
    return kind, int(layer), int(source or layer)


def _answer(x: Tensor, layout: Layout, answer: Answer) -> tuple[Tensor, Layout]:
    return (x[layout.starts], layout.only_first()) if answer == "first" else (x, layout)
