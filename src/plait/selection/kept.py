"""reduce: a batch of groups, and how many tokens of each to keep -> the tokens that are left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from plait.errors import PlaitError
from plait.keep import SALIENT, SCORED
from plait.layout import Layout
from plait.selection.choose import CHOOSE
from plait.selection.groups import Groups, runs
from plait.selection.merge import MERGE

SELECTORS = (*CHOOSE, *MERGE)
"""Names of the ways to choose tokens, and of those to merge them."""


@dataclass(frozen=True)
class Kept:
    """The tokens that are left; K of them.

    Attributes:
        layout: of the kept tokens; as many groups as before.
        rows: for each kept token the token of the batch that it is, or whose position it keeps, int64 [K]: ascending,
            without repetition; 0 for tokens of nobody.
        states: [K, H], in the number type of what was given; gradients flow through them.
        sizes: how many original tokens each stands for, float32 [K] (1 for tokens of nobody); None if all stand for
            themselves alone.
    """

    layout: Layout
    rows: Tensor
    states: Tensor
    sizes: Tensor | None


def reduce(
    x: Tensor,
    layout: Layout,
    counts: Sequence[int],
    selector: str,
    *,
    sizes: Tensor | None = None,
    protected: Tensor | None = None,
    scores: Tensor | None = None,
) -> Kept:
    """Keep some tokens of each group, in order. What a group keeps depends on that group alone.

    A group whose count is its length stays as it is; if all do, the result holds x, layout and sizes themselves. The
    selection itself has no gradients and is made in float32.

    Args:
        x: states [T, H], packed by `layout`.
        layout: groups of tokens, some of which may be empty.
        counts: tokens to keep of each group: from 1 to the group's length, 0 of an empty group.
        selector: one of SELECTORS. Those that merge make a kept token the mean of the tokens that it stands for,
            weighted by sizes, those of SALIENT by the exponential of scores too, and add up their sizes; protected
            tokens stand for themselves alone, and where only they are left the others are dropped. `mean` is one vector
            for the whole group, protected tokens included.
        sizes: of an earlier merge, float32 [T].
        protected: tokens that are never dropped, bool [T]; the first token of each group always is.
        scores: what selectors of SCORED go by, `attention` that which each token received, float32 [T].

    Raises:
        PlaitError: a count or a selector that cannot be, more protected tokens than are to be kept, a selector of
            SCORED without `scores`, or `ward` without scipy.
    """
    _check(layout.lengths, counts, selector, scores)
    if list(counts) == layout.lengths:
        return Kept(layout, torch.arange(layout.tokens, device=x.device), x, sizes)
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):  # autocast would compare rounded products
        owner, weights = _owners(x.detach(), layout, counts, selector, sizes, protected, scores)
        kept = layout.thinned(counts)
        rows = (owner == torch.arange(layout.tokens, device=x.device)).nonzero().flatten()
        rows = F.pad(rows, (0, kept.tokens - kept.used))  # [K]
    if weights is not None:
        return Kept(kept, rows, *_means(x, kept, rows, owner, weights, sizes))
    if sizes is not None:
        sizes = sizes.index_select(0, rows)
        sizes[kept.used :] = 1
    return Kept(kept, rows, x.index_select(0, rows), sizes)


def _check(lengths: Sequence[int], counts: Sequence[int], selector: str, scores: Tensor | None) -> None:
    if selector not in SELECTORS:
        raise PlaitError(f"a selector is one of {', '.join(SELECTORS)}, but this is {selector!r}; name one of them")
    if len(counts) != len(lengths):
        raise PlaitError(
            f"there must be one count for each of the {len(lengths)} groups, but there are {len(counts)}; pass one each"
        )
    for group, (count, length) in enumerate(zip(counts, lengths, strict=True)):
        if not min(1, length) <= count <= length:
            raise PlaitError(
                f"of a group of {length} tokens between {min(1, length)} and {length} can be kept, but the count of "
                f"group {group} is {count}; pass min(count, length)"
            )
        if selector == "mean" and count > 1:
            raise PlaitError(
                f"mean keeps one token of each group, but the count of group {group} is {count}; pass 1 or another "
                "selector"
            )
    if selector in SCORED and scores is None:
        raise PlaitError(
            f"the selector {selector} ranks tokens by numbers that they have from elsewhere; pass scores, or coreset"
        )


def _owners(
    x: Tensor,
    layout: Layout,
    counts: Sequence[int],
    selector: str,
    sizes: Tensor | None,
    protected: Tensor | None,
    scores: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    """The token that stands for each token (-1 for none), int64 [T]; and if any stands for another, how much each
    weighs in a mean, float32 [T].
    """
    owner = torch.arange(layout.tokens, device=x.device)
    fixed = layout.within == 0 if protected is None else protected | (layout.within == 0)
    owner[layout.used :] = -1
    fixed[layout.used :] = False
    before = F.pad(fixed.cumsum(0), (1, 0))  # [T + 1]
    kept = (before[layout.starts + layout.lengths_tensor] - before[layout.starts]).tolist()
    fewer = [g for g, count in enumerate(counts) if count < layout.lengths[g]]
    for g in fewer:
        if kept[g] > counts[g]:
            raise PlaitError(
                f"protected tokens are never dropped, but group {g} has {kept[g]} of them, its first token included, "
                f"and its count is {counts[g]}; keep more tokens or protect fewer"
            )
    merging = [g for g in fewer if selector == "mean" or (selector in MERGE and kept[g] < counts[g])]
    choosing = sorted({*fewer} - {*merging})
    work = [(True, run) for run in runs(layout.lengths, merging)]
    work += [(False, run) for run in runs(layout.lengths, choosing)]
    weights = torch.ones(layout.tokens, device=x.device) if sizes is None else sizes.clone()
    for merge, run in work:
        at = torch.tensor(run, device=x.device)
        lengths = layout.lengths_tensor[at]
        places = torch.arange(max(layout.lengths[g] for g in run), device=x.device)
        tokens = layout.starts[at][:, None] + places.minimum(lengths[:, None] - 1)  # [G, M]
        stays = fixed[tokens] & (places < lengths[:, None])
        few = torch.tensor([counts[g] for g in run], device=x.device)
        ranked = None if scores is None else scores[tokens]
        groups = Groups(x, tokens, lengths, few, stays, weights[tokens], ranked)
        if merge and selector in SALIENT:
            groups = groups.weighed()
            weights[tokens[groups.mask]] = groups.weights[groups.mask]
        if merge:
            found = tokens.gather(1, MERGE[selector](groups))
        else:
            choose = CHOOSE.get(selector, CHOOSE["first"])  # no room to merge: all but the protected are dropped
            found = torch.where(choose(groups), tokens, -1)
        owner[tokens[groups.mask]] = found[groups.mask]
    return owner, weights if merging else None


def _means(
    x: Tensor, kept: Layout, rows: Tensor, owner: Tensor, weights: Tensor, sizes: Tensor | None
) -> tuple[Tensor, Tensor]:
    """States [K, H] and sizes [K] of the tokens that stand for others."""
    number = torch.arange(kept.used, device=x.device)
    slot = torch.zeros_like(owner).scatter_(0, rows[: kept.used], number)
    source = (owner >= 0).nonzero().flatten()
    slot = slot[owner[source]]  # where each token goes
    many = torch.ones(len(source), device=x.device) if sizes is None else sizes[source]
    total = many.new_zeros(kept.tokens).index_add_(0, slot, many)
    total[kept.used :] = 1
    weights = weights[source]
    whole = weights.new_zeros(kept.tokens).index_add_(0, slot, weights)
    shares = (weights / whole[slot])[:, None]  # exactly 1 for a token alone, which stays what it was
    wide = torch.promote_types(x.dtype, torch.float32)
    states = torch.zeros(kept.tokens, x.shape[1], dtype=wide, device=x.device)
    states = states.index_add(0, slot, x.index_select(0, source).to(wide) * shares)
    return states.to(x.dtype), total
