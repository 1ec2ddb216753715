"""Text files: one document a file; a directory is all the text files in it."""

from collections.abc import Iterator
from pathlib import Path

from plait.data.document import Record
from plait.data.source import kind, whole

KINDS = (".txt", ".md")


def records(path: Path) -> Iterator[Record]:
    """One record a file: its id is the file's name, or its path from the directory that was named (with "/")."""
    if path.is_dir():
        names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if _is_text(file))
        files = [(name, path / name) for name in names]
    else:
        files = [(path.name, path)]
    for number, (name, file) in enumerate(files, start=1):
        yield Record(number, name, {"text": whole(file) if file == path or file.stat().st_size else ""})


def _is_text(file: Path) -> bool:
    return kind(file) in KINDS and file.is_file()
