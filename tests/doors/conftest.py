"""A store made by the command itself; and models of other heads than most have."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from plait.model import Plait
from tests.command import done
from tests.corpus import SMALL, corpus
from tests.small import small_checkpoint


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, checkpoint_path: Path) -> Path:
    """A store of TEXTS, built by the command. Not to be changed."""
    root = tmp_path_factory.mktemp("made")
    said = done("index", corpus(root), "--store", root / "s.plait", "--model", checkpoint_path, *SMALL)
    assert said.startswith("4 documents stored as ")
    return root / "s.plait"


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of it. Whatever a test does, what it leaves is whole."""
    shutil.copytree(made, tmp_path / "s.plait")
    yield tmp_path / "s.plait"
    assert "passages are whole" in done("verify", tmp_path / "s.plait")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Plait:
    """A model of three labels."""
    folder = small_checkpoint(tmp_path_factory.mktemp("three") / "bert", heads=("score",), num_labels=3)
    return Plait.from_pretrained(folder, plan="join=2,mode=oneway")


@pytest.fixture(scope="module")
def spans_only(tmp_path_factory: pytest.TempPathFactory) -> Plait:
    return Plait.from_pretrained(
        small_checkpoint(tmp_path_factory.mktemp("spans") / "bert", heads=("span",)), plan="join=1"
    )


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For sums to be taken in the same order, here and in a process with one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
