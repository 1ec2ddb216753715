"""`plait vectors`: a checkpoint made of vectors that another model gave texts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from plait.cli.app import app, out
from plait.errors import PlaitError


@app.command()
def vectors(
    texts: Annotated[Path, typer.Argument(help="A text file of one text a line, or documents as `plait index` reads.")],
    matrix: Annotated[Path, typer.Option(help="The vectors, one a text in the same order: a .npy file.")],
    out_folder: Annotated[Path, typer.Option("--out", help="Folder of the checkpoint.")],
) -> None:
    """Make a checkpoint of texts and their vectors: a dual encoder to train, index and rank by (join=0)."""
    import numpy as np

    from plait.given import write_vectors

    try:
        rows = np.load(matrix, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise PlaitError(f"--matrix must be an array that numpy saved, but {matrix} is not ({error})") from None
    if not np.issubdtype(getattr(rows, "dtype", np.dtype(object)), np.number):
        raise PlaitError(f"--matrix must be an array of numbers, but {matrix} is none; numpy.save one array")
    found = list(_texts(texts))
    write_vectors(found, rows, out_folder)
    out.print(escape(f"{out_folder}: {len(found)} texts, vectors of {rows.shape[1]}; plans have join=0 and a compare"))


def _texts(path: Path) -> Iterator[str]:
    from plait.data import read_documents

    if path.suffix != ".txt":
        for document in read_documents(path):
            yield document.text
        return
    try:
        with path.open(encoding="utf-8", newline="\n") as lines:
            yield from (line.rstrip("\r\n") for line in lines)
    except (OSError, UnicodeDecodeError) as error:
        raise PlaitError(f"texts must be a text file in UTF-8, but {path} is not ({error})") from None
