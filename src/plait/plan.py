"""A plan says which segment may read which, in which layer. What is stored, what runs online and what it costs
follow from it.

This module is torch-free: a plan is a value that can be written, compared, hashed and kept in a file.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from plait.errors import PlaitError

Mode = Literal["joint", "oneway", "frozen"]
Positions = Literal["restart", "continue"]
StatesKind = Literal["hidden", "kv"]


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
            positions of the ordinary pair model; only for join=0, where nothing is stored.
        states: what is kept of a known role: `hidden` states, or `kv`, their keys and values for every upper layer.
    """

    join: int = 0
    mode: Mode = "joint"
    roles: tuple[str, ...] = ("query", "passage")
    known: tuple[str, ...] = ("passage",)
    reader: str = "query"
    positions: Positions = "restart"
    states: StatesKind = "hidden"

    def __post_init__(self) -> None:
        if isinstance(self.join, bool) or not isinstance(self.join, int) or self.join < 0:
            raise PlaitError(
                f"join must be a layer number of 0 or more, but is {self.join!r}; pass join=0 for the full model"
            )
        for name in ("roles", "known"):
            names = getattr(self, name)
            if not isinstance(names, tuple) or not all(isinstance(role, str) and role for role in names):
                raise PlaitError(f"{name} must be a list of names, but is {names!r}; e.g. query+passage")
        _one_of("mode", self.mode, get_args(Mode))
        _one_of("positions", self.positions, get_args(Positions))
        _one_of("states", self.states, get_args(StatesKind))
        if not self.roles or len(set(self.roles)) != len(self.roles):
            raise PlaitError(
                f"roles must be different names, but are {'+'.join(self.roles)!r}; number the repeated ones"
            )
        for role in (*self.known, self.reader):
            _one_of("known and reader", role, self.roles)
        if self.mode != "joint" and self.reader in self.known:
            raise PlaitError(
                f"the reader of a {self.mode} plan must be live, but {self.reader!r} is a known role that never "
                f"reads the "
                "others; use mode=joint to read answers from its tokens"
            )
        if self.positions == "continue" and self.join > 0:
            raise PlaitError(
                f"positions=continue needs join=0, but join is {self.join}; use positions=restart, the only one with "
                "which stored states hold for queries of any length"
            )
        if self.states == "kv" and self.mode == "joint":
            raise PlaitError(
                "states=kv needs mode=oneway or mode=frozen, but mode is joint, in which known tokens go on changing; "
                "use states=hidden"
            )

    def check(self, layers: int) -> Plan:
        """Return self if the plan fits a model of `layers` layers; raise PlaitError otherwise."""
        if self.join > layers:
            raise PlaitError(
                f"join must be between 0 and {layers} (the layers of this model), but is {self.join}; "
                f"pass join={layers} for a dual encoder"
            )
        return self

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

        `states.4` are the input states of layer 4; with states=kv, `key.5@4` are layer 5's keys of those states.
        """
        inputs = self.inputs(role, layers)
        if self.states == "hidden" or role == self.reader or self.join == layers:
            return tuple(f"states.{layer}" for layer in inputs)
        return tuple(
            f"{kind}.{layer}@{self.source(layer)}" for layer in range(self.join, layers) for kind in ("key", "value")
        )

    def source(self, layer: int) -> int:
        """The layer whose input states of the other roles the reader reads in upper layer `layer` (oneway, frozen)."""
        return self.join if self.mode == "frozen" else layer

    def stored(self, role: str, layers: int) -> tuple[str, ...]:
        """Names of the tensors that a store keeps of `role`; empty for a role that is live."""
        return self.needs(role, layers) if role in self.known else ()

    def __str__(self) -> str:
        """The short text form: `join` and `mode`, and whatever differs from the default."""
        parts = [f"join={self.join}", f"mode={self.mode}"]
        for field in dataclasses.fields(self)[2:]:
            value = getattr(self, field.name)
            if value != field.default:
                parts.append(f"{field.name}={value if isinstance(value, str) else '+'.join(value)}")
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
        text = text.strip()
        if text.startswith("{"):
            try:
                return cls.from_dict(json.loads(text))
            except json.JSONDecodeError as error:
                raise PlaitError(
                    f"a plan must be valid JSON or key=value pairs, but {text!r} is not ({error})"
                ) from None
        fields: dict[str, object] = {}
        for part in filter(None, (p.strip() for p in text.split(","))):
            key, equals, value = (p.strip() for p in part.partition("="))
            if not equals:
                raise PlaitError(
                    f"a plan is written key=value,key=value, but has the part {part!r}; e.g. join=4,mode=oneway"
                )
            if key in fields:
                raise PlaitError(f"a plan names each key once, but {key!r} is in {text!r} twice; leave one out")
            fields[key] = _value(key, value)
        return cls.from_dict(fields)


def _value(key: str, value: str) -> object:
    if key == "join":
        if not value.isdecimal():
            raise PlaitError(
                f"join must be a layer number of 0 or more, but is {value!r}; pass join=0 for the full model"
            )
        return int(value)
    if key in ("roles", "known"):
        return tuple(filter(None, value.split("+")))
    return value


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise PlaitError(f"{name} must be one of {', '.join(allowed)}, but is {value!r}")


FULL = Plan(positions="continue")
"""The ordinary pair model, exactly as its checkpoint was trained."""
