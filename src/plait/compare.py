"""The head of a dual encoder: two roles, of which only vectors or last states meet."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plait.errors import PlaitError
from plait.plan import Plan
from plait.states import States

SCALE = 20.0
"""What cosines are multiplied by at first, as sentence-transformers' losses do."""
ALIKE = 1e-6
"""Cosines no further than this from their mean differ by rounding alone."""

_Last = tuple[Tensor, Tensor]


class Compare(nn.Module):
    """Scores pairs: logits [B, labels].

    `mlp`: a layer of H and one of `labels` on (u, v, |u - v|, u * v), as InferSent reads two vectors (Conneau et al.
    2017). `cosine`: of u and v. `maxsim`: each of the reader's tokens finds its best cosine among the other's, and
    these are averaged (ColBERT, Khattab and Zaharia 2020, takes their sum). Cosines are scaled and shifted by two
    learned numbers, which change no ranking.

    Args:
        hidden: numbers of a vector, H: those of a state, or of the plan's bottleneck.

    Attributes:
        width: the same for `mlp`; 0 for the others, which take any.
        begun: whether its weights were ever made to fit data.
    """

    def __init__(self, kind: str, hidden: int, labels: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.kind, self.width, self.begun = kind, hidden if kind == "mlp" else 0, False
        if kind == "mlp":
            self.inner, self.dropout = nn.Linear(4 * hidden, hidden), nn.Dropout(dropout)
            self.outer = nn.Linear(hidden, labels)
        else:
            if labels != 1:
                raise PlaitError(
                    f"compare={kind} gives one score, but the head has {labels} labels; use compare=mlp for classes"
                )
            self.scale, self.shift = nn.Parameter(torch.tensor(SCALE)), nn.Parameter(torch.tensor(0.0))

    def forward(self, plan: Plan, states: Mapping[str, States], examples: Tensor) -> Tensor:
        """Logits float32 [B, labels], computed in float32.

        Args:
            plan: with this head's `compare`.
            states: of both roles, what `plan.needs` names.
            examples: int64 [B, 2]; none may be absent.
        """
        if self.kind != "mlp":
            return (self.cosines(plan, states, examples) * self.scale.float() + self.shift.float())[:, None]
        (u, _), (v, _) = self._texts(plan, states, examples)
        with torch.autocast(examples.device.type, enabled=False):
            weights = {name: weight.float() for name, weight in self.named_parameters()}
            x = torch.cat([u, v, (u - v).abs(), u * v], 1)  # [B, 4 H]
            x = torch.tanh(F.linear(x, weights["inner.weight"], weights["inner.bias"]))
            return F.linear(self.dropout(x), weights["outer.weight"], weights["outer.bias"])

    def cosines(self, plan: Plan, states: Mapping[str, States], examples: Tensor) -> Tensor:
        """What `cosine` and `maxsim` scale and shift, in -1..1: float32 [B]; arguments as of `forward`."""
        first, second = self._texts(plan, states, examples)
        with torch.autocast(examples.device.type, enabled=False):
            return _best_cosines(first, second) if self.kind == "maxsim" else F.cosine_similarity(first[0], second[0])

    @torch.no_grad()
    def begin(self, cosines: Tensor, values: Tensor) -> None:
        """Scale and shift become those that bring cosines [B] nearest to values [B], by least squares. Where cosines
        are all alike, or values do not rise with them, the scale stays.
        """
        x, y = cosines.double(), values.double().to(cosines.device)
        apart, rise = x - x.mean(), y - y.mean()
        if float(apart.abs().max()) > ALIKE and float(apart @ rise) > 0:
            self.scale.copy_(apart @ rise / (apart @ apart))
        self.shift.copy_(y.mean() - self.scale.double() * x.mean())
        self.begun = True

    def _texts(self, plan: Plan, states: Mapping[str, States], examples: Tensor) -> tuple[_Last, _Last]:
        """Last states of the reader and of the other role."""
        if (examples < 0).any():
            raise PlaitError(
                f"a dual encoder compares two texts, but an example lacks its {' or '.join(plan.others())}; give it"
            )
        first, second = (_last(plan, states, examples, role) for role in (plan.reader, *plan.others()))
        return first, second


def _last(plan: Plan, states: Mapping[str, States], examples: Tensor, role: str) -> _Last:
    """Last states of a role, padded: [B, M, H] and which are real, bool [B, M]; of vectors [B, H] and nothing."""
    recipe = plan.recipe(role, plan.join)
    x = states[role].tensors[plan.hidden(role, plan.join)]
    groups = examples[:, plan.roles.index(role)]
    if plan.compare != "maxsim":
        return x.index_select(0, groups).float(), groups
    layout, tokens = states[role].rows(recipe).select(groups)
    return layout.pad(x.index_select(0, tokens)).float(), layout.mask


def _best_cosines(first: _Last, second: _Last) -> Tensor:
    (queries, asked), (passages, there) = first, second
    alike = F.normalize(queries, dim=-1) @ F.normalize(passages, dim=-1).mT  # [B, M, N]
    best = alike.masked_fill(~there[:, None], -1.0).amax(2).masked_fill(~asked, 0.0)
    return best.sum(1) / asked.sum(1)
