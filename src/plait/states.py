"""What segments know by themselves: tensors by name, and how the names say what they are."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

from torch import Tensor

from plait.errors import PlaitError
from plait.keep import EXACT, SALIENT, Recipe, counts, named, recipe_of
from plait.layout import Layout


@dataclass(frozen=True)
class States:
    """Tensors of segments of one role by name (`states.4` [T, H], see Plan.needs), packed.

    Attributes:
        layout: all tokens of the segments; of reduced tensors `rows` says which are left.
    """

    layout: Layout
    tensors: Mapping[str, Tensor]

    def rows(self, recipe: Recipe) -> Layout:
        """The layout of tensors made by a recipe."""
        return self.layout.thinned(counts(recipe, self.layout.lengths)) if recipe else self.layout

    def sizes(self, recipe: Recipe) -> Tensor | None:
        """How many tokens each row stands for, float32 [K]; None where each stands for itself."""
        return self._numbers("sizes", recipe)

    def places(self, recipe: Recipe) -> Tensor | None:
        """Which token of its segment each row is, int64 [K]; None where it is all of them."""
        found = self._numbers("places", recipe)
        return None if found is None else found.long()

    def with_nothing(self) -> States:
        """The same with a segment without tokens behind."""
        lengths = [*self.layout.lengths, 0]
        old = self.layout
        layout = Layout(lengths, multiple=old.multiple, tokens=old.tokens, tight=old.tight, device=old.device)
        return States(layout, self.tensors)

    def _numbers(self, name: str, recipe: Recipe) -> Tensor | None:
        found = self.tensors.get(named(name, recipe)) if recipe else None
        return None if found is None else found.flatten().float()


@dataclass(frozen=True)
class Name:
    """A tensor's name in parts: `key.5@4~coreset:32@4` are layer 5's keys of layer 4's input states, reduced.

    Attributes:
        kind: states, key, value, sizes or places.
        reading: the layer that reads them.
        source: the layer whose input they are made of.
        recipe: the reductions gone through.
        width: of the bottleneck that states have gone through, as `states.4/64` have; 0 for none.
    """

    kind: str
    reading: int
    source: int
    recipe: Recipe
    width: int = 0

    @classmethod
    def parse(cls, name: str) -> Name:
        """The parts of a name as Plan.needs gives it."""
        kind, _, numbers = name.partition("~")[0].partition(".")
        recipe = recipe_of(name)
        if not numbers:  # sizes, places
            return cls(kind, recipe[-1].layer, recipe[-1].layer, recipe)
        numbers, _, width = numbers.partition("/")
        layer, _, source = numbers.partition("@")
        return cls(kind, int(layer), int(source or layer), recipe, int(width or 0))


def as_read(name: str, x: Tensor, like: Tensor) -> Tensor:
    """A tensor that was kept, on the device and in the dtype of the model's own; `sizes` and `places` in theirs."""
    return x.to(like.device, x.dtype if name.startswith(EXACT) else like.dtype)


def require_name(name: str, layers: int, bottlenecks: Container[str] = (), saliency: Container[str] = ()) -> None:
    """PlaitError unless a model of `layers` layers makes a tensor of this name, with these bottlenecks (`4/64`) and the
    saliency of these layers (`4`).
    """
    recipe = recipe_of(name)  # refuses what is not written so
    steps = [step.layer for step in recipe]
    try:
        what = Name.parse(name)
    except (ValueError, IndexError):
        there = False
    else:
        keys = what.kind in ("key", "value")
        there = (keys or what.kind in ("states", *EXACT)) and 0 <= what.source <= what.reading <= layers - keys
        there = there and (keys or what.source == what.reading) and steps == sorted({*steps})
        there = there and steps[-1:] <= [what.source] and not ("~attention" in name and steps[0] == 0)
        there = there and all(step.selector not in SALIENT or str(step.layer) in saliency for step in recipe)
        there = there and (not what.width or f"{what.source}/{what.width}" in bottlenecks)
    if not there:
        raise PlaitError(
            f"states have names like states.{layers} or key.{layers - 1}@0 (this model has {layers} layers), but one "
            f"is {name!r}; see Plan.needs"
        )
