"""Standard output that cannot take what is printed: a full disk, a reader that left, an encoding without letters."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.command import start

ROUTES = {
    "at once": ("plan", "bundled:minilm-squad"),  # printed line by line
    "at the end": ("plan", "bundled:minilm-squad", "--json"),  # kept until the process ends
    "help": ("--help",),
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("route", ROUTES)
def test_a_full_disk(route: str) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    process = start(*ROUTES[route], stdout=full)
    os.close(full)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert said.startswith("plait: output must be written whole, but could not be (No space left on device); free")
    assert said.count("\n") == 1


@pytest.mark.parametrize("route", ROUTES)
def test_a_reader_that_left(route: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = start(*ROUTES[route], stdout=writer)
    os.close(writer)
    _, said = process.communicate(timeout=120)
    assert said == "" and process.returncode == 1


def test_an_encoding_without_the_letters(made: Path, checkpoint_path: Path, tmp_path: Path) -> None:
    """What is read is still what was meant: JSON stays JSON."""
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('["what?", "the river ü 🌉"]\n', "utf-8")
    ranked = start("rank", made, "castle", encoding="ascii")
    predicted = start("predict", checkpoint_path, pairs, encoding="latin-1")
    out, err = ranked.communicate(timeout=120)
    assert ranked.returncode == 0 and err == "" and "in the castle on the mountain" in out and "\\u2026\n" in out
    out, err = predicted.communicate(timeout=120)
    assert predicted.returncode == 0 and err == "" and json.loads(out)["texts"] == ["what?", "the river ü 🌉"]
