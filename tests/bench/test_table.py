"""Every table is what its rows say."""

from __future__ import annotations

from bench.table import FILES, filled


def test_tables_are_made_from_committed_rows() -> None:
    for file in FILES:
        text = file.read_text()
        assert "<!-- table: " in text
        assert filled(text) == text, f"{file} differs from its rows; run python -m bench.table"
