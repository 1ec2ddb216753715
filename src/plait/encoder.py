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

from plait.attention import Hidden, KeyValue, Sources, attend, received, runs_of
from plait.bottleneck import Bottleneck, bottleneck_key
from plait.families.family import Family
from plait.keep import EXACT, SCORED, Recipe, named, until
from plait.layout import Layout
from plait.places import begins, last_reads, read_places, stand_at
from plait.plan import Plan
from plait.relation import SEGMENT, Where
from plait.saliency import Saliency
from plait.states import Name, States
from plait.text import Tokens
from plait.thinning import Track, loses, thinned

CACHE_TOKENS = 4096
"""Tokens computed at once: batches that stay in a core's cache are faster than large ones."""
JOINED_TOKENS = 2048
"""The same in layers that join all tokens of an example, on a CPU."""

Answer = Literal["first", "mean", "all", "whole"]


@dataclass(frozen=True)
class Joined:
    """The last states [T, H] of B groups.

    Attributes:
        layout: one token a group for the answers `first` and `mean`, the reader's for `all`, the example's for `whole`.
        places: for `all`, which token of the reader's segment each is, int64 [T]; None where it is all of them.
        parts: for `whole`, the tokens of each role within each group, in order.
    """

    states: Tensor
    layout: Layout
    places: Tensor | None = None
    parts: Sequence[Track] = ()

    @staticmethod
    def behind(runs: Sequence[Joined]) -> Joined:
        """The groups of several, one after the other."""
        if len(runs) == 1:
            return runs[0]
        whole = Track.behind([Track(run.states, run.layout, None, run.places) for run in runs])
        parts = [Track.behind(tracks) for tracks in zip(*(run.parts for run in runs), strict=True)]
        return Joined(whole.x, whole.layout, whole.places, parts)

    def in_segments(self) -> Joined:
        """The same with places within segments alone; see SEGMENT."""
        places = None if self.places is None else self.places % SEGMENT
        parts = [part if part.places is None else replace(part, places=part.places % SEGMENT) for part in self.parts]
        return replace(self, places=places, parts=parts)


