"""Rows of results: one JSON object a line, each with what it was measured on."""

import json
from collections.abc import Mapping
from pathlib import Path

from bench import machine

RESULTS = Path(__file__).parents[1] / "results"


def append(name: str, row: Mapping[str, object]) -> None:
    """Add a row to results/NAME.jsonl, and print it."""
    RESULTS.mkdir(exist_ok=True)
    line = json.dumps({**row, "machine": machine.facts()})
    with (RESULTS / f"{name}.jsonl").open("a") as file:
        file.write(line + "\n")
    print(line, flush=True)
