"""Greedy k-center: centres such that no token of a group is far from all of them."""

from __future__ import annotations

import torch
from torch import Tensor

from plait.selection.groups import Groups, highest, marked

ROUNDS = 8
"""A group of k kept tokens gets k // ROUNDS new centres a round."""


def core_set(groups: Groups) -> Tensor:
    """The core-set selection of Pyramid-BERT (Huang et al., ACL 2022, arXiv 2203.14380), about 8 rounds.

    A round takes the m tokens that are farthest from all centres so far; m is k // 8, at least 1, because with all
    centres in one round the result is worse than a random one. Fixed tokens are the first centres.

    Returns:
        True for centres, `counts` of them in each group, bool [G, M].
    """
    return _centres(groups, (groups.counts // ROUNDS).clamp(min=1))


def exact_core_set(groups: Groups) -> Tensor:
    """The same with one new centre a round: the greedy algorithm of Gonzalez (1985), whose largest distance to a
    centre is at most twice the best possible.

    Returns:
        bool [G, M].
    """
    return _centres(groups, torch.ones_like(groups.counts))


def salient_core_set(groups: Groups) -> Tensor:
    """The core-set of weighted distances: a token's to its nearest centre times the exponential of its score. Where
    that is how much answers change with its state, this is how much they change if it is taken for the centre.

    Returns:
        bool [G, M].
    """
    weights = groups.salience.square()  # of squared distances
    return _centres(groups, (groups.counts // ROUNDS).clamp(min=1), weights)


def _centres(groups: Groups, step: Tensor, weights: Tensor | None = None) -> Tensor:
    """`step`, int64 [G]: new centres a round. Every group has its own, so none depends on the others."""
    width = groups.fixed.shape[1]
    chosen = torch.zeros_like(groups.fixed)
    gap = torch.full(chosen.shape, torch.inf, device=step.device)
    far, number = groups.fixed.float(), groups.fixed.sum(1)  # the first round takes what is fixed
    while True:
        places, valid = highest(far, number)
        chosen |= marked(places, valid, width)
        number = step.minimum(groups.counts - chosen.sum(1))
        if not number.any():
            return chosen
        new = groups.away(places).masked_fill_(~valid[:, :, None], torch.inf)  # [G, n, M]
        gap = gap.minimum(new.amin(1).clamp_(min=0))
        far = (gap if weights is None else gap * weights).masked_fill(chosen | ~groups.mask, -1)
