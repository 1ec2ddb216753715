"""`plait demo` on a part of the bundled corpus: what `make demo` shows on all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from plait.demo import run
from plait.index import Index
from tests.command import refused


# The small model reads 127 tokens, so that the full pair model cuts the paragraphs.
@pytest.mark.filterwarnings("ignore::plait.errors.TruncationWarning")
def test_demo_answers_beside_the_full_model(
    checkpoint_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(20, tmp_path / "demo.plait", questions=2, name=str(checkpoint_path))
    printed = capsys.readouterr().out
    assert "20 paragraphs" in printed
    assert "times faster" in printed and "bytes a passage" in printed
    assert "«" in printed and "full pair model:" in printed
    assert not Index.open(tmp_path / "demo.plait").verify()


def test_demos_that_cannot_be(store: Path, checkpoint_path: Path) -> None:
    assert "passages must be 0 (all) or more, but is -1" in refused("demo", "--passages", -1)
    others = refused(
        "demo",
        "--passages",
        3,
        "--store",
        store,
        "--model",
        checkpoint_path,
    )
    assert "the demo's store must hold the 3 paragraphs asked for and no others" in others
