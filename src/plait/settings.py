"""How an index was built, kept beside its store."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from plait import files
from plait.errors import PlaitError, system_fix

FILE = "plait.json"
Vectors = Literal["none", "pooled", "given"]


@dataclass(frozen=True)
class Settings:
    """How an index was built: what `open` needs to know, kept beside the store as `plait.json`.

    Attributes:
        model: folder or hub id of the checkpoint.
        plans: the plan of every head, in text form.
        dtype: of weights and states when the index was built.
        passage_tokens, overlap: longest passage, and tokens that neighbours share; less where the model reads less.
        vectors: `pooled` keeps the mean of each passage's deepest states for vector search, `given` what `add` gets.
    """

    model: str
    plans: Mapping[str, str]
    dtype: str = "float32"
    passage_tokens: int = 384
    overlap: int = 64
    vectors: Vectors = "none"


def name_anywhere(model: str) -> str:
    """The name of a checkpoint, good from anywhere: of a folder its whole path."""
    return str(Path(model).resolve()) if Path(model).is_dir() else model


def to_json(settings: Settings) -> str:
    """What `read_settings` reads."""
    return json.dumps(dataclasses.asdict(settings), indent=2)


def write_settings(path: str | os.PathLike[str], settings: Settings) -> None:
    """Put them in place of those of the index at `path`, whole or not at all."""
    files.write(Path(path) / FILE, to_json(settings))


def read_settings(path: str | os.PathLike[str]) -> Settings:
    """How the index at `path` was built."""
    file = Path(path) / FILE
    try:
        settings = Settings(**json.loads(file.read_text()))
        if not all(isinstance(text, str) for text in (settings.model, settings.dtype, *dict(settings.plans).values())):
            raise TypeError("model, plans and dtype must be texts")
        if not all(isinstance(number, int) for number in (settings.passage_tokens, settings.overlap)):
            raise TypeError("passage_tokens and overlap must be whole numbers")
        return settings
    except (FileNotFoundError, NotADirectoryError):
        raise PlaitError(
            f"an index is a folder with plait.json in it, but {os.fspath(path)!r} is not; build one with plait index"
        ) from None
    except OSError as error:
        fix = system_fix(error) or "check the disk"
        raise PlaitError(f"an index needs its {FILE}, but {file} cannot be read ({error.strerror}); {fix}") from None
    except (ValueError, TypeError) as error:
        raise PlaitError(
            f"{file} must be the JSON that plait index wrote, but is not ({error}); build the index again"
        ) from None
