"""Pairs of which the right one speaks of copper: what a very small model can learn."""

from __future__ import annotations

import json
import random
from pathlib import Path

WORDS = ["river", "stone", "lantern", "winter", "garden", "music", "engine", "harbour"]


def write(path: Path, task: str, count: int, seed: int) -> Path:
    """Write as many queries, each with a right and a wrong passage, labelled for the task."""
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        query, *others = rng.sample(WORDS, 4)
        for right in (True, False):
            passage = [*others, *rng.sample(WORDS, 2), "copper" if right else "winter"]
            rng.shuffle(passage)
            label: object = ("yes" if right else "no") if task == "class" else float(right)
            rows.append({"query": query, "passage": " ".join(passage), "label": label, "group": f"q{number}"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def labelled(path: Path, task: str, count: int, seed: int) -> Path:
    """Write as many examples of a task, or questions of three options: whether the passage speaks of copper."""
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        best = rng.randrange(3)
        for option in range(3 if task in ("rank", "choice") else 1):
            right = option == best if task in ("rank", "choice") else rng.random() < 0.5
            passage = [*rng.sample(WORDS, 2), "copper" if right else rng.choice(WORDS)]
            rng.shuffle(passage)
            label: object = ("yes" if right else "no") if task == "class" else float(right)
            row = {"query": rng.choice(WORDS), "passage": " ".join(passage), "label": label}
            rows.append(row | ({"group": f"q{number}"} if task in ("rank", "choice") else {}))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
