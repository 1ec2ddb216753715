"""What many tests share: one small checkpoint with both heads, and the model in it."""

from pathlib import Path

import pytest

from plait.model import Plait
from tests.small import small_checkpoint

PLANS = {"score": "join=2,mode=oneway", "span": "join=1,reader=passage"}


@pytest.fixture(scope="session")
def checkpoint_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of 3 layers with both heads, 128 positions and the plans PLANS. Not to be changed."""
    folder = tmp_path_factory.mktemp("checkpoint") / "bert"
    return small_checkpoint(folder, plans=PLANS, max_position_embeddings=128)


@pytest.fixture(scope="session")
def model(checkpoint_path: Path) -> Plait:
    """The model of `checkpoint_path`. Not to be changed."""
    return Plait.from_pretrained(checkpoint_path)
