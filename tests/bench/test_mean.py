"""The mean of two checkpoints."""

from __future__ import annotations

from pathlib import Path

import torch

from bench.mean import mean
from plait import Plait
from tests.small import small_checkpoint


def test_weights_are_halfway(tmp_path: Path) -> None:
    paths = [small_checkpoint(tmp_path / str(seed), seed=seed) for seed in (0, 1)]
    first, second, found = (Plait.from_pretrained(path) for path in (*paths, paths[0]))
    halfway = mean(found, second).state_dict()
    for name, weight in first.state_dict().items():
        torch.testing.assert_close(halfway[name], (weight + second.state_dict()[name]) / 2)
    assert any(not torch.equal(weight, halfway[name]) for name, weight in first.state_dict().items())
