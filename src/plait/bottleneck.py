"""A learned linear bottleneck: what is stored of a hidden state is narrower than the state."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Bottleneck(nn.Module):
    """Down to `width` numbers before the store and up again after it, as PreTTR compresses term representations
    (MacAvaney et al., SIGIR 2020), there with a nonlinearity between. It is made as an orthogonal projection by chance,
    begins as that on the principal components of states that it will see, and is trained with the model.

    Attributes:
        begun: whether its weights were ever made to fit states.
    """

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.begun = False
        self.down, self.up = nn.Linear(hidden, width), nn.Linear(width, hidden)
        nn.init.orthogonal_(self.down.weight)
        with torch.no_grad():
            self.up.weight.copy_(self.down.weight.T)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.bias)

    @torch.no_grad()
    def begin(self, states: Tensor) -> None:
        """Become the projection that loses least of these states [T, H], and of their mean nothing (PCA)."""
        x = states.double()
        mean = x.mean(0)
        x = x - mean
        components = torch.linalg.eigh(x.T @ x).eigenvectors[:, -self.down.out_features :].T  # [W, H]
        self.down.weight.copy_(components)
        self.down.bias.copy_(-components @ mean)
        self.up.weight.copy_(components.T)
        self.up.bias.copy_(mean)
        self.begun = True

    def forward(self, x: Tensor) -> Tensor:
        """[T, H] -> [T, H]: what a state is after the store."""
        up: Tensor = self.up(self.down(x))
        return up


def bottleneck_key(layer: int, width: int) -> str:
    """The name of the bottleneck of a layer's input states among a model's."""
    return f"{layer}/{width}"
