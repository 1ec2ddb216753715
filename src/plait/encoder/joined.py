"""What joined layers give: the last states of every example's answering tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from plait.layout import Layout
from plait.relation import SEGMENT
from plait.thinning import Track

Answer = Literal["first", "mean", "all", "whole"]


@dataclass(frozen=True)
class Joined:
    """The last states [T, H] of B groups.

    Attributes:
        layout: one token a group for the answers `first` and `mean`, the reader's for `all`, the example's for `whole`.
        places: for `all`, which token of the reader's segment each is, int64 [T]; None where it is all of them.
        parts: for `whole`, the tokens of each role within each group, in order.
    """

    states: Tensor
    layout: Layout
    places: Tensor | None = None
    parts: Sequence[Track] = ()

    @staticmethod
    def behind(runs: Sequence[Joined]) -> Joined:
        """The groups of several, one after the other."""
        if len(runs) == 1:
            return runs[0]
        whole = Track.behind([Track(run.states, run.layout, None, run.places) for run in runs])
        parts = [Track.behind(tracks) for tracks in zip(*(run.parts for run in runs), strict=True)]
        return Joined(whole.x, whole.layout, whole.places, parts)

    def in_segments(self) -> Joined:
        """The same with places within segments alone; see SEGMENT."""
        places = None if self.places is None else self.places % SEGMENT
        parts = [part if part.places is None else replace(part, places=part.places % SEGMENT) for part in self.parts]
        return replace(self, places=places, parts=parts)
