"""What a plan costs: floating-point operations and bytes. Torch-free.

An operation count is that of the matrix products (two for each multiply-add), as PyTorch's own counter counts them;
a law holds the two together. Norms, softmax and activations are left out by both, and here padding too: kernels pad
passages of a batch to the longest and to multiples of 32 tokens, and packed lengths to `layout.rounded`. Of a budget's
selection the products of states are counted; what k-means, Ward and token merging do with these numbers is not. Of
DeBERTa's attention the products with distances are an estimate, without the projections of distances, which a batch
shares.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from plait.keep import COMPARING, EXACT, Step, counts, rows, width
from plait.plan import Plan

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1, "int4": 0.5}
"""Bytes of one number in each codec, scales apart."""
SCALE_BYTES = 2
INT4_GROUP = 32
"""Neighbouring numbers that share a scale in int4; in int8 all of a token's row do."""


@dataclass(frozen=True)
class Shape:
    """The sizes of an encoder.

    Attributes:
        embedding: width of embeddings that a projection makes `hidden` wide; 0 without a projection.
        positions: the most tokens it can place.
        types: its number of token types.
        gated: whether the first half of a feed-forward has a gate beside it (GLU).
        absolute: whether attention minds nothing but states; else keys are always formed.
        reads_all: whether an answer is read from all tokens and not from the first: from their mean (ModernBERT can) or
            by a decoder (T5).
        last: whether the classification token, from which a score is read, stands last in an example (XLNet).
        c2p, p2c: whether queries, whether keys are multiplied with distances too (DeBERTa, XLNet). What does not depend
            on the number of texts, as projections of distances, or is two products a token (XLNet's with segments) is
            not counted.
        distances: how many of these are told apart.
        head_width: the size of a head, where it is not hidden / heads (T5); 0 where it is.
        key_heads: heads of keys and of values, each read by as many heads of queries, where they are fewer (GQA,
            Ainslie et al., EMNLP 2023); 0 where they are as many.
    """

    layers: int
    hidden: int
    heads: int
    feedforward: int
    embedding: int
    positions: int
    types: int
    gated: bool = False
    absolute: bool = True
    reads_all: bool = False
    last: bool = False
    c2p: bool = False
    p2c: bool = False
    distances: int = 0
    head_width: int = 0
    key_heads: int = 0

    @property
    def head_size(self) -> int:
        """hidden / heads, unless the family says otherwise."""
        return self.head_width or self.hidden // self.heads

    @property
    def inner(self) -> int:
        """The width of all heads together."""
        return self.heads * self.head_size

    @property
    def key_inner(self) -> int:
        """That of keys, and that of values."""
        return (self.key_heads or self.heads) * self.head_size

    def width(self, name: str) -> int:
        """Numbers in a row of a tensor by its name, see Plan.needs."""
        return width(name, self.hidden, self.key_inner)


def reads_states(hidden: int, heads: int, queries: int) -> bool:
    """Whether `queries` tokens read states cheaper than keys and values, which would have to be formed first."""
    return heads * queries < hidden


def row_bytes(codec: str, width: int) -> int:
    """Stored bytes of one row of a tensor of this width, scales included. codec: a name in BYTES."""
    scales = {"int8": 1, "int4": math.ceil(width / INT4_GROUP)}.get(codec, 0)
    return math.ceil(width * BYTES[codec]) + SCALE_BYTES * scales


@dataclass(frozen=True)
class Cost:
    """Operations and bytes for one query read with `passages` known segments each of the other roles.

    Attributes:
        offline: operations to compute the stored states of one example's known roles, once.
        online: operations for one query against all its passages, from stored states.
        full: operations of the full pair model (join=0) for the same.
        bytes_per_token: stored bytes of each token of a known role that its budgets leave.
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

    The answer is read from one token if the reader is live (a score; from all that the encoder gives out if it is read
    from their mean), else from all of the reader's tokens (a span).
    """
    plan.check(shape.layers)
    own = {role: _own(plan, shape, role, lengths[role]) for role in plan.roles}
    online = sum(own[role] for role in plan.roles if role not in plan.known)
    online += _joined(plan, shape, lengths, passages)
    offline = sum(own[role] for role in plan.known)
    if plan.states == "kv" and plan.join < shape.layers:
        # A one-way passage forms the keys and values of all but its last input anyway, to go on reading itself.
        projections = 1 if plan.mode == "oneway" else shape.layers - plan.join
        left = sum(_left(plan, role, lengths[role]) for role in plan.known)
        offline += projections * _linear(left, shape.hidden, 2 * shape.key_inner)
    narrow = len(plan.bottlenecks(shape.layers)) * _linear(1, shape.hidden, plan.bottleneck)
    offline += narrow * sum(_left(plan, role, lengths[role]) for role in plan.known)
    if plan.compare == "none":  # up again
        online += passages * narrow * sum(_left(plan, role, lengths[role]) for role in plan.known)
    else:  # the live ones too
        online += narrow * sum(_left(plan, role, lengths[role]) for role in plan.roles if role not in plan.known)
    full = Plan(roles=plan.roles, known=plan.known, reader=plan.reader)
    per_token, per_example = {}, 0
    for role in plan.known:
        names = plan.stored(role, shape.layers)
        size = {name: row_bytes("float32" if name.startswith(EXACT) else codec, shape.width(name)) for name in names}
        per_token[role] = sum(size.values())
        per_example += sum(rows(name, lengths[role]) * size[name] for name in names)
    return Cost(
        offline=offline,
        online=online,
        full=passages * sum(_own(full, shape, r, lengths[r]) for r in plan.roles)
        + _joined(full, shape, lengths, passages),
        bytes_per_token=per_token,
        bytes_per_example=per_example,
    )


