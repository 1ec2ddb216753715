"""Losses: against labels and against a teacher. A teacher's logits belong to the same tokens in the same order,
padding left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from plait.layout import Layout


def span_logits(logits: Tensor, layout: Layout, allowed: Tensor) -> Tensor:
    """Start and end logits [T, 2] -> [2 * G, M], minus infinity where no answer can be."""
    padded = layout.pad(logits.float().masked_fill(~allowed[:, None], float("-inf")))  # [G, M, 2]
    padded = padded.masked_fill(~layout.mask[..., None], float("-inf"))
    return padded.permute(2, 0, 1).flatten(0, 1)  # [2 * G, M]


def span_loss(logits: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """Mean cross entropy of start and end: logits of `span_logits`, token numbers int64 [G] each.

    An answer whose logit is minus infinity, since its token was dropped, counts nothing.
    """
    right = torch.cat([first, last])
    there = torch.isfinite(logits.gather(1, right[:, None]).squeeze(1))
    if bool(there.all()):
        return F.cross_entropy(logits, right)
    losses = F.cross_entropy(logits[there], right[there], reduction="sum")
    return losses / there.sum().clamp(min=1)


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) of rows of logits [N, M], mean over rows (DeFormer section 3.2; T=2 there).

    Zero exactly when the two agree; where the teacher is minus infinity counts nothing.
    """
    return temperature**2 * _divergence(student.float() / temperature, teacher.float() / temperature)


def listwise_loss(scores: Tensor) -> Tensor:
    """Cross entropy of the first candidate among all of its list: scores [Q, C], minus infinity where a list ends."""
    return F.cross_entropy(scores.float(), torch.zeros(len(scores), dtype=torch.int64, device=scores.device))


def pairwise_loss(scores: Tensor) -> Tensor:
    """RankNet (Burges et al. 2005): log(1 + exp(other - first)) over all others of a list, mean. Scores as for
    `listwise_loss`.
    """
    others, there = _others(scores)
    return F.softplus(others - scores[:, :1].float())[there].mean()


def margin_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """MarginMSE (Hofstätter et al. 2020): squared difference of the margins of the first candidate over each other,
    mean. Scores [Q, C] each, minus infinity where a list ends.
    """
    ours, there = _others(student)
    theirs, _ = _others(teacher)
    margins = (student[:, :1].float() - ours)[there], (teacher[:, :1].float() - theirs)[there]
    return F.mse_loss(*margins)


def _others(scores: Tensor) -> tuple[Tensor, Tensor]:
    """All but the first of each list, 0 where a list has ended, and where it has not."""
    others = scores[:, 1:].float()
    there = torch.isfinite(others)
    return others.masked_fill(~there, 0.0), there


def representation_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Mean squared distance of hidden states, layer by layer, averaged over layers (DeFormer section 3.2).

    Both are states [T, H] of the same real tokens after the same layers.
    """
    return torch.stack([F.mse_loss(a.float(), b.float()) for a, b in zip(student, teacher, strict=True)]).mean()


def _divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean KL(teacher || student) of rows of logits [N, M]; where they are minus infinity counts nothing."""
    divergence: Tensor = _Divergence.apply(student, teacher)
    return divergence.mean()


class _Divergence(torch.autograd.Function):
    """KL of rows with the gradient p - q: exactly 0 where the two agree. Through log_softmax it is rounding errors,
    which Adam, blind to size, turns into steps.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor) -> Tensor:
        there = torch.isfinite(teacher)
        ctx.save_for_backward(student, teacher)
        log_student = student.log_softmax(-1).masked_fill(~there, 0)
        log_teacher = teacher.log_softmax(-1).masked_fill(~there, 0)
        return (log_teacher.exp().masked_fill(~there, 0) * (log_teacher - log_student)).sum(-1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        student, teacher = ctx.saved_tensors
        return gradient[..., None] * (student.softmax(-1) - teacher.softmax(-1)), None
