"""`plait positions`: what a table of learned positions is like, and a longer one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from plait import show
from plait.cli.app import BUNDLED, Json, app, load, out
from plait.errors import PlaitError


@app.command()
def positions(
    model: Annotated[str, typer.Argument(help="Checkpoint: a folder or a hub id.")] = BUNDLED,
    chart: Annotated[Path | None, typer.Option(help="Draw what is said here (.png, .svg, .pdf).")] = None,
    extend: Annotated[int, typer.Option(help="Make the table so many rows long, and save the model.")] = 0,
    how: Annotated[str, typer.Option(help="interpolate, tile, hierarchical or sinusoids.")] = "hierarchical",
    out_folder: Annotated[Path | None, typer.Option("--out", help="Folder of the longer model.")] = None,
    json_: Json = False,
) -> None:
    """Say how long a table of learned positions is, what it learned and what is past its end; or make it longer."""
    import torch

    from plait.plots import positions as draw
    from plait.plots import require_format
    from plait.positions import WAYS, extended, look

    if bool(extend) != (out_folder is not None):
        raise PlaitError("a longer table is saved, so --extend N and --out FOLDER come together; give both or neither")
    if out_folder is not None and (chart is not None or json_):
        raise PlaitError("--chart and --json say what a table is like, but --extend makes another; give one of them")
    if how not in WAYS:
        raise PlaitError(f"positions are made longer by one of {', '.join(WAYS)}, but how is {how!r}; choose one")
    if chart is not None:
        require_format(chart)
    loaded = load(model, None, "float32", "cpu")
    if out_folder is not None:
        kept = loaded.config.dtype or torch.float32
        extended(loaded, extend, how).to(kept).save_pretrained(out_folder)
        out.print(escape(f"{out_folder}: {extend} positions by {how}; train it on texts as long as that"))
        return
    found = look(loaded, _texts())
    if chart is not None:
        draw(found, chart, Path(model).name)
    show.json_line(dataclasses.asdict(found)) if json_ else show.positions(out, found)


def _texts() -> list[str]:
    """Passages of the bundled corpus, one of each of eight articles."""
    from plait.data import read_documents

    found: dict[str, str] = {}
    for document in read_documents("bundled:squad-dev"):
        found.setdefault(document.id.partition("/")[0], document.text)
        if len(found) == 8:
            break
    return list(found.values())