def _left(plan: Plan, role: str, length: int) -> int:
    """Tokens of a role that meet the others."""
    return counts(plan.recipe(role, plan.join), [length])[0]


def _linear(tokens: int, inputs: int, outputs: int) -> int:
    return 2 * tokens * inputs * outputs


def _attention(shape: Shape, queries: int, keys: int) -> int:
    compared = queries * shape.c2p + keys * shape.p2c
    return 4 * queries * keys * shape.inner + _distances(shape, compared, queries + keys)


def _distances(shape: Shape, compared: int, tokens: int) -> int:
    """Products of `compared` queries and keys with the distances that occur among `tokens`."""
    return 2 * compared * min(tokens, shape.distances) * shape.inner


def _layer(shape: Shape, queries: int, keys: int) -> int:
    """One layer in which `queries` of the `keys` tokens of a group go on."""
    h, inner = shape.hidden, shape.inner
    return (
        _linear(queries, h, inner) + _linear(keys, h, 2 * shape.key_inner) + _attention(shape, queries, keys)
        + _linear(queries, inner, h) + _feedforward(shape, queries)
    )  # fmt: skip


def _feedforward(shape: Shape, tokens: int) -> int:
    return (3 if shape.gated else 2) * _linear(tokens, shape.hidden, shape.feedforward)


def _own(plan: Plan, shape: Shape, role: str, length: int) -> int:
    """A segment by itself."""
    total = _linear(length, shape.embedding, shape.hidden)
    steps = {step.layer: step for step in plan.recipe(role, plan.join)}
    deepest, now = max(plan.inputs(role, shape.layers)), length
    for layer in range(deepest + 1):
        if layer in steps:
            if steps[layer].selector == "attention" and steps[layer].count(length, now) < now:
                total += _received(shape, now)
            total += _selecting(shape, steps[layer], length, now)
            now = steps[layer].count(length, now)
        if layer < deepest:
            total += _layer(shape, now, now)
    return total


def _selecting(shape: Shape, step: Step, length: int, now: int) -> int:
    """Products of all pairs of the `now` tokens that a segment of `length` has left, where a selector compares them."""
    return 2 * now * now * shape.hidden if step.selector in COMPARING and step.count(length, now) < now else 0


def _received(shape: Shape, tokens: int) -> int:
    """Attention received in a layer, formed again for a selector."""
    return _linear(tokens, shape.hidden, shape.inner + 2 * shape.key_inner) + 2 * tokens * tokens * shape.inner


def _joined(plan: Plan, shape: Shape, lengths: Mapping[str, int], passages: int) -> int:
    now = {role: _left(plan, role, lengths[role]) for role in plan.roles}
    count = passages * _compared(plan, shape, now)
    for layer in range(plan.join, shape.layers):
        steps = [(r, step) for r in plan.roles for step in plan.recipe(r) if step.layer == layer > plan.join]
        if plan.selector == "attention" and any(step.count(lengths[r], now[r]) < now[r] for r, step in steps):
            count += passages * _received(shape, sum(now.values()))
        for role, step in steps:
            count += passages * _selecting(shape, step, lengths[role], now[role])
            now[role] = step.count(lengths[role], now[role])
        total, reader, last = sum(now.values()), now[plan.reader], layer == shape.layers - 1
        answer = reader if plan.reader in plan.known else 1
        if shape.reads_all and plan.reader not in plan.known:
            answer = total if plan.mode == "joint" else reader
        queries = answer if last else reader
        if plan.mode == "joint":
            count += passages * _layer(shape, answer if last else total, total)
        else:
            live = 1 if layer == plan.join else passages
            count += _reading(plan, shape, queries, reader, total, passages, live)
    return count


def _compared(plan: Plan, shape: Shape, now: Mapping[str, int]) -> int:
    """What a dual encoder does for each passage: its own layers are all before."""
    width = plan.bottleneck or shape.hidden
    if plan.compare == "mlp":
        return _linear(1, 4 * width, width) + _linear(1, width, 1)
    if plan.compare == "maxsim":
        return 2 * now[plan.reader] * now[plan.others()[0]] * width
    return 0


def _reading(plan: Plan, shape: Shape, queries: int, reader: int, total: int, passages: int, live: int) -> int:
    """One layer in which `queries` of the reader's tokens read all `total` tokens of each of `passages` examples.

    What the reader's own tokens need first is done `live` times: once in the first upper layer, where one query is the
    same in all examples.
    """
    h, inner = shape.hidden, shape.inner
    project = _linear(queries, h, inner)
    after = project + _feedforward(shape, queries)
    attention = passages * _attention(shape, queries, total)
    attention -= (passages - live) * _distances(shape, queries * shape.c2p, queries + total)
    if plan.states == "kv":
        return live * (project + _linear(reader, h, 2 * shape.key_inner)) + attention + passages * after
    if shape.absolute and reads_states(h, shape.heads, queries):
        carried = shape.heads * _attention(shape, queries, total)
        return live * 2 * project + passages * (carried + project + after)
    formed = live * _linear(reader, h, 2 * shape.key_inner)
    formed += passages * _linear(total - reader, h, 2 * shape.key_inner)
    return live * project + formed + attention + passages * after
