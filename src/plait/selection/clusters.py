"""Clusters of the free tokens of each group: k-means, and who stands for a cluster.

A label (int64 [G, M]) is the number of each token's cluster within its group, 0 ... room - 1; in padding and for fixed
tokens it means nothing. A mean is never formed: it is known by the shares that tokens have in it, and inner products
with it are the same mean of the tokens' inner products, of which there are fewer than numbers in a state.
"""

from __future__ import annotations

import torch
from torch import Tensor

from plait.selection.groups import Groups, highest

STEPS = 10
"""Of k-means."""

ALIKE = 1e-5
"""Squared distances that differ by less than this part of the group's largest squared norm are equal."""


def lloyd(groups: Groups, centres: Tensor) -> Tensor:
    """Labels after STEPS steps of Lloyd's algorithm; tokens weigh as much as the tokens that they stand for.

    Args:
        centres: where it begins, bool [G, M]: `room` free tokens of each group.
    """
    start, valid = highest(centres.float(), groups.room)  # [G, k]
    shares = ((start[:, :, None] == groups.places) & valid[:, :, None]).float()  # [G, k, M]
    label: Tensor | None = None
    for _ in range(STEPS):
        away = _away(groups, shares).masked_fill_(~valid[:, :, None], torch.inf)
        near, nearer = away.min(1)
        if label is not None and torch.equal(nearer, label):
            break
        label = nearer
        members = _members(groups, label, valid.shape[1])
        shares = torch.where(members.any(2, keepdim=True), _shares(groups, members), shares)
    assert label is not None
    return _filled(groups, label, near, valid)


def representatives(groups: Groups, label: Tensor) -> Tensor:
    """The place of the member nearest to its cluster's mean for each free token, and its own for the others, int64
    [G, M].
    """
    members = _members(groups, label, int(groups.room.max()))
    away = _away(groups, _shares(groups, members)).masked_fill_(~members, torch.inf)
    # Both members of a pair are as near: the first one it is, and not whichever rounding favours.
    limit = away.amin(2, keepdim=True) + ALIKE * groups.squares.amax(1)[:, None, None]
    found = (members & ~(away > limit)).float().argmax(2)  # [G, k]
    return torch.where(groups.free, found.gather(1, label), groups.places)


def _members(groups: Groups, label: Tensor, number: int) -> Tensor:
    """bool [G, k, M]."""
    return (label[:, None] == torch.arange(number, device=label.device)[:, None]) & groups.free[:, None]


def _shares(groups: Groups, members: Tensor) -> Tensor:
    """Of each token in its cluster's mean, float32 [G, k, M]; 0 in a cluster without members."""
    weights = members * groups.weights[:, None]
    return weights / weights.sum(2, keepdim=True).clamp(min=1e-30)


def _away(groups: Groups, shares: Tensor) -> Tensor:
    """Squared distances of means and tokens, float32 [G, k, M]."""
    inner = shares @ groups.products
    squares = (inner * shares).sum(2, keepdim=True)
    return inner.mul_(-2).add_(squares).add_(groups.squares[:, None]).clamp_(min=0)


def _filled(groups: Groups, label: Tensor, away: Tensor, valid: Tensor) -> Tensor:
    """Every cluster has a member, for exactly as many tokens must be left: one without takes the token that is
    farthest (`away`, [G, M]) from the mean of its cluster, if that one has more. It happens where states are equal.
    """
    label, row = label.clone(), torch.arange(len(label), device=label.device)
    while True:
        size = _members(groups, label, valid.shape[1]).sum(2)  # [G, k]
        empty = valid & (size == 0)
        needy = row[empty.any(1)]
        if not len(needy):
            return label
        spare = groups.free & (size.gather(1, label) > 1)
        giver = away.masked_fill(~spare, -1).argmax(1)
        label[needy, giver[needy]] = empty.float().argmax(1)[needy]
