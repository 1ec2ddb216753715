"""`plait demo` on a part of the bundled corpus: what `make demo` shows on all of it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from plait.demo import Full, _show, run
from plait.index import Index
from plait.results import Answers, Hit, Ranking
from plait.scoring import Timing
from tests.command import refused


# The small model reads 127 tokens, so that the full pair model cuts the paragraphs.
@pytest.mark.filterwarnings("ignore::plait.errors.TruncationWarning")
def test_demo_answers_beside_the_full_model(
    checkpoint_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(20, tmp_path / "demo.plait", questions=2, name=str(checkpoint_path))
    printed = capsys.readouterr().out
    assert "20 paragraphs of 1 Wikipedia article (SQuAD 1.1 dev)" in printed
    assert "times faster" in printed and "bytes a passage" in printed
    assert "«" in printed and "full pair model:" in printed
    assert not Index.open(tmp_path / "demo.plait").verify()


def test_an_unanswered_question_says_why() -> None:
    """The passages that were read lack the answer, or none was found to read."""
    hit, timing = Hit("a/1", "a/1", "the river", 0, 1.0, 1.0, {}), Timing()
    for hits, why in (([hit], "the passages that were read have no answer"), ([], "no passage shares a word with the")):
        out = Console(file=io.StringIO())
        _show(out, "who?", Answers([], Ranking(hits, timing, 0)), Full("a/1", "", 0.1))
        assert why in out.file.getvalue()  # type: ignore[attr-defined]


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
