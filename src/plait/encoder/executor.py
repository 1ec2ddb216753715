"""The face of the executor. The thesis of the project on one page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from plait.bottleneck import Bottleneck
from plait.encoder.joined import Answer, Joined
from plait.encoder.joint import joint, runs
from plait.encoder.layers import Layers
from plait.encoder.nothing import with_nothing
from plait.encoder.own import own
from plait.encoder.reading import reading
from plait.families.family import Family
from plait.layout import Layout
from plait.places import last_reads
from plait.plan import Plan
from plait.saliency import Saliency
from plait.states import States
from plait.text import Tokens
from plait.thinning import Track

CACHE_TOKENS = 4096
"""Tokens computed at once: batches that stay in a core's cache are faster than large ones."""


class Encoder:
    """Runs a family's layers as plans say. Holds no weights; `bottlenecks` and `saliency` are the model's."""

    def __init__(
        self,
        family: Family,
        bottlenecks: Mapping[str, Bottleneck] | None = None,
        saliency: Mapping[str, Saliency] | None = None,
    ) -> None:
        self.family = family
        self.layers = family.shape.layers
        self._bricks = Layers(family, bottlenecks or {}, saliency or {})

    def own(self, tokens: Tokens, names: Sequence[str]) -> States:
        """Compute the named tensors of segments, each from its own tokens alone.

        Args:
            tokens: a packed batch of segments, all of one role.
            names: what is wanted, e.g. `plan.needs(role, layers)`.
        """
        return own(self._bricks, tokens, names)

    def join(
        self,
        plan: Plan,
        states: Mapping[str, States],
        examples: Tensor,
        answer: Answer = "first",
        trace: list[Tensor] | None = None,
        before_mean: Callable[[Tensor], Tensor] | None = None,
    ) -> Joined:
        """Run the layers from `plan.join` on and return the reader's last states.

        Args:
            plan: who reads whom.
            states: for every role, segments with the tensors that `plan.needs(role, layers)` names.
            examples: int64 [B, roles]; which segment of each role an example is made of, -1 for none (not of the
                reader). Segments may be shared.
            answer: compute the last layer for the `first` token of the reader only (or in families whose classification
                token stands last, for that), for `all` of its tokens, or (joint) for the `whole` example, for heads
                that share one pass. `mean` is that of the whole example (joint) or of all the reader's tokens, float32.
            trace: gets the states after every layer from `plan.join` on, of the tokens that go on through it.
            before_mean: what the last states go through before their `mean`, [T, H] -> [T, H].
        """
        if answer == "mean":
            everything: Answer = "whole" if plan.mode == "joint" and plan.join < self.layers else "all"
            joined = self.join(plan, states, examples, everything, trace)
            last = joined.states if before_mean is None else before_mean(joined.states)
            return Joined(joined.layout.mean(last), joined.layout.only_one())
        if answer == "first" and self.family.shape.last:
            plan = last_reads(plan, examples)
        states, examples = with_nothing(plan, states, examples)
        if plan.join == self.layers:
            return self._apart(plan, states, examples, answer)
        if plan.mode == "joint":
            some = runs(plan, states, examples, whole=trace is not None)
            joined = Joined.behind([joint(self._bricks, plan, states, examples[run], answer, trace) for run in some])
        else:
            joined = reading(self._bricks, plan, states, examples, answer, trace)
        return replace(joined.in_segments(), states=self.family.finish(joined.states))

    def answering(self, layout: Layout) -> Tensor:
        """Which token of each group of the reader's tokens a score is read from, int64 [G]."""
        return self._bricks.answering(layout)

    def _apart(self, plan: Plan, states: Mapping[str, States], examples: Tensor, answer: Answer) -> Joined:
        """No layer is left in which segments could meet."""
        if answer == "whole":
            parts = [self._bricks.part(plan, role, states[role], examples[:, i]) for i, role in enumerate(plan.roles)]
            whole = Track.together(parts)
            return Joined(whole.x, whole.layout, None, parts).in_segments()
        column = plan.roles.index(plan.reader)
        layout, tokens = states[plan.reader].rows(plan.recipe(plan.reader, plan.join)).select(examples[:, column])
        x = self._bricks.input(plan, plan.reader, states[plan.reader], plan.join)[tokens]
        return Joined(x[self.answering(layout)], layout.only_one()) if answer == "first" else Joined(x, layout)
