"""Selectors whose kept tokens stand for the others.

Each: Groups -> the place in the group of the token that stands for each token, int64 [G, M] (anything in padding).
All but `mean` leave fixed tokens alone and need room for one free token in every group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from plait.extras import library
from plait.selection.centres import core_set, salient_core_set
from plait.selection.clusters import lloyd, representatives
from plait.selection.groups import Groups, highest


def nearest(groups: Groups) -> Tensor:
    """Free core-set centres, each with the tokens to which it is the nearest one."""
    centres = core_set(groups)
    places, valid = highest((centres & groups.free).float(), groups.room)  # [G, k]
    near = groups.away(places).masked_fill_(~valid[:, :, None], torch.inf).argmin(1)  # [G, M]
    return torch.where(centres, groups.places, places.gather(1, near))


def tome(groups: Groups) -> Tensor:
    """Bipartite soft matching (Bolya et al., Token Merging, ICLR 2023, section 3), repeated until few are left.

    A step takes the free tokens alternately into two sets, finds for each token of the first the most similar one of
    the second (cosine of states), and merges the best pairs, at most half of the tokens, into the second's token.
    """
    owner = groups.places.repeat(len(groups.mask), 1)  # [G, M]
    weights = (groups.weights * groups.mask)[:, None]
    while True:
        left = groups.free & (owner == groups.places)
        number = left.sum(1)
        merges = (number - groups.room).minimum(number // 2)  # [G]
        if not merges.any():
            return owner
        order, valid = highest(left.float(), number)  # free tokens that are left, in order, [G, n]
        # The cosine of two means is that of two sums.
        sums = (owner[:, None] == order[:, :, None]) * weights  # [G, n, M]
        inner = sums @ groups.products
        norms = (inner * sums).sum(2).clamp(min=1e-30).sqrt()
        alike = inner[:, ::2] @ sums[:, 1::2].mT / (norms[:, ::2, None] * norms[:, None, 1::2])
        alike = alike.masked_fill(~(valid[:, ::2, None] & valid[:, None, 1::2]), -torch.inf)
        score, partner = alike.max(2)  # [G, n / 2]
        best, merged = highest(score, merges)
        source = order[:, ::2].gather(1, best)
        target = order[:, 1::2].gather(1, partner.gather(1, best))
        # Whoever stood for a token goes on to stand for it through its partner.
        through = groups.places.repeat(len(owner), 1)
        through.scatter_(1, source, torch.where(merged, target, source))
        owner = through.gather(1, owner)


def kmeans(groups: Groups) -> Tensor:
    """k-means of the free tokens from core-set centres, 10 steps; the member nearest to the mean stands for all."""
    return representatives(groups, lloyd(groups, core_set(groups) & groups.free))


def salient_kmeans(groups: Groups) -> Tensor:
    """The same of `Groups.weighed`, from the centres of a salient core-set."""
    return representatives(groups, lloyd(groups, salient_core_set(groups) & groups.free))


def ward(groups: Groups) -> Tensor:
    """Ward clustering of the free tokens' unit vectors: token pooling (Clavié et al. 2024, arXiv 2409.14683). The
    member nearest to the mean stands for all.

    Raises:
        PlaitError: scipy is not installed.
    """
    hierarchy = library("scipy.cluster.hierarchy", "train")
    norms = groups.squares.clamp(min=1e-30).sqrt()
    cosines = groups.products / (norms[:, :, None] * norms[:, None])
    apart = (2 - 2 * cosines).clamp(min=0).sqrt().cpu()
    labels = torch.zeros(groups.mask.shape, dtype=torch.int64)
    for group, (free, room) in enumerate(zip(groups.free.cpu(), groups.room.tolist(), strict=True)):
        places = free.nonzero().flatten()
        first, second = torch.triu_indices(len(places), len(places), 1)
        pairs = apart[group, places[first], places[second]]
        labels[group, places] = _cut(hierarchy.linkage(pairs.double().numpy(), "ward")[:, :2].tolist(), room)
    return representatives(groups, labels.to(groups.mask.device))


def _cut(merges: list[list[float]], number: int) -> Tensor:
    """Exactly `number` clusters of a tree of merges of n tokens, as labels 0 ... number - 1, int64 [n].

    Merge i makes node n + i of two nodes. scipy's own `fcluster` makes fewer clusters where heights are equal.
    """
    tokens = len(merges) + 1
    made = tokens - number
    label = [-1] * (tokens + made)
    used = 0
    for node in range(tokens + made - 1, -1, -1):  # a node comes after all that it is made of
        if label[node] < 0:
            label[node], used = used, used + 1
        if node >= tokens:
            for child in merges[node - tokens]:
                label[int(child)] = label[node]
    return torch.tensor(label[:tokens])


def mean(groups: Groups) -> Tensor:
    """The first token stands for all, itself included."""
    return torch.zeros(groups.mask.shape, dtype=torch.int64, device=groups.mask.device)


MERGE: Mapping[str, Callable[[Groups], Tensor]] = {
    "nearest": nearest,
    "tome": tome,
    "kmeans": kmeans,
    "ward": ward,
    "salient-kmeans": salient_kmeans,
    "mean": mean,
}
