"""`plait demo` on a part of the bundled corpus: what `make demo` shows on all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from plait.demo import run
from plait.index import Index


def test_demo_answers_beside_the_full_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(80, tmp_path / "demo.plait", questions=2)
    printed = capsys.readouterr().out
    assert "80 passages" in printed or "81 passages" in printed
    assert "times faster" in printed and "bytes a passage" in printed
    assert "«" in printed and "full pair model:" in printed
    assert not Index.open(tmp_path / "demo.plait").verify()
