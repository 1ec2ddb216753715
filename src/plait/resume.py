"""A training that goes on: from which checkpoint, and whether it is still the same training."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path

from plait import files
from plait.config import TrainConfig
from plait.data import located
from plait.errors import PlaitError

BESIDE = "plait-train.json"
"""The config of a training, kept beside its checkpoints, with a hash of its data."""
FREE = ("output", "dev", "save_steps", "save_dtype", "tensorboard", "teacher_outputs")
"""The keys that change nothing of what is trained, and may change when a training goes on."""


def begun(config: TrainConfig, resume: bool) -> str | None:
    """The checkpoint to go on from, if any; writes the config beside the checkpoints, for the next time."""
    whole = checkpoints(config.output, resume)
    beside = Path(config.output) / BESIDE
    now = dataclasses.asdict(config) | {"contents of data": contents(config.data)}
    now["processes"] = int(os.environ.get("WORLD_SIZE", "1"))
    if config.run:
        now["contents of run"] = contents(config.run)
    if config.teacher and Path(config.teacher).is_dir():
        now["contents of teacher"] = contents(config.teacher)
    if not whole:
        if os.environ.get("RANK", "0") == "0":  # of several processes, one
            files.write(beside, json.dumps(now, indent=2))
        return None
    try:
        before = json.loads(beside.read_text())
    except (OSError, ValueError) as error:
        raise PlaitError(
            f"a training goes on by the config that it began with, but {beside} is not readable ({error}); choose "
            "another output"
        ) from None
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    for key, value in now.items():
        was = before.get(key, defaults.get(key, value))  # a key that an earlier version did not have
        if was != value and key not in FREE:
            raise PlaitError(
                f"a training goes on as it began, but {key} was {was!r} and is now {value!r}; set it back, or choose "
                "another output"
            )
    return str(max(whole, key=lambda path: int(path.name.rpartition("-")[2])))


def checkpoints(output: str | os.PathLike[str], resume: bool) -> list[Path]:
    """The whole checkpoints of a training; PlaitError if there are some and it is not to go on from them."""
    states = Path(output).glob("checkpoint-*/trainer_state.json")  # what is written last, and can be cut too
    whole = [path.parent for path in states if _is_whole(path)]
    if whole and not resume:
        raise PlaitError(
            f"a new training needs an output without checkpoints, but {output} holds {len(whole)}; resume it, or "
            "choose another output"
        )
    return whole


def _is_whole(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text()))
    except ValueError:
        return False


def contents(path: str) -> str:
    """A hash of a file, or of all files of a folder (16 hexadecimal digits)."""
    root, digest = located(path), hashlib.sha256()
    for file in [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file()):
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            while piece := stream.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()[:16]
