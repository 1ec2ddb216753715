"""What a plan costs: floating-point operations and bytes. Torch-free.

An operation count is that of the matrix products (two for each multiply-add), as PyTorch's own counter counts them;
a law holds the two together. Norms, softmax and activations are left out by both, and here padding too: kernels pad
passages of a batch to the longest and to multiples of 32 tokens, and packed lengths to `layout.rounded`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from plait.plan import Plan

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}
SCALE_BYTES = {"int8": 2}
"""Bytes a codec adds for each token and tensor."""


@dataclass(frozen=True)
class Shape:
    """The sizes of an encoder; `positions` is the most tokens it can place, `types` its number of token types."""

    layers: int
    hidden: int
    heads: int
    feedforward: int
    embedding: int
    positions: int
    types: int

    @property
    def head_size(self) -> int:
        """hidden / heads."""
        return self.hidden // self.heads


def reads_states(hidden: int, heads: int, queries: int) -> bool:
    """Whether `queries` tokens read states cheaper than keys and values, which would have to be formed first."""
    return heads * queries < hidden


@dataclass(frozen=True)
class Cost:
    """Operations and bytes for one query read with `passages` known segments each of the other roles.

    Attributes:
        offline: operations to compute the stored states of one example's known roles, once.
        online: operations for one query against all its passages, from stored states.
        full: operations of the full pair model (join=0) for the same.
        bytes_per_token: stored bytes of each token of a known role.
        bytes_per_example: stored bytes of one example's known roles.
    """

    offline: int
    online: int
    full: int
    bytes_per_token: Mapping[str, int]
    bytes_per_example: int

    @property
    def gain(self) -> float:
        """How many times fewer operations are left online."""
        return self.full / max(self.online, 1)


def cost(plan: Plan, shape: Shape, lengths: Mapping[str, int], passages: int = 1, codec: str = "bfloat16") -> Cost:
    """Count a plan's work for segments of `lengths` tokens and one query with `passages` examples.

    The answer is read from one token if the reader is live (a score), else from all of the reader's tokens (a span).
    """
    plan.check(shape.layers)
    own = {role: _alone(shape, lengths[role], max(plan.inputs(role, shape.layers))) for role in plan.roles}
    online = sum(own[role] for role in plan.roles if role not in plan.known)
    online += _joined(plan, shape, lengths, passages)
    offline = sum(own[role] for role in plan.known)
    if plan.states == "kv" and plan.join < shape.layers:
        # A one-way passage forms the keys and values of all but its last input anyway, to go on reading itself.
        projections = 1 if plan.mode == "oneway" else shape.layers - plan.join
        offline += projections * sum(_linear(lengths[r], shape.hidden, 2 * shape.hidden) for r in plan.known)
    full = Plan(roles=plan.roles, known=plan.known, reader=plan.reader)
    width = {role: len(plan.stored(role, shape.layers)) for role in plan.known}
    per_value, per_tensor = shape.hidden * BYTES[codec], SCALE_BYTES.get(codec, 0)
    per_token = {role: count * (per_value + per_tensor) for role, count in width.items()}
    return Cost(
        offline=offline,
        online=online,
        full=passages * sum(_alone(shape, lengths[r], 0) for r in plan.roles) + _joined(full, shape, lengths, passages),
        bytes_per_token=per_token,
        bytes_per_example=sum(per_token[role] * lengths[role] for role in plan.known),
    )


def _linear(tokens: int, inputs: int, outputs: int) -> int:
    return 2 * tokens * inputs * outputs


def _attention(shape: Shape, queries: int, keys: int) -> int:
    return 2 * 2 * queries * keys * shape.hidden


def _layer(shape: Shape, queries: int, keys: int) -> int:
    """One layer in which `queries` of the `keys` tokens of a group go on."""
    h, f = shape.hidden, shape.feedforward
    return (
        _linear(queries, h, h) + _linear(keys, h, 2 * h) + _attention(shape, queries, keys)
        + _linear(queries, h, h) + _linear(queries, h, f) + _linear(queries, f, h)
    )  # fmt: skip


def _alone(shape: Shape, length: int, layers: int) -> int:
    project = _linear(length, shape.embedding, shape.hidden) if shape.embedding != shape.hidden else 0
    return project + layers * _layer(shape, length, length)


def _joined(plan: Plan, shape: Shape, lengths: Mapping[str, int], passages: int) -> int:
    total = sum(lengths[role] for role in plan.roles)
    answer = lengths[plan.reader] if plan.reader in plan.known else 1
    count = 0
    for layer in range(plan.join, shape.layers):
        last = layer == shape.layers - 1
        if plan.mode == "joint":
            count += passages * _layer(shape, answer if last else total, total)
        else:
            queries = answer if last else lengths[plan.reader]
            count += _reading(
                plan, shape, queries, lengths[plan.reader], total, passages, 1 if layer == plan.join else passages
            )
    return count


def _reading(plan: Plan, shape: Shape, queries: int, reader: int, total: int, passages: int, live: int) -> int:
    """One layer in which `queries` of the reader's tokens read all `total` tokens of each of `passages` examples.

    What the reader's own tokens need first is done `live` times: once in the first upper layer, where one query is the
    same in all examples.
    """
    h, f = shape.hidden, shape.feedforward
    project = _linear(queries, h, h)
    after = project + _linear(queries, h, f) + _linear(queries, f, h)
    if plan.states == "kv":
        return live * (project + _linear(reader, h, 2 * h)) + passages * (_attention(shape, queries, total) + after)
    if reads_states(h, shape.heads, queries):
        carried = shape.heads * _attention(shape, queries, total)
        return live * 2 * project + passages * (carried + project + after)
    formed = live * _linear(reader, h, 2 * h) + passages * _linear(total - reader, h, 2 * h)
    return live * project + formed + passages * (_attention(shape, queries, total) + after)
