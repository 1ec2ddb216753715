"""README and docs are transcripts: their commands run, in order, and print what they say, up to times and sizes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(kind: str) -> list[str]:
    return [body for page in PAGES for found, body in BLOCK.findall(page.read_text("utf-8")) if found == kind]


def commands(block: str) -> list[tuple[str, list[str]]]:
    """Each `$ command` with the lines that it prints."""
    found: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), []))
        elif line.strip():
            found[-1][1].append(line)
    return found


def shape(line: str) -> str:
    """A line without its numbers, so that times and sizes may differ."""
    return re.sub(r"-?\d[\d,.]*", "#", " ".join(line.split()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readme")


def test_console_blocks_print_what_they_say(folder: Path) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "200"}
    ran = 0
    for block in blocks("console"):
        for command, expected in commands(block):
            done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{command}\n{done.stderr}"
            printed = [shape(line) for line in done.stdout.splitlines()]
            for line in expected:
                assert shape(line) in printed, f"{command} printed\n{done.stdout}"
            ran += 1
    assert ran >= 4


def test_python_blocks_run(folder: Path) -> None:
    for block in blocks("python"):
        code = block.replace(">>> ", "").replace("... ", "")
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert blocks("python")


def test_the_tree_names_every_room() -> None:
    text = PAGES[0].read_text("utf-8")
    package = ROOT / "src" / "plait"
    for path in package.iterdir():
        module = path.suffix == ".py" and not path.name.startswith("__")
        if module or (path / "__init__.py").exists():
            assert path.name in text, f"{path.name} is missing in the README's tree"
