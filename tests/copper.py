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
