"""Text files: one document a file; a directory is all the text files in it, hidden ones excepted."""

from collections.abc import Iterator
from pathlib import Path

from plait.data.document import Record
from plait.data.source import kind, whole

KINDS = (".txt", ".md")


def records(path: Path) -> Iterator[Record]:
    """One record a file: its id is the file's name, or its path from the directory that was named (with "/")."""
    if not path.is_dir():
        yield Record(1, path.name, {"text": whole(path)})
        return
    names = sorted(file.as_posix() for file in visible(path) if kind(file) in KINDS)
    for number, name in enumerate(names, start=1):
        yield Record(number, name, {"text": whole(path / name, empty=True)})


def visible(folder: Path) -> Iterator[Path]:
    """The files of a folder and of those in it, from there; not those whose name, or a folder's, begins with a dot."""
    for file in folder.rglob("*"):
        inside = file.relative_to(folder)
        if file.is_file() and not any(part.startswith(".") for part in inside.parts):
            yield inside
