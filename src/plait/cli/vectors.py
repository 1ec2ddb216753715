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
    texts: Annotated[Path, typer.Argument(help="A .txt of one text a line; or documents: .jsonl, .csv, .parquet.")],
    matrix: Annotated[Path, typer.Option(help="The vectors, one a text in the same order: a .npy file.")],
    out_folder: Annotated[Path, typer.Option("--out", help="Folder of the checkpoint.")],
) -> None:
    """Make a checkpoint of texts and their vectors: a dual encoder to train, index and rank by (join=0)."""
    import numpy as np

    from plait.given import write_vectors

    try:
        rows = np.load(matrix, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise PlaitError(
            f"--matrix must be an array that numpy saved, but {matrix} is not ({error}); write it with numpy.save"
        ) from None
    if not isinstance(rows, np.ndarray):
        raise PlaitError(f"--matrix must be one array, but {matrix} holds several; numpy.save one")
    found = list(_texts(texts))
    write_vectors(found, rows, out_folder)
    out.print(escape(f"{out_folder}: {len(found)} texts, vectors of {rows.shape[1]}; plans have join=0 and a compare"))


def _texts(path: Path) -> Iterator[str]:
    from plait.data import read_documents
    from plait.data.source import check_exists, kind, lines

    check_exists(path)
    if kind(path) == ".txt":
        yield from (line.rstrip("\r\n") for line in lines(path))
    else:
        yield from (document.text for document in read_documents(path))
