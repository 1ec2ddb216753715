"""Saliency: how much the answers of a model depend on a token, as far as the token's state says it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

RIDGE = 1e-3
"""Of the mean variance of a state's numbers."""


class Saliency(nn.Module):
    """A linear map of the states before one layer, by which `selector=saliency` ranks the tokens of a segment.

    It is fitted, before a training, to the logarithm of gradient norms, see plait.gradients, and stays as it is. So
    AdapLeR's predictors learn gradient saliency, there in every layer, while a single text is classified (Modarressi et
    al., ACL 2022, arXiv 2203.08991). Here it is a function of what is known, so that tokens of a stored text can be
    chosen before it is known what they will be asked. Only differences within a segment count.

    Attributes:
        begun: whether it was ever fitted; before, it prefers the first tokens.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.begun = False
        self.weight = nn.Parameter(torch.zeros(hidden), requires_grad=False)

    @torch.no_grad()
    def begin(self, states: Tensor, wanted: Tensor) -> None:
        """Fit states [T, H] to what is wanted of them [T] by least squares; both less their means in their segments."""
        x = states.double()
        moments = x.T @ x
        moments.diagonal().add_(RIDGE * moments.diagonal().mean())
        self.weight.copy_(torch.linalg.solve(moments, x.T @ wanted.double()))
        self.begun = True

    def forward(self, x: Tensor) -> Tensor:
        """States [T, H] -> float32 [T]. Token by token, so that it does not depend on what else is in a batch."""
        return (x.float() * self.weight.float()).sum(-1)
