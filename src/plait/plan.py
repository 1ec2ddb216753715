"""A plan says which segment may read which, in which layer. What is stored, what runs online and what it costs
follow from it.

This module is torch-free: a plan is a value that can be written, compared, hashed and kept in a file.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from plait.errors import PlaitError
from plait.keep import MERGING, SALIENT, Keep, Protect, Recipe, Selector, Step, check_selector, named
from plait.plan_text import fields_of

Mode = Literal["joint", "oneway", "frozen"]
Positions = Literal["restart", "continue"] | int
StatesKind = Literal["hidden", "kv"]
Compare = Literal["none", "mlp", "cosine", "maxsim"]
Pool = Literal["first", "mean"]
VECTORS = ("mlp", "cosine")
"""Ways to compare that read one vector of a text, made by its `pool`."""
MARKS = re.compile(r"[+,=;:@./~\s]")
"""What the text forms of plans and of tensors' names are punctuated by."""


@dataclass(frozen=True)
class Plan:
    """Who reads whom, from which layer on.

    Args:
        join: first layer in which segments meet. 0 is the ordinary cross-encoder, the number of layers a dual
            encoder (LAIT's P, DeFormer's separated layers).
        mode: what happens from `join` on. `joint`: all segments read all (DeFormer, LAIT). `oneway`: the reader reads
            the others, each of which goes on reading only itself, so that all their layers are offline. `frozen`: the
            reader reads the others' states of layer `join` in every upper layer.
        roles: names of the segments, in the order in which the model reads them.
        known: roles whose text is known beforehand; their states are what a store keeps.
        reader: the role whose tokens carry the answer (the query's first token for a score, the passage for a span).
        positions: `restart`: every segment counts from 0, so that known states hold for any query. `continue`: the
            positions of the ordinary pair model; only for join=0, where nothing is stored. A number: the first role
            counts from 0 and all others from there, as behind a query of that length.
        states: what is kept of a known role: `hidden` states, or `kv`, their keys and values for every upper layer.
        keep: budgets of tokens (Pyramid-BERT). Those at or below `join` are applied to a segment alone, and make what
            is stored smaller; those above, of `joint` plans, while all are read together.
        selector: how the tokens that survive are chosen; see plait.keep.
        protect: `first`: a segment's first token always survives; `ends`: its last one too, a separator.
        compare: how a dual encoder (join = the number of layers) scores two roles whose tokens never meet. Of their
            vectors u and v: `mlp` of (u, v, |u - v|, u * v), `cosine`; of their tokens: `maxsim`.
        bottleneck: numbers that are stored of each hidden state, by a learned linear map; 0: all (PreTTR, SIGIR 2020).
            A dual encoder compares these themselves, of both roles (ColBERT, SIGIR 2020).
        pool: the vector of a segment, for `mlp` and `cosine`: the `mean` of its tokens or its `first` one, which of
            BERT's second segments is a word.
    """

    join: int = 0
    mode: Mode = "joint"
    roles: tuple[str, ...] = ("query", "passage")
    known: tuple[str, ...] = ("passage",)
    reader: str = "query"
    positions: Positions = "restart"
    states: StatesKind = "hidden"
    keep: tuple[Keep, ...] = ()
    selector: Selector = "coreset"
    protect: Protect = "first"
    compare: Compare = "none"
    pool: Pool = "mean"
    bottleneck: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.join, bool) or not isinstance(self.join, int) or self.join < 0:
            raise PlaitError(
                f"join must be a layer number of 0 or more, but is {self.join!r}; pass join=0 for the full model"
            )
        for name in ("roles", "known"):
            names = getattr(self, name)
            if not isinstance(names, tuple) or not all(isinstance(role, str) and role for role in names):
                raise PlaitError(f"{name} must be a list of names, but is {names!r}; e.g. query+passage")
            if marked := [role for role in names if MARKS.search(role)]:
                raise PlaitError(
                    f"a role's name must be free of blanks and of the marks of plans, + , = ; : @ . / ~, but one is "
                    f"{marked[0]!r}; e.g. passage_1"
                )
        _one_of("mode", self.mode, get_args(Mode))
        number = isinstance(self.positions, int) and not isinstance(self.positions, bool) and self.positions > 0
        if self.positions not in ("restart", "continue") and not number:
            raise PlaitError(
                "positions must be restart, continue or a number of 1 or more, where all roles but the first begin, "
                f"but is {self.positions!r}; e.g. positions=64"
            )
        _one_of("states", self.states, get_args(StatesKind))
        if not self.roles or len(set(self.roles)) != len(self.roles):
            raise PlaitError(
                f"roles must be different names, but are {'+'.join(self.roles)!r}; number the repeated ones"
            )
        for role in (*self.known, self.reader):
            _one_of("known and reader", role, self.roles)
        if self.mode != "joint" and self.reader in self.known:
            raise PlaitError(
                f"the reader of a {self.mode} plan must be live, but {self.reader!r} is a known role that never reads "
                "the others; use mode=joint to read answers from its tokens"
            )
        if self.positions == "continue" and self.join > 0:
            raise PlaitError(
                f"positions=continue needs join=0, but join is {self.join}; use positions=restart or a "
                "number, with which stored states hold for queries of any length"
            )
        if self.states == "kv" and self.mode == "joint":
            raise PlaitError(
                "states=kv needs mode=oneway or mode=frozen, but mode is joint, in which known tokens go on changing; "
                "use states=hidden"
            )
        check_selector(self.selector, self.protect)
        _one_of("compare", self.compare, get_args(Compare))
        _one_of("pool", self.pool, get_args(Pool))
        if self.compare != "none" and (self.mode != "joint" or len(self.roles) != 2 or self.reader in self.known):
            raise PlaitError(
                f"compare={self.compare} needs mode=joint and two roles, the reader of which is live, but the plan has "
                f"mode={self.mode}, the roles {', '.join(self.roles)} and the reader {self.reader}; leave these out"
            )
        if isinstance(self.bottleneck, bool) or not isinstance(self.bottleneck, int) or self.bottleneck < 0:
            raise PlaitError(
                f"bottleneck must be 1 or more stored numbers, or 0 for all, but is {self.bottleneck!r}; e.g. 64"
            )
        if self.bottleneck and self.states == "kv":
            raise PlaitError(
                f"bottleneck={self.bottleneck} needs states=hidden, but the plan has states=kv; leave one out"
            )
        self._check_keep()

    def _check_keep(self) -> None:
        if not isinstance(self.keep, tuple) or not all(isinstance(budget, Keep) for budget in self.keep):
            raise PlaitError(f"keep must be a list of budgets, but is {self.keep!r}; e.g. keep.passage=32")
        for role in dict.fromkeys(budget.role for budget in self.keep):
            _one_of("the role of a budget", role, self.roles)
            steps = self.recipe(role)
            if self.compare in VECTORS and steps[-2].layer >= self.join:
                raise PlaitError(
                    f"compare={self.compare} keeps one vector of a segment, so that a budget must begin below the "
                    f"join, {self.join}, but that of {role} begins at {steps[-2].layer}; write a lower layer, or "
                    "compare=maxsim"
                )
            given = [step.layer for step in steps]
            if given != sorted(set(given)) or min(given) < 0:
                raise PlaitError(
                    f"the budgets of a role must begin at different layers of 0 or more, in order, but those of {role} "
                    f"begin at {', '.join(map(str, given))}; e.g. keep.{role}=64@2+32@4"
                )
            if (self.mode != "joint" or self.selector in SALIENT) and given[-1] > self.join:
                raise PlaitError(
                    f"a budget above the join needs mode=joint and a selector without saliency, but that of {role} "
                    f"begins at layer {given[-1]}, mode is {self.mode} and selector {self.selector}; let it begin at "
                    f"the join, {self.join}, or below"
                )
            if self.selector == "attention" and given[0] == 0:
                raise PlaitError(
                    f"selector=attention needs a layer before the budget, but that of {role} begins at layer 0; let it "
                    "begin at 1 or above"
                )

    def recipe(self, role: str, layer: int | None = None) -> Recipe:
        """The reductions that a role's tokens have gone through in the input states of a layer (None: all)."""
        steps = [
            Step(self.join if k.layer is None else k.layer, k.tokens, self.selector, self.protect == "ends")
            for k in self.keep
            if k.role == role
        ]
        if self.compare in VECTORS:
            steps.append(Step(self.join, 1, self.pool))
        return tuple(step for step in steps if layer is None or step.layer <= layer)

    def check(self, layers: int) -> Plan:
        """Return self if the plan fits a model of `layers` layers; raise PlaitError otherwise."""
        if self.join > layers:
            raise PlaitError(
                f"join must be between 0 and {layers} (the layers of this model), but is {self.join}; "
                f"pass join={layers} for a dual encoder"
            )
        if self.compare != "none" and self.join < layers:
            raise PlaitError(
                f"compare={self.compare} is for a dual encoder, join={layers} (the layers of this model), but join is "
                f"{self.join}; leave compare out, or pass join={layers}"
            )
        for budget in self.keep:
            if budget.layer is not None and budget.layer > max(self.join, layers - 1):
                raise PlaitError(
                    f"a budget must begin at a layer between 0 and {layers - 1} (this model has {layers}), but that of "
                    f"{budget.role} begins at {budget.layer}; let it begin where a layer is left that it makes cheaper"
                )
        return self

    @property
    def own_positions(self) -> Positions:
        """Positions under which segments stand for themselves: its own, but `restart` for `continue`."""
        return "restart" if self.positions == "continue" else self.positions

    @property
    def offset(self) -> int:
        """The position that segments of all roles but the first begin at, where each stands for itself."""
        return self.positions if isinstance(self.positions, int) else 0

    def stays(self) -> str:
        """Why the plan cannot be moved to another join; empty if it can."""
        if self.compare != "none":
            return (
                "a plan can be moved to another join if its texts meet, but those of a dual encoder, compare="
                f"{self.compare}, never do; leave compare out"
            )
        if learned := f"bottleneck of {self.bottleneck}" if self.bottleneck else "saliency" if self.salient() else "":
            return (
                "a plan can be moved to another join if nothing that it stores by was trained for this one, but its "
                f"{learned} was trained for join={self.join}; leave it out"
            )
        for budget in (budget for budget in self.keep if budget.layer is not None):
            return (
                f"a plan can be moved to another join if its budgets begin at the join, but that of {budget.role} "
                f"begins at layer {budget.layer}; write keep.{budget.role}={budget.tokens:g}"
            )
        return ""

    def at(self, join: int, mode: Mode) -> Plan:
        """The same meeting from another layer on: hidden states, positions that hold for any query."""
        if why := self.stays():
            raise PlaitError(why)
        return dataclasses.replace(self, join=join, mode=mode, states="hidden", positions=self.own_positions)

    def budgeted(self, tokens: float) -> Plan:
        """The same plan with another number or share of tokens in the place of every role's budget; infinity: none.

        Raises:
            PlaitError: a role has several budgets.
        """
        roles = [budget.role for budget in self.keep]
        many = [role for role in roles if roles.count(role) > 1]
        if many:
            raise PlaitError(
                f"a budget can take another's place where a role has one, but {many[0]} has several in {self}; leave "
                "all but one out"
            )
        keep = () if tokens == math.inf else tuple(dataclasses.replace(budget, tokens=tokens) for budget in self.keep)
        return dataclasses.replace(self, keep=keep)

    def others(self) -> tuple[str, ...]:
        """The roles that are not the reader, in order."""
        return tuple(role for role in self.roles if role != self.reader)

    def inputs(self, role: str, layers: int) -> tuple[int, ...]:
        """The layers whose input states of `role`, computed from its own text alone, the upper layers read."""
        self.check(layers)
        _one_of("role", role, self.roles)
        if self.mode == "oneway" and role != self.reader and self.join < layers:
            return tuple(range(self.join, layers))
        return (self.join,)

    def needs(self, role: str, layers: int) -> tuple[str, ...]:
        """Names of the tensors of `role` that the join takes.

        `states.4` are the input states of layer 4; with states=kv, `key.5@4` are layer 5's keys of those states. What
        was reduced says how, see plait.keep; `sizes` are how many tokens each of its rows stands for, `places` which
        of the segment's tokens it is.
        """
        inputs, recipe = self.inputs(role, layers), self.recipe(role, self.join)
        names = [self._hidden(role, layer) for layer in inputs]
        if self.states == "kv" and role != self.reader and self.join < layers:
            upper = range(self.join, layers)
            names = [f"{kind}.{layer}@{self.source(layer)}" for layer in upper for kind in ("key", "value")]
        if self.compare == "none" and any(step.selector in MERGING for step in recipe):
            names.append("sizes")
        if self.compare == "none" and recipe:
            names.append("places")
        return tuple(named(name, recipe) for name in names)

    def hidden(self, role: str, layer: int) -> str:
        """The name of the input states of a layer, as the join takes them of `role`."""
        return named(self._hidden(role, layer), self.recipe(role, self.join))

    def _hidden(self, role: str, layer: int) -> str:
        narrow = self.bottleneck and (role in self.known or self.compare != "none")
        return f"states.{layer}" + (f"/{self.bottleneck}" if narrow else "")

    def bottlenecks(self, layers: int) -> tuple[tuple[int, int], ...]:
        """The layers whose stored input states go through a bottleneck, and its width."""
        narrow = self.known if self.compare == "none" else self.roles
        inputs = {layer for role in narrow for layer in self.inputs(role, layers)}
        return tuple((layer, self.bottleneck) for layer in sorted(inputs) if self.bottleneck)

    def salient(self) -> frozenset[str]:
        """The layers before which tokens are chosen by saliency, as they name it."""
        return frozenset(str(s.layer) for role in self.roles for s in self.recipe(role) if s.selector in SALIENT)

    def source(self, layer: int) -> int:
        """The layer whose input states of the other roles the reader reads in upper layer `layer` (oneway, frozen)."""
        return self.join if self.mode == "frozen" else layer

    @property
    def stores(self) -> bool:
        """Whether anything is kept of known texts: under a plan whose texts meet from layer 0 on they are read anew."""
        return bool(self.known) and (self.join > 0 or self.compare != "none")

    def stored(self, role: str, layers: int) -> tuple[str, ...]:
        """Names of the tensors that a store keeps of `role`; empty for a role that is live."""
        return self.needs(role, layers) if role in self.known else ()

    def __str__(self) -> str:
        """The short text form: `join` and `mode`, and whatever differs from what `parse` takes where it is not said."""
        usual = {"reader": self.roles[0], "known": self.roles[1:]}
        parts = [f"join={self.join}", f"mode={self.mode}"]
        for field in dataclasses.fields(self)[2:]:
            value = getattr(self, field.name)
            if field.name == "keep":
                for role in dict.fromkeys(budget.role for budget in self.keep):
                    parts.append(f"keep.{role}={'+'.join(str(budget) for budget in value if budget.role == role)}")
            elif value != usual.get(field.name, field.default):
                parts.append(f"{field.name}={'+'.join(value) if isinstance(value, tuple) else value}")
        return ",".join(parts)

    def to_dict(self) -> dict[str, object]:
        """Every field, JSON-able."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, object]) -> Plan:
        """The inverse of `to_dict`; unknown keys are refused. Of given roles the first is the reader and the others are
        known, unless said otherwise.
        """
        if not isinstance(fields, Mapping):
            raise PlaitError(f"a plan must be fields with values, but is {fields!r}; e.g. join=4,mode=oneway")
        known = {field.name: field for field in dataclasses.fields(cls)}
        for key in fields:
            if key not in known:
                raise PlaitError(
                    f"a plan has the keys {', '.join(known)}, but was given {key!r}; see `plait plan --help`"
                )
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        if "keep" in values:
            values["keep"] = _budgets(values["keep"])
        roles = values.get("roles")
        if isinstance(roles, tuple) and roles:  # whoever names them need not name the first and the others again
            values = {"reader": roles[0], "known": roles[1:], **values}
        return cls(**values)  # type: ignore[arg-type]

    @classmethod
    def parse(cls, text: str) -> Plan:
        """Read the text form (`join=4,mode=oneway`) or the JSON form.

        Raises:
            PlaitError: an unknown key, a repeated key, or a value that the field cannot have.
        """
        return cls.from_dict(fields_of(text))


def _budgets(values: object) -> object:
    """Budgets of a JSON form: objects of `role`, `tokens` and, if not at the join, `layer`."""
    if not isinstance(values, tuple):
        return values
    found = []
    for value in values:
        if isinstance(value, Mapping) and {"role", "tokens"} <= value.keys() <= {"role", "tokens", "layer"}:
            value = Keep(**value)
        found.append(value)
    return tuple(found)


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise PlaitError(f"{name} must be one of {', '.join(allowed)}, but is {value!r}")


FULL = Plan(positions="continue")
"""The ordinary pair model, exactly as its checkpoint was trained."""
