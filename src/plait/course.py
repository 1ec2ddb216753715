"""A model with its teacher: a lesson in, a loss out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plait.config import TrainConfig
from plait.distill import representation_loss
from plait.errors import PlaitError
from plait.head_plans import mode_of
from plait.keep import several
from plait.lessons import Lesson
from plait.model import Plait
from plait.outputs import Asked, Output, continued, full, outputs, own, runs_known
from plait.plan import Plan
from plait.tasks import Spans, Target, Weights
from plait.teacher import Teacher

Plans = Mapping[str, Plan]
"""The plan of every head."""


class Course(nn.Module):
    """Trains under the model's own plans; under the full plan beside them at a share of the steps; or, if elastic,
    under the full plan, its own and one by chance between these at every step, or under several budgets. What is run
    first teaches the others where no teacher does.
    """

    def __init__(self, model: Plait, teacher: Teacher | None, config: TrainConfig) -> None:
        super().__init__()
        self.model, self.settings = model, config
        self._teacher = [teacher]  # in a list, so that its weights are not this module's
        self._weights: Weights = config.weights()
        self.steps = self.answers = self.dropped = 0

    def forward(self, lesson: Lesson) -> dict[str, Tensor]:
        """The weighted sum of all losses of one batch, as `{"loss": scalar}`."""
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + self.steps)
        self.steps += 1
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self.settings.bfloat16):
            loss = self._loss(lesson, generator)
        if not torch.isfinite(loss):
            raise PlaitError(
                f"a loss must be a finite number, but that of batch {self.steps} is {loss.item()}; lower learning_rate"
            )
        return {"loss": loss}

    def _loss(self, lesson: Lesson, generator: torch.Generator) -> Tensor:
        config, weights = self.settings, self._weights
        drawn = list(self._drawn(generator))
        upper = config.representation > 0
        teacher = self._teacher[0]
        # What plans that run known tokens anew are asked, a teacher's too: number, target, its examples (None: all).
        every = [*drawn, {} if teacher is None else teacher.plans]
        dear = {head for plans in every for head, plan in plans.items() if runs_known(plan)}
        thin = [
            (number, *(target.thinned(config.negatives, generator) if target.head in dear else (target, None)))
            for number, target in enumerate(lesson.targets)
        ]
        thin = [(number, target, rows) for number, target, rows in thin if len(target.examples)]
        taught: dict[int, Output] = {}
        if teacher is not None:
            teacher.model.to(self.model.device)
            heeding = [(number, target) for number, target, _ in thin if upper or target.heeds_teacher(weights)]
            known = teacher.outputs(lesson, [target for _, target in heeding], upper=upper) if heeding else []
            taught = {number: output for (number, _), output in zip(heeding, known, strict=True)}
        running = any(plan.positions == "continue" for plan in self.model.plans.values())
        states = {} if running else own(self.model, lesson, [plan for plans in drawn for plan in plans.values()])
        losses: list[Tensor] = []
        of_taught = {number: (target, rows) for number, target, rows in thin}  # what a distance is taken of
        turns = Counter(head for plans in drawn for head in plans)
        share = {head: 1 / turns[head] if config.budgets else 1.0 for head in turns}
        for turn, plans in enumerate(drawn):
            few = {head for head, plan in plans.items() if runs_known(plan)}
            asked = [(n, t) for n, t, _ in thin if t.head in few]
            asked += [(n, t) for n, t in enumerate(lesson.targets) if t.head in plans.keys() - few]
            examples = [target.examples for _, target in asked]
            if running and asked:  # of a small batch there may be nothing to ask
                states, examples = continued(self.model, lesson, [t.examples for _, t in asked], [*plans.values()])
            questions = [Asked(t.head, some, t.written) for (_, t), some in zip(asked, examples, strict=True)]
            found = outputs(self.model, plans, states, questions, upper=upper)
            said = {number: output for (number, _), output in zip(asked, found, strict=True)}
            if config.labels:
                for number, target in asked:
                    loss = target.loss(said[number].logits, said[number].layout, weights)
                    losses.append(config.labels * share[target.head] * loss)
                    own_plan = plans[target.head] == self.model.plans[target.head]
                    if isinstance(target, Spans) and plans[target.head].keep and own_plan:
                        self.answers += len(target.first)
                        self.dropped += target.dropped(said[number].logits, said[number].layout)
            for number in [number for number in taught if number in said]:
                target, rows = of_taught[number]
                kept = None if target.head in few else rows
                far = self._distance(target, plans[target.head], said[number], kept, taught[number])
                losses.append(share[target.head] * far)
            if turn == 0 and teacher is None and (config.elastic or config.budgets):
                taught = {number: _detached(output) for number, output in said.items()}
                of_taught |= {number: (target, None) for number, target in asked if target.head not in few}
        nothing = next(p for p in self.model.parameters() if p.requires_grad).sum() * 0  # a batch may ask nothing
        return torch.stack([nothing, *losses]).sum()

    def _drawn(self, generator: torch.Generator) -> Sequence[Plans]:
        """The plans of this step, what teaches first."""
        plans: Plans = self.model.plans
        whole: Plans = {head: full(plan) for head, plan in plans.items()}
        if self.settings.elastic:
            modes = self.settings.elastic.split("+")
            last = max(plan.join for plan in plans.values())
            join = 1 + int(torch.randint(last, (), generator=generator))
            first, second = (modes[int(torch.randint(len(modes), (), generator=generator))] for _ in range(2))
            deepest, between = _split(plans, last, first), _split(plans, join, second)
            drawn = [deepest] if between == deepest else [deepest, between]
            return [whole, *({head: plan for head, plan in one.items() if plan != whole[head]} for one in drawn)]
        if plans == {head: full(plan, plan.positions) for head, plan in plans.items()}:
            return [plans]
        if not self.settings.budgets:
            others: Plans = {head: plan for head, plan in whole.items() if plan != plans[head]}
            return [others, plans] if torch.rand((), generator=generator).item() < self.settings.full else [plans]
        most, *rest = several(self.settings.budgets)
        budgeted = {head: plan for head, plan in plans.items() if plan.keep}
        drawn = [{**plans, **{head: plan.budgeted(most) for head, plan in budgeted.items()}}, budgeted]
        if rest:
            tokens = rest[int(torch.randint(len(rest), (), generator=generator))]
            drawn.append({head: plan.budgeted(tokens) for head, plan in budgeted.items()})
        return drawn

    def _distance(self, target: Target, plan: Plan, output: Output, kept: Tensor | None, taught: Output) -> Tensor:
        """From the teacher, for the examples `kept` (None: all) of an output."""
        logits = output.logits if kept is None else output.logits[kept.to(output.logits.device)]
        loss = target.distance(logits, taught.logits, output.layout, self._weights)
        if self.settings.representation:
            loss = loss + self.settings.representation * self._apart(target, plan, output, kept, taught)
        return loss

    def _apart(self, target: Target, plan: Plan, output: Output, kept: Tensor | None, taught: Output) -> Tensor:
        """How far apart student and teacher are in the layers that the student joins, and in the pooled output."""
        assert output.read is not None and taught.read is not None
        read, ours, first = output.read, list(output.upper), output.first
        if kept is not None:
            kept = kept.to(read.device)
            read, tokens = read.select(kept)
            ours = [x.index_select(0, tokens) for x in ours]
            first = None if first is None else first[kept]
        theirs = list(taught.upper[len(taught.upper) - len(ours) :])
        if plan.mode != "joint" and taught.reader is not None:  # the reader alone goes on
            theirs = [x.index_select(0, taught.reader) for x in theirs]
        loss = representation_loss([x[: read.used] for x in ours], [x[: read.used] for x in theirs])
        teacher = self.model if self._teacher[0] is None else self._teacher[0].model
        poolers: list[Any] = [getattr(model.heads[target.head], "pooler", None) for model in (self.model, teacher)]
        if first is None or taught.first is None or not all(isinstance(pooler, nn.Module) for pooler in poolers):
            return loss
        pooled = [pooler(x[:, None]).float() for pooler, x in zip(poolers, (first, taught.first), strict=True)]
        return loss + F.mse_loss(pooled[0], pooled[1].detach())


def _detached(output: Output) -> Output:
    first = None if output.first is None else output.first.detach()
    return replace(output, logits=output.logits.detach(), first=first, upper=[x.detach() for x in output.upper])


def _split(plans: Plans, join: int, mode: str) -> Plans:
    """The plans at another join, none deeper than its own; what cannot have another mode stays `joint`."""
    return {
        head: plan.at(min(join, plan.join), mode_of(head, plan, mode) if plan.join else "joint")
        for head, plan in plans.items()
    }
