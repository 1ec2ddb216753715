"""What a model gives for the targets of a lesson, under any plans: logits and, if asked, the states behind them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from plait.encoder import with_nothing
from plait.errors import PlaitError, TruncationWarning
from plait.heads import restored
from plait.layout import Layout
from plait.lessons import Lesson
from plait.model import Plait
from plait.parts import running_on
from plait.plan import Plan, Positions
from plait.scoring import require_meeting
from plait.states import States
from plait.tasks import Target
from plait.text import Segment, fit


@dataclass(frozen=True)
class Output:
    """A head's answer for the examples of one target.

    Attributes:
        logits: float32 [B, labels] of a score, [T, 2] of a span, its tokens by `layout`, minus infinity for those that
            a budget dropped.
        layout: tokens of the reader, one group an example.
        first: states [B, H] that a score was read from, if asked.
        upper: states [T, H] after every layer from the join on, of the tokens that `read` lays out; empty unless asked,
            which plans with budgets cannot be.
        read: tokens of the whole example (joint), or of the reader alone.
        reader: which of `read`'s tokens are the reader's, int64 [T] by `layout`.
    """

    logits: Tensor
    layout: Layout
    first: Tensor | None = None
    upper: Sequence[Tensor] = ()
    read: Layout | None = None
    reader: Tensor | None = None


def full(plan: Plan, positions: Positions = "restart") -> Plan:
    """The full plan over the segments of `plan`: all read all in every layer; each counts positions from 0."""
    return Plan(0, "joint", plan.roles, plan.known, plan.reader, positions)


def own(model: Plait, lesson: Lesson, plans: Sequence[Plan]) -> dict[str, States]:
    """A lesson's segments, each computed once, with all that the plans read."""
    return {
        role: model.own(
            segments, sorted({name for plan in plans for name in plan.needs(role, model.layers)}), multiple=256
        )
        for role, segments in lesson.segments.items()
    }


def continued(model: Plait, lesson: Lesson, targets: Sequence[Target]) -> tuple[dict[str, States], list[Tensor]]:
    """The same for a model whose positions run on through an example: segments belong to one example each.

    Returns:
        States of every role, and for each target its examples among them.
    """
    rows = torch.cat([target.examples for target in targets]).tolist()
    nothing = Segment([], [], 0)
    columns = [
        [segments[row[column]] if row[column] >= 0 else nothing for row in rows]
        for column, segments in enumerate(lesson.segments.values())
    ]
    longest = max(sum(len(segment.ids) for segment in row) for row in zip(*columns, strict=True))
    if longest > model.text.positions:
        if any(target.head == "span" for target in targets):
            raise PlaitError(
                f"a teacher must read whole examples to teach spans, but one has {longest} tokens and it reads "
                f"{model.text.positions}; set longest lower"
            )
        warnings.warn(
            f"examples of more than {model.text.positions} tokens are cut for the teacher, which reads no more",
            TruncationWarning,
            stacklevel=2,
        )
        columns = fit(columns, model.text.positions)
    names = {role: ["states.0"] for role in lesson.segments}
    states = running_on(model, dict(zip(lesson.segments, columns, strict=True)), names, multiple=256)
    numbers = torch.arange(len(rows))[:, None].expand(-1, len(states))
    return states, list(numbers.split([len(target.examples) for target in targets]))


def outputs(
    model: Plait,
    plans: Mapping[str, Plan],
    states: Mapping[str, States],
    asked: Sequence[tuple[str, Tensor]],
    *,
    upper: bool = False,
) -> list[Output]:
    """The outputs of heads, each for its examples (int64 [B, roles]), in order; heads that join alike share a pass."""
    alike: dict[Plan, list[int]] = {}
    for number, (head, _) in enumerate(asked):
        require_meeting(head, plans[head], model.layers)
        alike.setdefault(_pass(plans[head]), []).append(number)
    found: dict[int, Output] = {}
    for kind, numbers in alike.items():
        if kind.mode == "joint" and kind.compare == "none" and (len(numbers) > 1 or upper):
            some = _together(model, plans, states, [asked[number] for number in numbers], upper)
        else:
            pairs = [asked[number] for number in numbers]
            some = [_alone(model, plans[head], states, head, x.to(model.device), upper) for head, x in pairs]
        found |= dict(zip(numbers, some, strict=True))
    return [found[number] for number in range(len(asked))]


def _pass(plan: Plan) -> Plan:
    """What two heads must share to share a pass: all of their plans but who reads the answer."""
    return replace(plan, reader=plan.roles[0], known=())


def _together(
    model: Plait,
    plans: Mapping[str, Plan],
    states: Mapping[str, States],
    asked: Sequence[tuple[str, Tensor]],
    upper: bool,
) -> list[Output]:
    """One pass over every example that some head reads."""
    plan = plans[asked[0][0]]
    every = torch.cat([examples for _, examples in asked]).to(model.device)
    states, every = with_nothing(plan, states, every)
    unique, places = torch.unique(every, dim=0, return_inverse=True)
    trace: list[Tensor] | None = [] if upper else None
    joined = model.encoder.join(plan, states, unique, "whole", trace)
    x, whole = joined.states, joined.layout
    results = []
    counts = [len(examples) for _, examples in asked]
    for (head, _), examples, groups in zip(asked, every.split(counts), places.split(counts), strict=True):
        column = plan.roles.index(plans[head].reader)
        begin = whole.starts[groups]
        for part in joined.parts[:column]:
            begin = begin + part.layout.lengths_tensor[groups]
        reader, own = joined.parts[column].layout.select(groups)
        if upper:
            read, tokens = whole.select(groups)
            seen = [y.index_select(0, tokens) for y in trace or []]
            within = reader.at(begin - whole.starts[groups] + read.starts)
        else:
            read, seen, within = None, [], None
        if head == "score" and model.read_from == "mean":
            rows = whole.mean(x)[groups]
        else:
            answering = whole.ends[groups] if model.encoder.family.shape.last else begin
            rows = x.index_select(0, answering if head == "score" else reader.at(begin))
        first = rows if upper and head == "score" else None
        logits, left = model.read_out(head, rows), joined.parts[column].places
        if head == "span" and left is not None:
            full_reader, _ = states[plans[head].reader].layout.select(examples[:, column])
            logits, reader = restored(logits, reader, left.index_select(0, own), full_reader), full_reader
        results.append(Output(logits, reader, first, seen, read, within))
    return results


def _alone(model: Plait, plan: Plan, states: Mapping[str, States], head: str, examples: Tensor, upper: bool) -> Output:
    if not upper:
        return Output(*model.logits(head, states, examples, plan))
    trace: list[Tensor] = []
    joined = model.encoder.join(plan, states, examples, "all", trace)
    x, layout = joined.states, joined.layout
    first = None
    if head == "score":
        first = layout.mean(x) if model.read_from == "mean" else x.index_select(0, model.encoder.answering(layout))
    return Output(model.read_out(head, x if first is None else first), layout, first, trace, layout)
