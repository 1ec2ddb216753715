"""What a model gives for the targets of a lesson, under any plans: logits and, if asked, the states behind them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from plait.encoder import with_nothing
from plait.errors import TruncationWarning
from plait.head_plans import require_meeting
from plait.layout import Layout
from plait.lessons import Lesson
from plait.model import Plait
from plait.parts import running_on
from plait.places import last_reads
from plait.plan import Plan, Positions
from plait.spans import restored
from plait.states import States
from plait.text import Segment, fit
from plait.writer import Writer, laid


@dataclass(frozen=True)
class Asked:
    """What one head is asked.

    Attributes:
        head: by name.
        examples: int64 [B, roles].
        written: of a text head, what is to be written of each example, int64 [B, W] with -100 behind its end.
    """

    head: str
    examples: Tensor
    written: Tensor | None = None


@dataclass(frozen=True)
class Output:
    """A head's answer for the examples of one target.

    Attributes:
        logits: float32 [B, labels] of a score, [T, 2] of a span, its tokens by `layout`, minus infinity for those that
            a budget dropped; [T, vocabulary] of a text, before each token of what is to be written.
        layout: tokens of the reader, one group an example; of a text, of what is to be written.
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


def full(plan: Plan, positions: Positions | None = None) -> Plan:
    """The full plan over the segments of `plan`: all read all in every layer; positions as in the plan, where each
    segment stands for itself, unless others are given.
    """
    return Plan(0, "joint", plan.roles, plan.known, plan.reader, positions or plan.own_positions)


def runs_known(plan: Plan) -> bool:
    """Whether known tokens run through layers anew for every example, so that many examples are dear."""
    return plan.compare == "none" and (plan.mode == "joint" or plan.reader in plan.known)


def own(model: Plait, lesson: Lesson, plans: Sequence[Plan]) -> dict[str, States]:
    """A lesson's segments, each computed once, with all that the plans read."""
    return {
        role: model.own(
            segments, sorted({name for plan in plans for name in plan.needs(role, model.layers)}), multiple=256
        )
        for role, segments in lesson.segments.items()
    }


def continued(
    model: Plait, lesson: Lesson, examples: Sequence[Tensor], plans: Sequence[Plan]
) -> tuple[dict[str, States], list[Tensor]]:
    """The same for plans whose positions run on through an example: segments belong to one example each, and those of
    one that the model cannot read whole are cut, with a warning.

    Args:
        examples: int64 [B, roles] each.

    Returns:
        States of every role, and the same examples of them.
    """
    rows = torch.cat([*examples]).tolist()
    nothing = Segment([], [], 0)
    columns = [
        [segments[row[column]] if row[column] >= 0 else nothing for row in rows]
        for column, segments in enumerate(lesson.segments.values())
    ]
    longest = max(sum(len(segment.ids) for segment in row) for row in zip(*columns, strict=True))
    if longest > model.text.together:
        warnings.warn(
            f"examples of more than {model.text.together} tokens are cut, for the full model reads no more",
            TruncationWarning,
            stacklevel=2,
        )
        columns = fit(columns, model.text.together)
    names = {
        role: sorted({name for plan in plans for name in plan.needs(role, model.layers)}) for role in lesson.segments
    }
    states = running_on(model, dict(zip(lesson.segments, columns, strict=True)), names, multiple=256)
    numbers = torch.arange(len(rows))[:, None].expand(-1, len(states))
    return states, list(numbers.split([len(some) for some in examples]))


def outputs(
    model: Plait,
    plans: Mapping[str, Plan],
    states: Mapping[str, States],
    asked: Sequence[Asked],
    *,
    upper: bool = False,
) -> list[Output]:
    """The outputs of heads, each for its examples, in order; heads that join alike share a pass. With `upper` the
    states behind them, which a text head has none of.
    """
    alike: dict[Plan, list[int]] = {}
    found: dict[int, Output] = {}
    for number, one in enumerate(asked):
        require_meeting(one.head, plans[one.head], model.layers)
        if one.head == "score" and model.encoder.family.shape.last and plans[one.head].compare == "none":
            last_reads(plans[one.head], one.examples)  # refuses an example without the token
        if one.head == "text":
            assert one.written is not None
            found[number] = _written(model, plans[one.head], states, one.examples.to(model.device), one.written)
        else:
            alike.setdefault(_pass(plans[one.head]), []).append(number)
    for kind, numbers in alike.items():
        if kind.mode == "joint" and kind.compare == "none" and (len(numbers) > 1 or upper):
            some = _together(model, plans, states, [asked[number] for number in numbers], upper)
        else:
            each = [asked[number] for number in numbers]
            some = [_alone(model, plans[x.head], states, x.head, x.examples.to(model.device), upper) for x in each]
        found |= dict(zip(numbers, some, strict=True))
    return [found[number] for number in range(len(asked))]


def _pass(plan: Plan) -> Plan:
    """What two heads must share to share a pass: all of their plans but who reads the answer."""
    return replace(plan, reader=plan.roles[0], known=())


def _together(
    model: Plait,
    plans: Mapping[str, Plan],
    states: Mapping[str, States],
    asked: Sequence[Asked],
    upper: bool,
) -> list[Output]:
    """One pass over every example that some head reads."""
    plan = plans[asked[0].head]
    every = torch.cat([one.examples for one in asked]).to(model.device)
    states, every = with_nothing(plan, states, every)
    unique, places = torch.unique(every, dim=0, return_inverse=True)
    trace: list[Tensor] | None = [] if upper else None
    joined = model.encoder.join(plan, states, unique, "whole", trace)
    x, whole = joined.states, joined.layout
    results = []
    counts = [len(one.examples) for one in asked]
    for one, examples, groups in zip(asked, every.split(counts), places.split(counts), strict=True):
        head = one.head
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
            rows = whole.mean(model.before_mean(x))[groups]
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
        mean = model.read_from == "mean"
        first = layout.mean(model.before_mean(x)) if mean else x.index_select(0, model.encoder.answering(layout))
    return Output(model.read_out(head, x if first is None else first), layout, first, trace, layout)


def _written(model: Plait, plan: Plan, states: Mapping[str, States], examples: Tensor, written: Tensor) -> Output:
    written = written.to(model.device)
    joined = model.encoder.join(plan, states, examples, "whole")
    writer = cast("Writer", model.heads["text"])
    return Output(writer.logits(joined.states, joined.layout, written), laid(written))
