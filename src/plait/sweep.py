"""A model's trade-off: every join, mode and budget evaluated on data."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, cast, get_args

import numpy as np

from plait.cost import cost
from plait.data import Example, Question
from plait.errors import PlaitError
from plait.evaluate import metrics_of, quality, require_fit, rows_of, scores_of
from plait.head_plans import MODES, deepest, head_plans
from plait.keep import Keep, Selector, parse
from plait.measured import memory, milliseconds
from plait.model import Plait
from plait.outputs import full
from plait.plan import Mode, Plan
from plait.points import Point
from plait.store import Codec
from plait.tasks import KINDS
from plait.text import Segment


def sweep(
    model: Plait,
    task: str,
    data: Sequence[Question] | Sequence[Example],
    *,
    modes: Sequence[str] = ("joint", "oneway"),
    joins: Sequence[int] = (),
    keeps: Sequence[str] = (),
    selectors: Sequence[str] = ("coreset",),
    codecs: Sequence[str] = ("int8",),
    known: int = 100,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Point]:
    """Evaluate a model's head under every join and mode; its plans are the ones it had afterwards.

    What cannot be moved to another join (a bottleneck, a dual encoder, a schedule) is measured where it is. The first
    point is the full plan; a dual encoder, which has none, begins with all tokens.

    Args:
        model: an elastic one, or any; split plans that it was not trained for are measured as they are.
        task: `qa` with questions (the span head, `joint` only); `class`, `value`, `rank` or `choice` with examples;
            `text` with examples (`joint` only, up to join = layers: the decoder reads texts that never met).
        modes: which modes, beside the full plan, which counts positions as the model's own does (spans: from 0, for a
            text is read before its questions).
        joins: which joins, beside the full plan; none for all. What cannot be moved is measured all the same.
        keeps: budgets of the known roles, as in plans (`32`, `0.25`), tried at every join beside all tokens. Schedules
            (`0.7^4`, `64@2`), and all budgets of bottlenecks and dual encoders, are tried where the model's plan joins.
        selectors: which of them choose the tokens that are kept.
        codecs: what known texts are stored as; a split plan's quality is that of states that went through one.
        known: known texts that are read with one live text, for operations, milliseconds and memory.
        progress: told what comes next.
    """
    head = KINDS[task].head
    for mode in modes:
        if mode not in get_args(Mode):
            raise PlaitError(f"modes must be among {', '.join(get_args(Mode))}, but one is {mode!r}")
    for name, given in (("modes", modes), ("codecs", codecs)):
        if not given:
            raise PlaitError(f"{name} must name at least one, but are empty; leave them out for what is usual")
    if known < 1:
        raise PlaitError(f"known must be 1 or more texts, but is {known}; 100 is the default")
    if not data:
        raise PlaitError("a sweep needs at least one question or example, but there is none; pass other data")
    if task != "qa":
        require_fit(task, cast("Sequence[Example]", data), model)
    before = dict(model.plans)
    own = model.plan(head)
    restart = {other: replace(plan, positions=plan.own_positions) for other, plan in before.items()}
    try:
        for codec in codecs:
            Codec(codec, [("states", 1)])  # refuses what there is not
        allowed = [mode for mode in modes if mode in MODES[head]] or MODES[head]
        moved = _joins(joins, deepest(head, model.layers))
        tried = _tried(own, _budgets(own, keeps, selectors), allowed, moved)
        if own.compare == "none":
            whole = full(own, "restart" if head == "span" and own.positions == "continue" else own.positions)
            tried = [(whole, ""), *tried]
        plans, kept = [plan for plan, _ in tried], [keep for _, keep in tried]
        for plan in plans:
            try:
                model.require_plan(head, plan)
            except PlaitError as error:
                others = [mode for mode in allowed if mode != plan.mode]
                raise PlaitError(f"{error}; or sweep {'+'.join(others)} alone" if others else f"{error}") from None
        lengths, segments = _typical(model, data, known)
        found: list[list[_Measured]] = []
        for plan in plans:
            model.plans = {**restart, **head_plans([head], {head: plan}, {})}
            if plan.stores and head == "score" and len(codecs) > 1:
                found.append(_drifting(model, task, cast("Sequence[Example]", data), codecs, progress))
                continue
            found.append([])
            for codec in codecs if plan.stores else [""]:
                progress(f"{plan} {codec}")
                found[-1].append(_Measured(codec, quality(model, task, data, codec)))
        progress("milliseconds and memory")
        times = milliseconds([(model, plan) for plan in plans], head, segments)
        held = [memory(model, plan, head, segments) for plan in plans]
    finally:
        model.plans = before
    points = []
    kind = KINDS[task].metric
    for plan, some, ms, most, keep in zip(plans, found, times, held, kept, strict=True):
        for codec, metrics, drift in some:
            counted = cost(plan, model.encoder.family.shape, lengths, known, codec or codecs[0])
            stored = counted.bytes_per_example if codec else 0
            points.append(
                Point(
                    str(plan), plan.join, plan.mode, kind, metrics[kind], metrics, counted.online, ms, most, stored,
                    known, codec, lengths, keep, drift,
                )
            )  # fmt: skip
    return points


class _Measured(NamedTuple):
    """A plan's metrics with states that went through a codec, or with none stored; and their drift, see Point."""

    codec: str
    metrics: dict[str, float]
    drift: float | None = None


