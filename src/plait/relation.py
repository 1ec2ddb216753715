"""Where tokens stand, for encoders whose attention minds it: relative and rotary positions, windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from plait.layout import Layout

SEGMENT = 1 << 20
"""A relation that minds segments sees tokens of another one so many places further off; no text is as long."""


class Relation(Protocol):
    """What the attention of a layer makes of where tokens stand in their example, by differences of places alone."""

    def turned(self, x: Tensor, places: Tensor) -> Tensor:
        """Queries or keys [G, M, A, D] as they are compared at these places, int64 [G or 1, M]."""
        ...

    def bias(self, query: Tensor, key: Tensor, distance: Tensor) -> Tensor | None:
        """What is added to the scores of a softmax, finite: [G or 1, A or 1, M, keys].

        Args:
            query, key: turned, [G or 1, M, A, D] and [G, keys, A, D].
            distance: the query's place less the key's, int64 [G or 1, M, keys].
        """
        ...


@dataclass(frozen=True)
class Where:
    """A layer's relation, and the queries' places, int64 [T]; None where they count from 0 in each group."""

    relation: Relation
    places: Tensor | None = None


def side_by_side(parts: Sequence[tuple[Layout, Tensor | None]], keys: int) -> Tensor:
    """Places of tokens that are read together, int64 [G or 1, keys]; past the last one 0."""
    found = [_places(layout, places) for layout, places in parts]
    groups = max(len(places) for places in found)
    whole = torch.cat([places.expand(groups, -1) for places in found], 1)
    return F.pad(whole, (0, keys - whole.shape[1]))


def related(
    where: Where, query: Tensor, key: Tensor, layout: Layout, read: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Padded queries of `layout` and keys at the places `read` as they are compared, and what is added to scores."""
    asked = _places(layout, where.places)
    query, key = where.relation.turned(query, asked), where.relation.turned(key, read)
    bias = where.relation.bias(query, key, asked[:, :, None] - read[:, None, :])
    return query, key, None if bias is None else bias.to(query.dtype)


def added(bias: Tensor | None, mask: Tensor) -> Tensor:
    """Scores to add, with minus infinity where a bool mask is False."""
    if bias is None:
        return mask
    return bias.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else bias + mask


def _places(layout: Layout, places: Tensor | None) -> Tensor:
    """Places by group, int64 [G, M], or [1, M] where all groups count from 0."""
    return torch.arange(layout.longest, device=layout.device)[None] if places is None else layout.pad(places)
