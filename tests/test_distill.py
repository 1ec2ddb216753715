"""Losses of lists by their formulas, one pair at a time."""

from __future__ import annotations

import math

import pytest
import torch

from plait.distill import listwise_loss, margin_loss, pairwise_loss

NONE = float("-inf")
OURS = [[1.0, 0.5, -2.0], [0.25, 3.0, NONE]]
THEIRS = [[2.0, 1.0, 0.0], [4.0, -1.0, NONE]]


def test_pairwise_is_ranknets() -> None:
    """log(1 + exp(wrong - right)) of every wrong candidate that there is."""
    terms = [math.log1p(math.exp(x - row[0])) for row in OURS for x in row[1:] if x != NONE]
    assert pairwise_loss(torch.tensor(OURS)).item() == pytest.approx(sum(terms) / 3, abs=1e-6)


def test_margin_mse() -> None:
    """The square of (right - wrong) less the teacher's."""
    pairs = [(a, b) for a, b in zip(OURS, THEIRS, strict=True)]
    terms = [((a[0] - x) - (b[0] - y)) ** 2 for a, b in pairs for x, y in zip(a[1:], b[1:], strict=True) if x != NONE]
    assert margin_loss(torch.tensor(OURS), torch.tensor(THEIRS)).item() == pytest.approx(sum(terms) / 3, abs=1e-6)


def test_listwise_is_the_softmax_of_the_right_one() -> None:
    terms = [math.log(sum(math.exp(x) for x in row)) - row[0] for row in OURS]
    assert listwise_loss(torch.tensor(OURS)).item() == pytest.approx(sum(terms) / 2, abs=1e-6)


@pytest.mark.parametrize("loss", [pairwise_loss, listwise_loss])
def test_a_better_right_candidate_costs_less(loss: object) -> None:
    assert callable(loss)
    better = [[row[0] + 1, *row[1:]] for row in OURS]
    assert loss(torch.tensor(better)) < loss(torch.tensor(OURS))