def _budgets(own: Plan, keeps: Sequence[str], selectors: Sequence[str]) -> dict[str, tuple[tuple[Keep, ...], Selector]]:
    """What is tried, by what a row calls it: all tokens, the plan's own budgets, and each of `keeps` by each selector.
    Roles that are not known keep their budgets.
    """
    thinned = own.known or own.roles
    live = tuple(budget for budget in own.keep if budget.role not in thinned)
    mine = {role: "+".join(str(k) for k in own.keep if k.role == role) for role in thinned}
    found: dict[str, tuple[tuple[Keep, ...], Selector]] = {"": (live, own.selector)}
    if any(mine.values()):
        alike = len(set(mine.values())) == 1
        said = mine[thinned[0]] if alike else " ".join(f"{role}={keep}" for role, keep in mine.items() if keep)
        found[f"{said} {own.selector}"] = (own.keep, own.selector)
    for keep in keeps:
        for selector in selectors:
            budgets = tuple(budget for role in thinned for budget in parse(role, keep))
            found.setdefault(f"{keep} {selector}", (live + budgets, selector))  # type: ignore[arg-type]
    return found


def _joins(joins: Sequence[int], last: int) -> Sequence[int]:
    """Those that are asked for, each once; all up to the last one if none is."""
    if not isinstance(joins, Sequence) or isinstance(joins, str):
        raise PlaitError(f"joins must be a list of numbers, but are {joins!r:.60}; leave them out for all")
    for join in joins:
        if isinstance(join, bool) or not isinstance(join, int) or not 1 <= join <= last:
            raise PlaitError(
                f"joins must be between 1 and {last} (the full plan, join=0, is always measured), but one is {join!r}; "
                "leave them out for all"
            )
    return list(dict.fromkeys(joins)) or range(1, last + 1)


def _tried(
    own: Plan, budgets: Mapping[str, tuple[tuple[Keep, ...], Selector]], modes: Sequence[str], joins: Sequence[int]
) -> list[tuple[Plan, str]]:
    """Plans and what their rows call their budgets: at every join and in every mode what can be moved there, and where
    it is what cannot; of single texts, which have no join, at 0.
    """
    if len(own.roles) == 1 and not own.salient():
        there = tuple(replace(budget, layer=own.join if budget.layer is None else budget.layer) for budget in own.keep)
        budgets = {name: (there if keep == own.keep else keep, chosen) for name, (keep, chosen) in budgets.items()}
        own = replace(own, join=0, mode="joint", states="hidden", keep=there)
    plans = [(replace(own, keep=keep, selector=selector), name) for name, (keep, selector) in budgets.items()]
    moving = [(plan, name) for plan, name in plans if not plan.stays() and len(plan.roles) > 1]
    tried = [(plan.at(join, mode), name) for mode in modes for plan, name in moving for join in joins]  # type: ignore[arg-type]
    fixed = [(plan, name) for plan, name in plans if plan.keep or plan.bottleneck or plan.compare != "none"]
    return tried + [one for one in fixed if one not in moving]


def _drifting(
    model: Plait, task: str, examples: Sequence[Example], codecs: Sequence[str], progress: Callable[[str], None]
) -> list[_Measured]:
    """Metrics and drift with each codec, under the plan that the model has."""
    rows = rows_of(model, examples)
    exact = scores_of(model, rows)
    found = []
    for codec in codecs:
        progress(f"{model.plans['score']} {codec}")
        scores = scores_of(model, rows, codec)
        drift = float(np.abs(scores - exact).mean() / (exact.std() or 1.0))
        found.append(_Measured(codec, metrics_of(model, task, examples, scores), drift))
    return found


def _typical(
    model: Plait, data: Sequence[Question] | Sequence[Example], known: int
) -> tuple[dict[str, int], dict[str, list[Segment]]]:
    """The median tokens of each role, and `known` segments of it: of those texts that are nearest to the median, over
    and over if there are fewer. Of a role that all of the data lacks 0 tokens and no segments.
    """
    lengths: dict[str, int] = {}
    segments: dict[str, list[Segment]] = {}
    for column, role in enumerate(model.text.roles):
        rows = ((item.question, item.passage) if isinstance(item, Question) else item.texts for item in data)
        texts = [row[column] for row in rows if column < len(row)]
        distinct = list(dict.fromkeys(texts))
        segment = dict(zip(distinct, model.text.segments(role, distinct), strict=True))
        middle = round(statistics.median(len(segment[text].ids) for text in texts)) if texts else 0
        nearest = sorted(segment.values(), key=lambda some: abs(len(some.ids) - middle))
        lengths[role], segments[role] = middle, list(itertools.islice(itertools.cycle(nearest[:known]), known))
    return lengths, segments
