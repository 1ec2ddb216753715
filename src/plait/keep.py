"""Budgets: how many tokens of a role survive, from which layer on, chosen how. Torch-free.

The names of reduced tensors say how they were made, so that whoever has a name can make it, count it and refuse it:
`states.4~coreset:32@4` are the input states of layer 4 of the 32 tokens that a core-set keeps there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from plait.errors import PlaitError

Selector = Literal[
    "coreset", "coreset-exact", "first", "ends", "random", "even", "norm", "attention", "saliency", "salient-coreset",
    "nearest", "tome", "kmeans", "ward", "salient-kmeans",
]  # fmt: skip
"""Ways to choose the tokens that survive; those of the second line merge the others into them."""
COMPARING = ("coreset", "coreset-exact", "salient-coreset", "nearest", "tome", "kmeans", "ward", "salient-kmeans")
"""These compare all pairs of a segment's states."""
SALIENT = ("saliency", "salient-coreset", "salient-kmeans")
"""These heed how much answers depend on a token; see plait.saliency."""
SCORED = ("attention", *SALIENT)
"""These heed a number that each token has from elsewhere."""
MERGING = ("nearest", "tome", "kmeans", "ward", "salient-kmeans", "mean")
"""After these a token stands for several, and how many stands in `sizes`."""
EXACT = ("sizes", "places")
"""Tensors of width one whose numbers count: `sizes`, and `places`, which token of its segment each row is."""
Protect = Literal["first", "ends"]
"""Tokens that always survive: a segment's first, or its first and its last, a separator."""


@dataclass(frozen=True)
class Keep:
    """A budget: from layer `layer` on (None: from the join on) a role keeps `tokens` tokens, a number or, below 1, a
    share of its segment's length.
    """

    role: str
    tokens: float
    layer: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.role, str):
            raise PlaitError(f"a budget names its role, but one has {self.role!r}; e.g. keep.passage=32")
        if isinstance(self.tokens, bool) or not isinstance(self.tokens, int | float):
            raise PlaitError(f"a budget must be a number, but that of {self.role} is {self.tokens!r}; e.g. 32 or 0.5")
        if not 0 < self.tokens < math.inf or (self.tokens >= 1 and self.tokens != int(self.tokens)):
            raise PlaitError(
                f"a budget must be 1 or more whole tokens, or a share of them between 0 and 1, but that of {self.role} "
                f"is {self.tokens:g}; e.g. keep.{self.role}=32"
            )
        if self.layer is not None and (isinstance(self.layer, bool) or not isinstance(self.layer, int)):
            raise PlaitError(
                f"a budget begins at a layer number, but that of {self.role} at {self.layer!r}; e.g. "
                f"keep.{self.role}=32@4"
            )

    def __str__(self) -> str:
        return _text(self.tokens) + ("" if self.layer is None else f"@{self.layer}")


@dataclass(frozen=True)
class Step:
    """One reduction: before layer `layer`, to `tokens`."""

    layer: int
    tokens: float
    selector: str
    ends: bool = False

    def count(self, length: int, now: int) -> int:
        """Tokens left of a segment of `length` tokens, of which `now` are left before; never more, and not its
        protected ones less.
        """
        wanted = math.ceil(self.tokens * length - 1e-9) if self.tokens < 1 else int(self.tokens)
        return min(now, max(wanted, 2 if self.ends else 1))

    def __str__(self) -> str:
        return f"{self.selector}{'/ends' if self.ends else ''}:{_text(self.tokens)}@{self.layer}"


TOKENS = r"[1-9][0-9]*|0\.0*[1-9][0-9]*|[1-9](\.[0-9]+)?e-[0-9]+"
"""A whole number or a share, as Python writes them."""
STEP = re.compile(rf"(?P<selector>[a-z-]+)(?P<ends>/ends)?:(?P<tokens>{TOKENS})@(?P<layer>[0-9]+)")
"""A step in a tensor's name."""

Recipe = tuple[Step, ...]
"""Reductions one after the other, in the order of their layers; () leaves all tokens."""


def until(recipe: Recipe, layer: int) -> Recipe:
    """The reductions that the input states of a layer have gone through."""
    return tuple(step for step in recipe if step.layer <= layer)


def counts(recipe: Recipe, lengths: Sequence[int]) -> list[int]:
    """Tokens that a recipe leaves of segments of these lengths."""
    left = []
    for length in lengths:
        now = length
        for step in recipe:
            now = step.count(length, now)
        left.append(now)
    return left


