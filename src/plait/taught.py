"""What a teacher said before: its outputs, a row an example, in files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from plait import files
from plait.errors import PlaitError

KEY = re.compile(r"[0-9a-f]{32}")


class Taught:
    """Rows by the keys of their examples, in the files of a folder, each with the rows of one lesson. In memory is only
    which file has which.

    Raises:
        PlaitError: a file of the folder is cut, or holds something else.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, Path] = {}
        for file in sorted(folder.glob("*.safetensors")):
            with _opened(file) as rows:
                keys = list(rows.keys())
            for key in keys:
                if not KEY.fullmatch(key):
                    raise PlaitError(
                        f"kept outputs of a teacher must be named by examples, but {file} has {key!r}; move it away"
                    )
            self._files |= dict.fromkeys(keys, file)

    def __contains__(self, key: str) -> bool:
        return key in self._files

    def rows(self, keys: Sequence[str]) -> list[Tensor]:
        """The rows of examples that it has, in order, on the CPU."""
        found: dict[str, Tensor] = {}
        for file in dict.fromkeys(self._files[key] for key in keys):
            with _opened(file) as rows:
                found |= {key: rows.get_tensor(key) for key in keys if self._files[key] == file}
        return [found[key] for key in keys]

    def add(self, rows: Mapping[str, Tensor]) -> None:
        """Write those of these rows that it lacks, to one file."""
        new = {key: row.cpu().contiguous() for key, row in rows.items() if key not in self}
        if new:
            name = hashlib.sha256(" ".join(sorted(new)).encode()).hexdigest()[:32]
            file = self.folder / f"{name}.safetensors"
            files.write(file, save(new))
            self._files |= dict.fromkeys(new, file)


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        with safe_open(str(file), "pt") as rows:
            yield rows
    except (OSError, SafetensorError) as error:
        raise PlaitError(f"kept outputs of a teacher must be whole, but {file} is not ({error}); delete it") from None
