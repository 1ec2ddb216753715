"""The model that another learns from: its outputs, computed in evaluation mode without gradients, and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from plait import hashes
from plait.errors import PlaitError
from plait.heads import default_activation
from plait.layout import Layout
from plait.lessons import Lesson
from plait.model import Plait
from plait.outputs import Asked, Output, continued, full, outputs, own
from plait.plan import Plan
from plait.tasks import Target, Values
from plait.taught import Taught
from plait.text import Text
from plait.writer import ENDED


class Teacher:
    """A pair model under its full plan, or its own, over the student's texts, which it frames as parts of a pair. In
    full it counts their positions as its own checkpoint says, as ordinary pair models do unless saved otherwise.

    Args:
        model: it is put into evaluation mode, and its weights ask for no gradients.
        plans: the student's, whose heads and roles the teacher takes.
        text: how the student reads.
        kept: folder of outputs that were computed before, for each teacher apart; those of an example are written there
            once, whatever batches it stands in.
        saved: it reads under plans of its own and not in full.
    """

    def __init__(
        self, model: Plait, plans: Mapping[str, Plan], text: Text, kept: Path | None = None, *, saved: bool = False
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        theirs = {head: model.plan(head) for head in plans}
        self.plans = theirs if saved else {head: full(plan, theirs[head].positions) for head, plan in plans.items()}
        self._read = text, model.texts(text.roles, next(iter(self.plans.values())).offset)
        parts = [*sorted((head, str(plan)) for head, plan in self.plans.items()), hashes.of_weights(model)]
        name = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
        self._taught = None if kept is None else Taught(kept / name)

    def require_room(self, lessons: Sequence[Lesson], *, spans: bool = True, states: bool = False) -> None:
        """PlaitError if it cannot place some text of these, or some whole example of which it is to teach `spans` or
        `states`.
        """
        plan, room = next(iter(self.plans.values())), self.model.text.positions
        whole = part = 0
        for lesson in map(self._framed, lessons):
            others = (of for role, of in lesson.segments.items() if role != plan.roles[0])
            part = max(part, *(len(segment.ids) for of in others for segment in of), 0)
            taught = (t for t in lesson.targets if states or (spans and t.head == "span"))
            whole = max(whole, *(_longest(lesson, target) for target in taught), 0)
        if plan.positions == "continue" and whole > self.model.text.together:
            raise PlaitError(
                f"a teacher must read whole examples to teach spans or states, but one has {whole} tokens and it reads "
                f"{self.model.text.together}; set longest lower"
            )
        if plan.offset and part + plan.offset > room:
            raise PlaitError(
                f"a teacher must be able to read what the model reads, but it counts from {plan.offset} to {room} and "
                f"a text has {part} tokens; lower longest by {part + plan.offset - room}, or give the model's plans "
                f"positions={plan.offset}"
            )

    def outputs(self, lesson: Lesson, targets: Sequence[Target], *, upper: bool = False) -> list[Output]:
        """Its outputs for the targets of a lesson, of values what its `predict` answers in place of logits; and with
        `upper` the states behind them, which are not kept.
        """
        return [
            replace(output, logits=default_activation(self.model.config)(output.logits))
            if isinstance(target, Values)
            else output
            for target, output in zip(targets, self._outputs(lesson, targets, upper), strict=True)
        ]

    @torch.enable_grad()  # there is nothing to compute gradients for, but attention is then the student's to the bit
    def _outputs(self, lesson: Lesson, targets: Sequence[Target], upper: bool) -> list[Output]:
        lesson = self._framed(lesson)
        taught = None if upper else self._taught
        if taught is None:
            return self._compute(lesson, targets, upper)
        keys = [_keys(lesson, target) for target in targets]
        if all(key in taught for some in keys for key in some):
            return [self._output(taught.rows(some)) for some in keys]
        found = self._compute(lesson, targets, upper)
        rows = [row for target, output in zip(targets, found, strict=True) for row in _rows(target, output)]
        taught.add(dict(zip((key for some in keys for key in some), rows, strict=True)))
        return found

    def _output(self, rows: Sequence[Tensor]) -> Output:
        """What `_rows` took apart."""
        device = self.model.device
        return Output(torch.cat(list(rows)).to(device), Layout([len(row) for row in rows], device=device))

    def _compute(self, lesson: Lesson, targets: Sequence[Target], upper: bool) -> list[Output]:
        plans = [self.plans[target.head] for target in targets]
        if any(plan.positions == "continue" for plan in plans):
            states, examples = continued(self.model, lesson, [target.examples for target in targets], plans)
        else:
            states = own(self.model, lesson, plans)
            examples = [target.examples for target in targets]
        asked = [Asked(t.head, rows, t.written) for t, rows in zip(targets, examples, strict=True)]
        return outputs(self.model, self.plans, states, asked, upper=upper)

    def _framed(self, lesson: Lesson) -> Lesson:
        """The lesson's texts as the teacher reads them; the lesson itself where both read alike."""
        ours, theirs = self._read
        if all(ours.reading(role) == theirs.reading(role) for role in lesson.segments):
            return lesson
        segments = {role: [theirs.reframed(role, one, ours) for one in of] for role, of in lesson.segments.items()}
        return replace(lesson, segments=segments)


def _keys(lesson: Lesson, target: Target) -> list[str]:
    """A name for what is asked of each example of a framed lesson: 32 hexadecimal digits."""
    columns = list(lesson.segments.values())
    keys = []
    for number, example in enumerate(target.examples.tolist()):
        asked = [columns[column][row].ids if row >= 0 else None for column, row in enumerate(example)]
        written = [] if target.written is None else target.written[number].tolist()
        words = [token for token in written if token != ENDED]
        keys.append(hashlib.sha256(f"{target.head} {asked} {words}".encode()).hexdigest()[:32])
    return keys


def _rows(target: Target, output: Output) -> Sequence[Tensor]:
    """The logits of each example: [1, labels] of a score, else one for each of its tokens."""
    lengths = [1] * len(output.logits) if target.head == "score" else output.layout.lengths
    rows: Sequence[Tensor] = output.logits[: sum(lengths)].split(lengths)
    return rows


def _longest(lesson: Lesson, target: Target) -> int:
    """Tokens of the longest example of a target."""
    columns = list(lesson.segments.values())
    lengths = (
        sum(len(columns[column][row].ids) for column, row in enumerate(example) if row >= 0)
        for example in target.examples.tolist()
    )
    return max(lengths, default=0)