def named(name: str, recipe: Recipe) -> str:
    """The name of a tensor made by a recipe."""
    return f"{name}~{'+'.join(map(str, recipe))}" if recipe else name


@lru_cache(maxsize=1024)
def recipe_of(name: str) -> Recipe:
    """The recipe that a tensor's name states."""
    text = name.partition("~")[2]
    return tuple(_step(part) for part in text.split("+")) if text else ()


@lru_cache(maxsize=1 << 16)
def rows(name: str, length: int) -> int:
    """Rows that a tensor has for a segment of `length` tokens."""
    return counts(recipe_of(name), [length])[0]


def width(name: str, hidden: int, inner: int) -> int:
    """Numbers in a row of a tensor: `states.4/64` went through a bottleneck of 64; keys and values are `inner` wide."""
    narrow = name.partition("~")[0].partition("/")[2]
    whole = inner if name.startswith(("key.", "value.")) else hidden
    return 1 if name.startswith(EXACT) else int(narrow or whole)


def parse(role: str, text: str) -> tuple[Keep, ...]:
    """Budgets of a role: `32`, `0.5`, `64@2+32@4`, or `0.7^4`: 0.7 of what is left, before each of layers 1 to 4."""
    share, hat, layers = text.partition("^")
    if hat:
        if not layers.isdecimal() or not 0 < (factor := _float(role, share)) < 1 or int(layers) < 1:
            raise PlaitError(
                f"a decaying budget is written share^layers, but that of {role} is {text!r}; e.g. keep.{role}=0.7^4"
            )
        return tuple(Keep(role, float(f"{factor**layer:.6g}"), layer) for layer in range(1, int(layers) + 1))
    found = []
    for part in text.split("+"):
        tokens, at, layer = part.partition("@")
        if at and not layer.isdecimal():
            raise PlaitError(
                f"a budget begins at a layer number, but that of {role} is {part!r}; e.g. keep.{role}=32@4"
            )
        found.append(Keep(role, _number(role, tokens), int(layer) if at else None))
    return tuple(found)


def several(text: str) -> tuple[float, ...]:
    """Numbers or shares of tokens of which the first is the largest: `64+32`, or `all+64`, infinity and 64.

    Raises:
        PlaitError: one is no budget, stands there twice, or is more than the first.
    """
    found: list[float] = []
    for part in text.split("+"):
        try:
            tokens = math.inf if part == "all" else Keep("budgets", _number("budgets", part)).tokens
        except PlaitError:
            raise PlaitError(
                f"budgets must be numbers or shares of tokens, or all, joined by +, but {text!r} has {part!r}; write "
                "for example all+64+16"
            ) from None
        if tokens in found or any(_less(most, tokens) for most in found[:1]):
            raise PlaitError(
                f"budgets must be different ones, the largest first, but are {text!r}; write for example all+64+16"
            )
        found.append(tokens)
    return tuple(found)


def _less(first: float, second: float) -> bool:
    """Whether a budget is known to be smaller: shares and numbers do not compare."""
    return first < second and (first >= 1 or second < 1 or second == math.inf)


def check_selector(selector: object, protect: object) -> None:
    """PlaitError unless both are known."""
    for what, value, allowed in (("selector", selector, get_args(Selector)), ("protect", protect, get_args(Protect))):
        if value not in allowed:
            raise PlaitError(f"{what} must be one of {', '.join(allowed)}, but is {value!r}")


def _text(tokens: float) -> str:
    return str(int(tokens)) if tokens >= 1 else repr(float(tokens))


def _float(role: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise PlaitError(f"a budget must be a number, but that of {role} is {text!r}; e.g. keep.{role}=32") from None


def _number(role: str, text: str) -> float:
    value = _float(role, text)
    if 1 <= value < math.inf and not text.strip().isdecimal():
        raise PlaitError(
            f"a budget of 1 or more tokens is written in whole tokens, or below 1 as a share, but that of {role} is "
            f"{text!r}; e.g. keep.{role}=32"
        )
    return int(value) if 1 <= value < math.inf else value


def _step(text: str) -> Step:
    found = STEP.fullmatch(text)
    if found is None:
        raise PlaitError(
            f"a reduced tensor's name ends like ~coreset:32@4, but one has {text!r}; take the names of Plan.needs"
        )
    value = float(found["tokens"])
    return Step(int(found["layer"]), int(value) if value >= 1 else value, found["selector"], bool(found["ends"]))
