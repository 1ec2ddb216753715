"""Rotated queries and keys (RoPE, Su et al. 2021)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from plait.errors import PlaitError


def angles_of(module: nn.Module, config: Any) -> Any:
    """A model's own angles, whose frequencies stay in float32 whatever the model is cast to.

    Raises:
        PlaitError: they depend on the longest text of a batch.
    """
    every = config.rope_parameters
    kinds = {one.get("rope_type") for one in ([every] if "rope_type" in every else every.values()) if one}
    if moving := kinds & {"dynamic", "longrope"}:
        raise PlaitError(
            "rotations must not depend on the other texts of a batch, but rope_type is "
            f"{', '.join(sorted(moving))}; take a checkpoint with another"
        )
    return copy.deepcopy(module).float()


@dataclass(frozen=True)
class Rotary:
    """A Relation. `angles` gives cosines and sines [G or 1, M, D] at places, in the dtype of its first argument; a
    layer with a `window` sees so many tokens to both sides.
    """

    angles: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    window: int | None = None

    def turned(self, x: Tensor, places: Tensor) -> Tensor:
        """Rotated in float32, in the dtype that they come in."""
        cos, sin = self.angles(x.new_empty(0, dtype=torch.float32), places)
        first, second = x.float().chunk(2, -1)
        cos, sin = (of[:, :, None].chunk(2, -1)[0] for of in (cos, sin))  # whose halves are alike
        return torch.cat((first * cos - second * sin, second * cos + first * sin), -1).to(x.dtype)

    def bias(self, query: Tensor, key: Tensor, distance: Tensor) -> Tensor | None:
        """[G or 1, 1, M, keys], so low past the window that nothing is read there."""
        if self.window is None:
            return None
        past = distance.abs() > self.window
        if not past.any():
            return None
        bias = torch.zeros(past.shape, dtype=query.dtype, device=query.device)
        return bias.masked_fill(past, torch.finfo(query.dtype).min / 2)[:, None]
