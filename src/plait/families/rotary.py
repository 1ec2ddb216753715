"""Rotated queries and keys (RoPE, Su et al. 2021)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


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
        cos, sin, (first, second) = cos[:, :, None], sin[:, :, None], x.float().chunk(2, -1)
        turned: Tensor = x.float() * cos + torch.cat((-second, first), -1) * sin
        return turned.to(x.dtype)

    def bias(self, query: Tensor, key: Tensor, distance: Tensor) -> Tensor | None:
        """[G or 1, 1, M, keys], so low past the window that nothing is read there."""
        if self.window is None:
            return None
        past = distance.abs() > self.window
        if not past.any():
            return None
        bias = torch.zeros(past.shape, dtype=query.dtype, device=query.device)
        return bias.masked_fill(past, torch.finfo(query.dtype).min / 2)[:, None]
