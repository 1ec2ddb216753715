"""A few documents, and what a store of them holds."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from plait.store import Store

TEXTS = {
    "bridge": "A doctor built the silver bridge. The sailor was in the harbour [red]in winter[/red].",
    "castle": "The painter found a letter of the queen in the castle on the mountain. " * 6,
    "music": "Music by the teacher: \\[the engine] of the railway. :smile:",
    "garden": "The garden of the village is yellow.",
}
PASSAGES = [
    "A painter found the letter in the castle.",
    "The river is yellow in winter, and the bridge of stone was built by a doctor.",
    "Music from the market.",
    "river river river",
]
QUESTION = "who built the bridge?"
SMALL = ["--passage-tokens", 40, "--overlap", 8, "--dtype", "float32"]


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def corpus(folder: Path) -> Path:
    return write(folder / "docs.jsonl", [{"id": id, "text": text, "kind": len(id)} for id, text in TEXTS.items()])


def raw(x: torch.Tensor) -> torch.Tensor:
    """An activation that leaves logits as they are."""
    return x


def held(path: Path) -> tuple[dict[str, str], list[str], int]:
    """What a refusal must leave as it was."""
    opened = Store.open(path)
    return opened.contents(), opened.ids(), opened.version
