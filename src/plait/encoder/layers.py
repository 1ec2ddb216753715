"""The bricks: one layer of a family at a time, and what stands before and between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from plait.attention import KeyValue, Sources, attend, received
from plait.bottleneck import Bottleneck, bottleneck_key
from plait.families.family import Family
from plait.keep import SCORED, Recipe
from plait.layout import Layout
from plait.places import stand_at
from plait.plan import Plan
from plait.relation import Where
from plait.saliency import Saliency
from plait.states import Name, States
from plait.thinning import Track, loses, thinned


class Layers:
    """A family's layers. Holds no weights; `bottlenecks` and `saliency` are the model's."""

    def __init__(self, family: Family, bottlenecks: Mapping[str, Bottleneck], saliency: Mapping[str, Saliency]) -> None:
        self.family, self._bottlenecks, self._saliency = family, bottlenecks, saliency
        self.count = family.shape.layers
        self._relations = [family.relation(layer) for layer in range(self.count)]
        self.relative = any(relation is not None for relation in self._relations)

    def run(self, layer: int, track: Track, source: KeyValue) -> Tensor:
        """The states [T, H] behind a layer, of tokens that read one source."""
        context = self.attended(layer, track.x, track.layout, [source], track.places)
        return self.family.merge(layer, track.x, context)

    def attended(self, layer: int, x: Tensor, layout: Layout, sources: Sources, places: Tensor | None) -> Tensor:
        """Contexts [T, A, D] of states that stand at `places`."""
        return attend(self.family.query(layer, x), layout, sources, self.family.scale, self._where(layer, places))

    def readable(self, layer: int, track: Track) -> KeyValue:
        """What tokens give a layer to read of them."""
        return replace(self.family.key_value(layer, track.x, track.layout), sizes=track.sizes, places=track.places)

    def received(self, layer: int, track: Track) -> Tensor:
        """Attention that each token got in a layer that it has gone through, from its group, float32 [T]."""
        assert track.before is not None  # plans refuse a budget by attention at layer 0
        with torch.no_grad():
            source = replace(self.family.key_value(layer, track.before, track.layout), sizes=track.sizes)
            where = self._where(layer, track.places)
            return received(self.family.query(layer, track.before), source, self.family.scale, where)

    def thinned(self, track: Track, recipe: Recipe, layout: Layout) -> Track:
        """Segments reduced by the last step of a recipe, each by itself; `layout` of all their tokens."""
        step = recipe[-1]
        if step.selector in SCORED and loses(step, layout.lengths, track.layout):
            asks = step.selector == "attention"
            scores = self.received(step.layer - 1, track) if asks else self._saliency[str(step.layer)](track.x)
            track = replace(track, scores=scores)
        return thinned(track, step, layout.lengths)

    def narrow(self, what: Name, x: Tensor) -> Tensor:
        """States as a store keeps them."""
        return self._bottlenecks[bottleneck_key(what.source, what.width)].down(x) if what.width else x

    def input(self, plan: Plan, role: str, states: States, layer: int) -> Tensor:
        """Input states of a layer, as wide as the model reads them, [T, H]."""
        name = plan.hidden(role, layer)
        width, x = Name.parse(name).width, states.tensors[name]
        return self._bottlenecks[bottleneck_key(layer, width)].up(x) if width else x

    def part(self, plan: Plan, role: str, states: States, groups: Tensor) -> Track:
        """The join's input states of one role of every example."""
        recipe = plan.recipe(role, plan.join)
        layout, tokens = states.rows(recipe).select(groups)
        sizes, places = states.sizes(recipe), states.places(recipe)
        places = None if places is None else places.index_select(0, tokens)
        return Track(
            self.input(plan, role, states, plan.join).index_select(0, tokens),
            layout,
            None if sizes is None else sizes.index_select(0, tokens),
            stand_at(plan, role, places, layout, states.layout.lengths_tensor[groups], self.family.segments),
        )

    def answering(self, layout: Layout) -> Tensor:
        """Which token of each group of the reader's tokens a score is read from, int64 [G]."""
        return layout.ends if self.family.shape.last else layout.starts

    def _where(self, layer: int, places: Tensor | None) -> Where | None:
        relation = self._relations[layer]
        return None if relation is None else Where(relation, places)
