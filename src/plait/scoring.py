"""One query against many known passages: the join, cut into batches that stay in a core's cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plait.encoder import CACHE_TOKENS
from plait.errors import Failure, PlaitError
from plait.head_plans import require_meeting
from plait.keep import counts
from plait.layout import Layout
from plait.passages import SHORTEST
from plait.plan import Plan
from plait.spans import SpanFound
from plait.states import States, as_read

if TYPE_CHECKING:
    from plait.model import Plait

READ_TOKENS = 8 * CACHE_TOKENS
"""Known tokens that are only read are cut to the cache by attention itself; this bounds the memory they take."""

Fetch = Callable[[Sequence[int], Sequence[str]], Mapping[str, Tensor]]
"""Passages by number, names of tensors -> their tensors, packed in that order."""


@dataclass
class Timing:
    """Seconds that each stage of an answer took."""

    stages: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the body to the stage."""
        begin = time.perf_counter()
        yield
        self.stages[name] = self.stages.get(name, 0.0) + time.perf_counter() - begin

    @property
    def total(self) -> float:
        """Seconds of all stages."""
        return sum(self.stages.values())


@dataclass(frozen=True)
class Query:
    """A query computed once, for all heads and any number of passages; `cut` tokens of it did not fit."""

    text: str
    states: States
    cut: int


def encode_query(model: Plait, text: str) -> Query:
    """Compute what the heads of a model read of a query.

    Raises:
        PlaitError: the text is empty or blank.
    """
    if model.training:
        model.eval()
    role, _ = two_roles(model)
    segments = model.segments(role, [text])
    return Query(text, model.own(segments, model.needs(role)), segments[0].cut)


def score(model: Plait, query: Query, lengths: Sequence[int], fetch: Fetch, timing: Timing) -> NDArray[np.float32]:
    """The score head's logits for one query and passages of the given token lengths, float32 [passages, labels]."""
    plan = model.plan("score")
    live, known = two_roles(model)
    names = plan.needs(known, model.layers)
    results: list[Tensor | None] = [None] * len(lengths)
    for batch in _batches(counts(plan.recipe(known, plan.join), lengths), plan):
        with timing.stage("read"):
            states = {live: query.states, known: _states(model, lengths, batch, fetch(batch, names))}
        with timing.stage("join"):
            examples = _examples(model, live, known, len(batch))
            if plan.compare == "none":
                last = model.encoder.join(plan, states, examples, model.read_from, before_mean=model.before_mean).states
        with timing.stage("heads"):
            if plan.compare == "none":
                logits = model.read_out("score", last).cpu()
            else:
                logits = model.logits("score", states, examples)[0].cpu()
        for i, row in zip(batch, logits, strict=True):
            results[i] = row
    return torch.stack([r for r in results if r is not None]).numpy()


def spans(
    model: Plait,
    query: Query,
    known_texts: Sequence[tuple[str, NDArray[np.int32]]],
    fetch: Fetch,
    timing: Timing,
) -> list[SpanFound]:
    """The best span of each passage; `known_texts` are their texts and token offsets."""
    plan = model.plan("span")
    live, known = two_roles(model)
    names = plan.needs(known, model.layers)
    lengths = [len(offsets) for _, offsets in known_texts]
    results: list[SpanFound | None] = [None] * len(lengths)
    for batch in _batches(counts(plan.recipe(known, plan.join), lengths), plan):
        with timing.stage("read"):
            states = {live: query.states, known: _states(model, lengths, batch, fetch(batch, names))}
        with timing.stage("spans"):
            found = model.spans(states, _examples(model, live, known, len(batch)), [known_texts[i] for i in batch])
        for i, span in zip(batch, found, strict=True):
            results[i] = span
    return [r for r in results if r is not None]


def _batches(lengths: Sequence[int], plan: Plan) -> Iterator[list[int]]:
    """Numbers of passages of like length, in batches of as many tokens as the plan's upper layers like."""
    tokens = CACHE_TOKENS if plan.mode == "joint" else READ_TOKENS
    batch: list[int] = []
    total = 0
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if batch and total + lengths[i] > tokens:
            yield batch
            batch, total = [], 0
        batch.append(i)
        total += lengths[i]
    if batch:
        yield batch


def _states(model: Plait, lengths: Sequence[int], batch: Sequence[int], tensors: Mapping[str, Tensor]) -> States:
    """Fetched states in the dtype and on the device of the model."""
    like = next(model.parameters())
    layout = Layout([lengths[i] for i in batch], device=like.device)
    return States(layout, {name: as_read(name, x, like) for name, x in tensors.items()})


def _examples(model: Plait, live: str, known: str, count: int) -> Tensor:
    columns = {live: torch.zeros(count, dtype=torch.int64), known: torch.arange(count)}
    return torch.stack([columns[role] for role in model.text.roles], 1).to(model.device)


def require_finite(scores: NDArray[np.float32]) -> None:
    """Refuse scores that do not order anything."""
    if not np.isfinite(scores).all():
        raise Failure(
            f"scores must be finite numbers, but {int((~np.isfinite(scores)).sum())} of {scores.size} are not; load "
            "the model in float32, check its weights or, of a store, run plait verify"
        )


def require_one_label(model: Plait) -> None:
    """Refuse to rank by a score head of several classes, or by none."""
    model.plan("score")
    if model.config.num_labels != 1:
        raise PlaitError(
            f"ranking needs a checkpoint with one label, but this one has {model.config.num_labels}; train one for "
            "ranking, or predict classes"
        )


def two_roles(model: Plait) -> tuple[str, str]:
    """The live and the known role of a model that scores one query against known passages.

    Raises:
        PlaitError: as `stored_role` says, or the plans do not have two roles.
    """
    role, roles = stored_role(model), model.text.roles
    if len(roles) != 2:
        raise PlaitError(
            f"a query is asked of known texts by plans of two roles, but these have {', '.join(roles)}; give predict "
            "whole examples, for which Index.parts has the stored ones"
        )
    return next(r for r in roles if r != role), role


def stored_role(model: Plait) -> str:
    """The role that texts are computed in to be stored: the known one, or the first of several that read them alike.

    Raises:
        PlaitError: the model has no head; its plans do not know the same roles; these read texts differently; or
            positions with which no known state holds.
    """
    if not model.plans:
        raise PlaitError(
            "known texts need a checkpoint with a sequence-classification or a question-answering head, but this has "
            "neither; load one that has, or train one"
        )
    known = {plan.known for plan in model.plans.values()}
    if len(known) != 1 or not next(iter(known)):
        raise PlaitError(
            f"known texts need plans with the same known roles, but those of the roles {', '.join(model.text.roles)} "
            f"know {' and '.join('+'.join(k) or 'none' for k in sorted(known))}; give every head the same known"
        )
    for head, plan in model.plans.items():
        require_meeting(head, plan, model.layers)
        if plan.positions == "continue":
            raise PlaitError(
                f"what is known of a text must hold for queries of any length, but the plan of the {head} head has "
                "positions=continue, as full pair models have; pass a plan such as join=1 or join=0"
            )
    [roles] = known
    if (room := min(map(model.text.room, roles))) < SHORTEST:
        raise PlaitError(
            f"a model must have room for {SHORTEST} tokens of a known text, but this one has {room}; give its plans a "
            "smaller number of positions"
        )
    if len({(model.needs(role), model.text.reading(role)) for role in roles}) > 1:
        raise PlaitError(
            f"one store holds texts of roles that are read and kept alike, but {', '.join(roles)} are not; give them "
            "the same budgets and let none be the first role, or, where the tokenizer ends an example, the last"
        )
    return roles[0]
