"""A learned linear bottleneck: what is stored of a hidden state is narrower than the state."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Bottleneck(nn.Module):
    """Down to `width` numbers before the store and up again after it, as PreTTR compresses term representations
    (MacAvaney et al., SIGIR 2020), there with a nonlinearity between. It begins as an orthogonal projection and is
    trained with the model.
    """

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(hidden, width), nn.Linear(width, hidden)
        nn.init.orthogonal_(self.down.weight)
        with torch.no_grad():
            self.up.weight.copy_(self.down.weight.T)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[T, H] -> [T, H]: what a state is after the store."""
        up: Tensor = self.up(self.down(x))
        return up


def bottleneck_key(layer: int, width: int) -> str:
    """The name of the bottleneck of a layer's input states among a model's."""
    return f"{layer}/{width}"