class Encoder:
    """Runs a family's layers as plans say. Holds no weights; `bottlenecks` and `saliency` are the model's."""

    def __init__(
        self,
        family: Family,
        bottlenecks: Mapping[str, Bottleneck] | None = None,
        saliency: Mapping[str, Saliency] | None = None,
    ) -> None:
        self.family = family
        self._bottlenecks, self._saliency = bottlenecks or {}, saliency or {}
        self.layers = family.shape.layers
        self._relations = [family.relation(layer) for layer in range(self.layers)]
        self._relative = any(relation is not None for relation in self._relations)

    def own(self, tokens: Tokens, names: Sequence[str]) -> States:
        """Compute the named tensors of segments, each from its own tokens alone.

        Args:
            tokens: a packed batch of segments, all of one role.
            names: what is wanted, e.g. `plan.needs(role, layers)`.
        """
        wanted = {name: Name.parse(name) for name in names}
        deepest = max(name.source for name in wanted.values())
        layout = tokens.layout
        x = self.family.embed(tokens.ids, tokens.types, tokens.positions)  # [T, H]
        if torch.is_autocast_enabled(x.device.type):  # else the residual stream stays in float32, at twice the traffic
            x = x.to(torch.get_autocast_dtype(x.device.type))
        places = None
        if self.family.segments:
            places = layout.within + SEGMENT * (
                tokens.types - layout.spread(tokens.types[layout.starts.clamp(max=layout.tokens - 1)])
            )
        tracks: dict[Recipe, Track] = {(): Track(x, layout, None, places)}
        tensors: dict[str, Tensor] = {}
        for layer in range(deepest + 1):
            alive = [(name, what) for name, what in wanted.items() if what.source >= layer]
            before = tracks
            if layer == self.layers:  # what is thinned or pooled there has gone through the norm behind the last layer
                before = {recipe: replace(track, x=self.family.finish(track.x)) for recipe, track in before.items()}
            tracks = {}
            for recipe in dict.fromkeys(until(what.recipe, layer) for _, what in alive):
                track = before.get(recipe) or self._thinned(before[recipe[:-1]], recipe, layout)
                mine = [(name, what) for name, what in alive if until(what.recipe, layer) == recipe]
                tracks[recipe] = self._own_layer(layer, track, mine, tensors)
        return States(layout, tensors)

    def _own_layer(
        self, layer: int, track: Track, wanted: Sequence[tuple[str, Name]], tensors: dict[str, Tensor]
    ) -> Track:
        """Fill in what is wanted of a layer's input, and run the layer if a deeper one is wanted."""
        here = [(name, what) for name, what in wanted if what.source == layer]
        deeper = len(here) < len(wanted)
        readers = {what.reading for _, what in here if what.kind in ("key", "value")} | ({layer} if deeper else set())
        readable = {reading: self._readable(reading, track) for reading in readers}
        for name, what in here:
            if what.kind in ("key", "value"):
                tensors[name] = _half(readable[what.reading], what.kind)
            elif what.kind in EXACT:
                tensors[name] = track.numbers(what.kind)
            else:
                tensors[name] = self._narrow(what, track.x)
        if not deeper:
            return track
        return replace(track, x=self._layer(layer, track, readable[layer]), before=track.x)

    def join(
        self,
        plan: Plan,
        states: Mapping[str, States],
        examples: Tensor,
        answer: Answer = "first",
        trace: list[Tensor] | None = None,
    ) -> Joined:
        """Run the layers from `plan.join` on and return the reader's last states.

        Args:
            plan: who reads whom.
            states: for every role, segments with the tensors that `plan.needs(role, layers)` names.
            examples: int64 [B, roles]; which segment of each role an example is made of, -1 for none (not of the
                reader). Segments may be shared.
            answer: compute the last layer for the `first` token of the reader only (or in families whose classification
                token stands last, for that), for `all` of its tokens, or (joint) for the `whole` example, for heads
                that share one pass. `mean` is that of the whole example (joint) or of all the reader's tokens, float32.
            trace: gets the states after every layer from `plan.join` on, of the tokens that go on through it.

        """
        if answer == "mean":
            joined = self.join(
                plan, states, examples, "whole" if plan.mode == "joint" and plan.join < self.layers else "all", trace
            )
            return Joined(joined.layout.mean(joined.states), joined.layout.only_one())
        if answer == "first" and self.family.shape.last:
            plan = last_reads(plan, examples)
        states, examples = with_nothing(plan, states, examples)
        if plan.join == self.layers and answer == "whole":
            parts = [self._part(plan, role, states[role], examples[:, i]) for i, role in enumerate(plan.roles)]
            whole = Track.together(parts)
            return Joined(whole.x, whole.layout, None, parts).in_segments()
        if plan.join == self.layers:
            column = plan.roles.index(plan.reader)
            layout, tokens = states[plan.reader].rows(plan.recipe(plan.reader, plan.join)).select(examples[:, column])
            x = self._input(plan, plan.reader, states[plan.reader], plan.join)[tokens]
            return Joined(x[self.answering(layout)], layout.only_one()) if answer == "first" else Joined(x, layout)
        if plan.mode != "joint":
            joined = self._reading(plan, states, examples, answer, trace)
        elif torch.is_grad_enabled() or trace is not None or examples.device.type != "cpu":
            joined = self._joint(plan, states, examples, answer, trace)
        else:
            runs = runs_of(_tokens(plan, states, examples), JOINED_TOKENS)
            joined = Joined.behind([self._joint(plan, states, examples[run], answer, None) for run in runs])
        return replace(joined.in_segments(), states=self.family.finish(joined.states))

    def answering(self, layout: Layout) -> Tensor:
        """Which token of each group of the reader's tokens a score is read from, int64 [G]."""
        return layout.ends if self.family.shape.last else layout.starts

    def _joint(
        self, plan: Plan, states: Mapping[str, States], examples: Tensor, answer: Answer, trace: list[Tensor] | None
    ) -> Joined:
        """All segments of an example read one another."""
        parts = [self._part(plan, role, states[role], examples[:, i]) for i, role in enumerate(plan.roles)]
        begin_at = begins(plan, states, examples, self.family.segments) if self._relative else None
        whole = Track.together(parts, begin_at)
        lengths = [states[role].layout.lengths_tensor[examples[:, i]].tolist() for i, role in enumerate(plan.roles)]
        steps = [{step.layer: step for step in plan.recipe(role) if step.layer > plan.join} for role in plan.roles]
        last = self.layers - 1
        for layer in range(plan.join, self.layers):
            if any(layer in of_role for of_role in steps):
                now = [(i, of_role[layer]) for i, of_role in enumerate(steps) if layer in of_role]
                asks = plan.selector == "attention" and any(loses(s, lengths[i], parts[i].layout) for i, s in now)
                parts = whole.apart(parts, self._received(layer - 1, whole) if asks else None)
                for i, step in now:
                    parts[i] = thinned(parts[i], step, lengths[i])
                whole = Track.together(parts, begin_at)
            if layer == last and answer != "whole":
                break
            x = self._layer(layer, whole, self._readable(layer, whole))
            whole = replace(whole, x=x, before=whole.x)
            if trace is not None:
                trace.append(x)
        if answer == "whole":
            return Joined(whole.x, whole.layout, None, parts)
        position = plan.roles.index(plan.reader)
        reader, begin = parts[position].layout, whole.layout.starts
        begin = begin + sum((part.layout.lengths_tensor for part in parts[:position]), torch.zeros_like(begin))
        places = parts[position].places
        if answer == "first":
            tokens = begin + self.answering(reader) - reader.starts
            reader, places = reader.only_one(), None
        else:
            tokens = reader.at(begin)
        x = self._layer(last, whole.of(tokens, reader, placed=self._relative), self._readable(last, whole))
        if trace is not None:
            trace.append(x)
        return Joined(x, reader, places)

    def _reading(
        self, plan: Plan, states: Mapping[str, States], examples: Tensor, answer: Answer, trace: list[Tensor] | None
    ) -> Joined:
        """The reader reads itself and the others, who do not read it (`oneway`, `frozen`)."""
        own, recipe = states[plan.reader], plan.recipe(plan.reader, plan.join)
        now, sizes = own.rows(recipe), own.sizes(recipe)
        layout, tokens = now.select(examples[:, plan.roles.index(plan.reader)])
        x = self._input(plan, plan.reader, own, plan.join)
        # One query for all: its first upper layer is the same for all up to attention.
        shared = len(now.lengths) == 1
        count = now.used
        if not shared:
            x, now = x.index_select(0, tokens), layout
            sizes = None if sizes is None else sizes.index_select(0, tokens)
        others = [(r, states[r], *_chosen(plan, r, states[r], examples)) for r in plan.others()]
        places: Tensor | None = None
        other_places: list[Tensor | None] = [None] * len(others)
        if self._relative:
            places, other_places = read_places(plan, states, examples, others, self.family.segments)
        asked = places
        if places is not None:
            places = places.index_select(0, tokens)
            asked = asked if shared else places
        for layer in range(plan.join, self.layers):
            answered = layer == self.layers - 1 and answer == "first"
            sources = [self._own(plan, layer, x, layout, tokens if shared else None, sizes)]
            sources += [self._stored(plan, layer, *other) for other in others]
            if self._relative:
                sources = [_at(source, at) for source, at in zip(sources, (places, *other_places), strict=True)]
            if answered:
                tokens_of = self.answering(now)
                # A reader's first token stands at 0.
                asked = (now.within if asked is None else asked)[tokens_of] if self.family.shape.last else None
                x, now = x[tokens_of], now.only_one()
            context = self._attended(layer, x, now, sources, asked)  # [T, A, D]
            if shared:
                now = layout.only_one() if answered else layout
                x, shared, asked = x[:count].repeat(len(layout.lengths), 1), False, places
                sizes = None if sizes is None else sizes.index_select(0, tokens)
                x = F.pad(x, (0, 0, 0, now.tokens - len(x)))
                context = F.pad(context, (0, 0, 0, 0, 0, now.tokens - len(context)))
            x = self.family.merge(layer, x, context)
            if trace is not None:
                trace.append(x)
        return Joined(x, now)

    def _narrow(self, what: Name, x: Tensor) -> Tensor:
        """States as the store keeps them."""
        return self._bottlenecks[bottleneck_key(what.source, what.width)].down(x) if what.width else x

    def _input(self, plan: Plan, role: str, states: States, layer: int) -> Tensor:
        """Input states of a layer, as wide as the model reads them, [T, H]."""
        name = plan.hidden(role, layer)
        width = Name.parse(name).width
        return (
            self._bottlenecks[bottleneck_key(layer, width)].up(states.tensors[name]) if width else states.tensors[name]
        )

    def _part(self, plan: Plan, role: str, states: States, groups: Tensor) -> Track:
        """The join's input states of one role of every example."""
        recipe = plan.recipe(role, plan.join)
        layout, tokens = states.rows(recipe).select(groups)
        sizes, places = states.sizes(recipe), states.places(recipe)
        places = None if places is None else places.index_select(0, tokens)
        return Track(
            self._input(plan, role, states, plan.join).index_select(0, tokens),
            layout,
            None if sizes is None else sizes.index_select(0, tokens),
            stand_at(plan, role, places, layout, states.layout.lengths_tensor[groups], self.family.segments),
        )

    def _own(
        self,
        plan: Plan,
        layer: int,
        x: Tensor,
        layout: Layout,
        rows: Tensor | None,
        sizes: Tensor | None,
    ) -> KeyValue | Hidden:
        """What an upper layer reads of the reader itself, in the form in which it reads the others."""
        form = self.family.hidden if plan.states == "hidden" else self.family.key_value
        return replace(form(layer, x, layout), rows=rows, sizes=sizes)

    def _stored(
        self,
        plan: Plan,
        layer: int,
        role: str,
        states: States,
        layout: Layout,
        rows: Tensor | None,
    ) -> KeyValue | Hidden:
        """What an upper layer reads of a role that does not read the reader."""
        source, recipe = plan.source(layer), plan.recipe(role, plan.join)
        sizes = states.sizes(recipe)
        if plan.states == "hidden":
            x = self._input(plan, role, states, source)
            return replace(self.family.hidden(layer, x, layout), rows=rows, sizes=sizes)
        size = (-1, self.family.shape.heads, self.family.shape.head_size)
        key, value = (states.tensors[named(f"{kind}.{layer}@{source}", recipe)].view(size) for kind in ("key", "value"))
        return KeyValue(layout, key, value, rows, sizes)

    def _readable(self, layer: int, track: Track) -> KeyValue:
        return replace(self.family.key_value(layer, track.x, track.layout), sizes=track.sizes, places=track.places)

    def _thinned(self, track: Track, recipe: Recipe, layout: Layout) -> Track:
        """A segment's own reduction; `layout` of all its tokens."""
        step = recipe[-1]
        if step.selector in SCORED and loses(step, layout.lengths, track.layout):
            asks = step.selector == "attention"
            scores = self._received(step.layer - 1, track) if asks else self._saliency[str(step.layer)](track.x)
            track = replace(track, scores=scores)
        return thinned(track, step, layout.lengths)

    def _received(self, layer: int, track: Track) -> Tensor:
        """Attention that each token got from the others of its group in the layer before, float32 [T]."""
        assert track.before is not None  # plans refuse a budget by attention at layer 0
        with torch.no_grad():
            source = replace(self.family.key_value(layer, track.before, track.layout), sizes=track.sizes)
            where = self._where(layer, track.places)
            return received(self.family.query(layer, track.before), source, self.family.scale, where)

    def _layer(self, layer: int, track: Track, source: KeyValue) -> Tensor:
        context = self._attended(layer, track.x, track.layout, [source], track.places)
        return self.family.merge(layer, track.x, context)

    def _attended(self, layer: int, x: Tensor, layout: Layout, sources: Sources, places: Tensor | None) -> Tensor:
        """Contexts [T, A, D] of states that stand at `places`."""
        return attend(self.family.query(layer, x), layout, sources, self.family.scale, self._where(layer, places))

    def _where(self, layer: int, places: Tensor | None) -> Where | None:
        relation = self._relations[layer]
        return None if relation is None else Where(relation, places)


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


def _tokens(plan: Plan, states: Mapping[str, States], examples: Tensor) -> list[int]:
    """Tokens of each example at the join."""
    lengths = [states[role].rows(plan.recipe(role, plan.join)).lengths_tensor for role in plan.roles]
    total: list[int] = torch.stack([n[examples[:, i]] for i, n in enumerate(lengths)]).sum(0).tolist()
    return total


def _at(source: KeyValue | Hidden, places: Tensor | None) -> KeyValue | Hidden:
    return replace(source, places=places) if isinstance(source, KeyValue) else source


def _chosen(plan: Plan, role: str, states: States, examples: Tensor) -> tuple[Layout, Tensor | None]:
    """`layout.select`, without rows where each group is chosen once, in order."""
    layout, groups = states.rows(plan.recipe(role, plan.join)), examples[:, plan.roles.index(role)]
    if len(groups) == len(layout.lengths) and torch.equal(groups, torch.arange(len(groups), device=groups.device)):
        return layout, None
    return layout.select(groups)


def _half(readable: KeyValue, kind: str) -> Tensor:
    return (readable.key if kind == "key" else readable.value).flatten(1)  # [T, H]
