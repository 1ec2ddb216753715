"""Selectors that keep some tokens and drop the others. Each: Groups -> True for what is kept, bool [G, M]."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from plait.selection.centres import core_set, exact_core_set, salient_core_set
from plait.selection.groups import Groups, highest, marked


def first(groups: Groups) -> Tensor:
    """The first tokens."""
    return _best(groups, -groups.places.float().expand_as(groups.mask))


def ends(groups: Groups) -> Tensor:
    """The first and the last tokens, in turn: the best part of a long review (Sun et al., CCL 2019, section 5.3)."""
    left = groups.lengths[:, None] - 1 - groups.places
    return _best(groups, -torch.minimum(groups.places, left).float())


def random(groups: Groups) -> Tensor:
    """The same tokens in every run and for every group of one length; fewer are a part of more."""
    width = groups.mask.shape[1]
    orders = {length: _shuffled(length, width) for length in set(groups.lengths.tolist())}
    order = torch.stack([orders[length] for length in groups.lengths.tolist()])
    return _best(groups, order.to(groups.mask.device))


def _shuffled(length: int, width: int) -> Tensor:
    """0 ... length - 1 in an order that depends on length alone, then zeros, float32 [width]."""
    order = torch.randperm(length, generator=torch.Generator().manual_seed(length))
    return torch.cat([order, order.new_zeros(width - length)]).float()


def even(groups: Groups) -> Tensor:
    """Free tokens at equal steps."""
    free = groups.free
    among = free.sum(1, keepdim=True)
    number = free.cumsum(1)  # of each free token among the free ones, from 1
    # A line of slope room / among passes a whole number at `room` of the tokens, as evenly as whole numbers allow.
    before, after = (((n * groups.room[:, None] + among // 2) // among.clamp(min=1)) for n in (number - 1, number))
    return groups.fixed | (free & (after > before))


def norm(groups: Groups) -> Tensor:
    """The tokens of the longest states."""
    return _best(groups, groups.states.square().sum(2))


def scored(groups: Groups) -> Tensor:
    """The tokens of the highest `scores`: by attention received PoWER-BERT (Goyal et al., ICML 2020, arXiv 2001.08950),
    or by saliency, see plait.saliency.
    """
    assert groups.scores is not None
    return _best(groups, groups.scores.float().nan_to_num())  # infinity stands for what may not be taken


def _best(groups: Groups, scores: Tensor) -> Tensor:
    """What is fixed, and the free tokens of the highest scores."""
    places, valid = highest(scores.masked_fill(~groups.free, -torch.inf), groups.room)
    return groups.fixed | marked(places, valid, groups.fixed.shape[1])


CHOOSE: Mapping[str, Callable[[Groups], Tensor]] = {
    "coreset": core_set,
    "coreset-exact": exact_core_set,
    "first": first,
    "ends": ends,
    "random": random,
    "even": even,
    "norm": norm,
    "attention": scored,
    "saliency": scored,
    "salient-coreset": salient_core_set,
}
