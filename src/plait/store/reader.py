"""The bytes of passages' states, straight from the data files.

The table keeps each matrix uncompressed at a known position of a data file. One positioned read per matrix into one
buffer is cheaper than the table library's own random read. The library's
answer stays the reference: the first matrix read from each file is compared with it, and a file where the two differ,
as a later version of the library may lay files out otherwise, is read through the library.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from plait.errors import Failure
from plait.store.catalog import Part

if TYPE_CHECKING:
    import lance

OPEN_FILES = 64
PIECE = 1 << 20
"""Bytes read before they are decoded: what the processor's cache holds."""


class Reader:
    """Reads matrices from the data files in `folder`. For use by several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._files: OrderedDict[str, int | None] = OrderedDict()

    def gather(
        self, dataset: "lance.LanceDataset", places: list[tuple[Part, int]], tensor: int, right: list[int]
    ) -> Iterator[NDArray[np.uint8]]:
        """The matrices of one tensor for passages in the order given, as pieces of uint8, several matrices each;
        `right` are the bytes that they must have.

        Every piece lies in the same memory: use it before asking for the next.
        Failure for a matrix of the wrong size; OSError for a file that is missing or too short.
        """
        sizes = [int(part.sizes[tensor, row]) for part, row in places]
        for (part, row), size, wanted in zip(places, sizes, right, strict=True):
            if size != wanted:
                raise Failure(
                    f"the states of passage {part.ids[row]!r} must have {wanted} bytes, but "
                    f"have {size}; the store is damaged: delete the document {part.documents[row]!r} and add it again"
                )
        memory = np.empty(max([PIECE, *sizes]), dtype=np.uint8)
        view, used = memory.data, 0
        for (part, row), size in zip(places, sizes, strict=True):
            if used + size > len(memory):
                yield memory[:used]
                used = 0
            self._fill(view[used : used + size], dataset, part, tensor, row)
            used += size
        if used:
            yield memory[:used]

    def keep(self, files: set[str]) -> None:
        """Close all other data files: the disk has no room back from a removed one while it is open."""
        with self._lock:
            for file in self._files.keys() - files:
                _close(self._files.pop(file))

    def close(self) -> None:
        """Close the data files."""
        with self._lock:
            while self._files:
                _close(self._files.popitem()[1])

    def __del__(self) -> None:
        self.close()

    def _fill(self, target: memoryview, dataset: "lance.LanceDataset", part: Part, tensor: int, row: int) -> None:
        position = int(part.positions[tensor, row])
        with self._lock:  # Held while reading, so that no other thread closes the file meanwhile.
            descriptor = self._open(dataset, part, tensor, row)
            if descriptor is not None and os.preadv(descriptor, [target], position) != len(target):
                raise OSError(f"the data file {part.file} ends before byte {position + len(target)}")
        if descriptor is None:
            target[:] = _asked(dataset, part, tensor, row)

    def _open(self, dataset: "lance.LanceDataset", part: Part, tensor: int, row: int) -> int | None:
        if part.file is None:
            return None
        if part.file not in self._files:
            self._files[part.file] = self._compared(dataset, part, part.file, tensor, row)
            if len(self._files) > OPEN_FILES:
                _close(self._files.popitem(last=False)[1])
        self._files.move_to_end(part.file)
        return self._files[part.file]

    def _compared(self, dataset: "lance.LanceDataset", part: Part, file: str, tensor: int, row: int) -> int | None:
        """A descriptor of the data file; None if its matrix does not lie where this reader looks for it."""
        descriptor = os.open(self._folder / file, os.O_RDONLY)
        try:
            found = os.pread(descriptor, int(part.sizes[tensor, row]), int(part.positions[tensor, row]))
            if found == _asked(dataset, part, tensor, row):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None


def _asked(dataset: "lance.LanceDataset", part: Part, tensor: int, row: int) -> bytes:
    address = int(part.addresses[row])
    [(_, found)] = dataset.read_blobs(f"state_{tensor}", addresses=[address], preserve_order=True)
    return found or b""


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)
