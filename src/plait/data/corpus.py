"""The shelf's one door: a path of any known kind -> documents; and the corpora that come with Plait."""

import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from plait.data import plain, squad
from plait.data.collection import is_beir, read_corpus
from plait.data.document import Document, documents
from plait.data.source import check_exists, kind
from plait.data.table import TABLES, Reader
from plait.errors import DataWarning, PlaitError

WHOLES: dict[str, tuple[Reader, str]] = {
    ".txt": (plain.records, "file"),
    ".md": (plain.records, "file"),
    ".json": (squad.records, "paragraph"),
}
BUNDLED = {"squad-dev": "squad-dev.json.xz"}


def read_documents(
    path: str | Path, *, text_column: str | None = None, id_column: str | None = None
) -> Iterator[Document]:
    """The documents of a file or directory, one by one and in order; .gz and .xz files are read as what they hold.

    .jsonl: objects with `text` and, if they like, `id` or `_id`; the rest becomes metadata. .csv, .tsv, .parquet:
    the same by columns. .txt, .md: one document a file. A directory: as `read_corpus` reads BEIR's, if it holds a
    corpus.jsonl, else all its .txt and .md files, also in folders, by their relative paths; those whose name or folder
    begins with a dot are left out. .json: SQuAD, a document a paragraph. Where ids are missing, documents are numbered
    from 1 (in .jsonl by lines), behind their file's name: "docs.csv/1". `bundled:squad-dev` is the corpus that comes
    with Plait. `text_column`, `id_column`:
    other names for those of tables; with an empty `id_column` all documents are numbered, and their ids are metadata.

    Raises PlaitError at once for a path that cannot be read, and while reading for the first bad record, by place.
    """
    path = located(path)
    if is_beir(path) and text_column is None and id_column is None:
        return read_corpus(path)
    reader, unit = _reader(path)
    for option, value in (("text_column", text_column), ("id_column", id_column)):
        if value is not None and kind(path) not in TABLES:
            raise PlaitError(f"{option} is for files with columns, but is '{value}' for {path}; leave {option} out")
    before = f"{path.name}/" if kind(path) in TABLES else ""  # numbers of two files would be the same ids
    return documents(reader(path), f"{path} {unit}", text_column, id_column, before=before)


def located(path: str | Path) -> Path:
    """The path itself, or that of `bundled:NAME`."""
    kind_of, _, name = str(path).partition(":")
    return bundled(name) if kind_of == "bundled" else Path(path)


def bundled(name: str) -> Path:
    """The path of a corpus that comes with Plait, for the same readers: "squad-dev" (SQuAD 1.1 dev, CC BY-SA 4.0)."""
    if name not in BUNDLED:
        raise PlaitError(f"a bundled corpus must be one of {', '.join(BUNDLED)}, but is '{name}'; name one of these")
    return Path(__file__).with_name(BUNDLED[name])


def _reader(path: Path) -> tuple[Reader, str]:
    known = TABLES | WHOLES
    if path.is_dir():
        left = Counter(kind(file) or "no ending" for file in plain.visible(path) if kind(file) not in plain.KINDS)
        if left:
            counts = ", ".join(f"{count} of {ending}" for ending, count in sorted(left.items()))
            warnings.warn(
                f"{path}: of a folder {' and '.join(plain.KINDS)} files are read, but not {counts}; name tables one by "
                "one, convert others",
                DataWarning,
                stacklevel=3,
            )
        return plain.records, "file"
    check_exists(path)
    if kind(path) not in known:
        raise PlaitError(
            f"documents must be a directory or a file of {', '.join(known)}, but are {path}; convert or rename it"
        )
    return known[kind(path)]
