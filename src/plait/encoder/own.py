"""A plan's own layers: what is computed of each segment from its own tokens alone, and can be stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from plait.attention import KeyValue
from plait.encoder.layers import Layers
from plait.keep import EXACT, Recipe, until
from plait.relation import SEGMENT
from plait.states import Name, States
from plait.text import Tokens
from plait.thinning import Track


def own(layers: Layers, tokens: Tokens, names: Sequence[str]) -> States:
    """The named tensors of segments of one role."""
    wanted = {name: Name.parse(name) for name in names}
    tensors: dict[str, Tensor] = {}
    tracks: dict[Recipe, Track] = {(): _embedded(layers, tokens)}  # by the reductions that led there
    for layer in range(max(name.source for name in wanted.values()) + 1):
        alive = [(name, what) for name, what in wanted.items() if what.source >= layer]
        before = tracks
        if layer == layers.count:  # what is thinned or pooled there has gone through the norm behind the last layer
            before = {recipe: replace(track, x=layers.family.finish(track.x)) for recipe, track in before.items()}
        tracks = {}
        for recipe in dict.fromkeys(until(what.recipe, layer) for _, what in alive):
            track = before.get(recipe) or layers.thinned(before[recipe[:-1]], recipe, tokens.layout)
            mine = [(name, what) for name, what in alive if until(what.recipe, layer) == recipe]
            tracks[recipe] = _layer(layers, layer, track, mine, tensors)
    return States(tokens.layout, tensors)


def _embedded(layers: Layers, tokens: Tokens) -> Track:
    layout = tokens.layout
    x = layers.family.embed(tokens.ids, tokens.types, tokens.positions)  # [T, H]
    if torch.is_autocast_enabled(x.device.type):  # else the residual stream stays in float32, at twice the traffic
        x = x.to(torch.get_autocast_dtype(x.device.type))
    places = None
    if layers.family.segments:
        first = tokens.types[layout.starts.clamp(max=layout.tokens - 1)]
        places = layout.within + SEGMENT * (tokens.types - layout.spread(first))
    return Track(x, layout, None, places)


def _layer(
    layers: Layers, layer: int, track: Track, wanted: Sequence[tuple[str, Name]], tensors: dict[str, Tensor]
) -> Track:
    """Fill in what is wanted of a layer's input, and run the layer if a deeper one is wanted."""
    here = [(name, what) for name, what in wanted if what.source == layer]
    deeper = len(here) < len(wanted)
    readers = {what.reading for _, what in here if what.kind in ("key", "value")} | ({layer} if deeper else set())
    readable = {reading: layers.readable(reading, track) for reading in readers}
    for name, what in here:
        if what.kind in ("key", "value"):
            tensors[name] = _half(readable[what.reading], what.kind)
        elif what.kind in EXACT:
            tensors[name] = track.numbers(what.kind)
        else:
            tensors[name] = layers.narrow(what, track.x)
    if not deeper:
        return track
    return replace(track, x=layers.run(layer, track, readable[layer]), before=track.x)


def _half(readable: KeyValue, kind: str) -> Tensor:
    return (readable.key if kind == "key" else readable.value).flatten(1)  # [T, H]
