"""The command that answers over HTTP."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from plait.cli.app import BUNDLED, Device, Dtype, PlanOption, app, err, load, open_index, out
from plait.errors import PlaitError
from plait.extras import library

KEY = "PLAIT_API_KEY"


@app.command()
def serve(
    store: Annotated[
        Path | None, typer.Argument(help="The folder that `plait index` made; without one only sent texts are ranked.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help=f"A folder or a hub id, default {BUNDLED}; of a store: where its model is now."),
    ] = None,
    plan: PlanOption = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 for a free one.")] = 8000,
    waiting: Annotated[int, typer.Option(help="Most requests that wait; more are told to come again.")] = 64,
    max_body: Annotated[int, typer.Option(help="Most bytes of a request.")] = 10 << 20,
    memory: Annotated[int, typer.Option(help="Most bytes of states of sent texts that are remembered.")] = 1 << 30,
) -> None:
    """Rank and answer over HTTP; PLAIT_API_KEY in the environment is the key that requests must bring."""
    for module in ("fastapi", "uvicorn", "prometheus_client"):
        library(module, "server")
    import uvicorn

    from plait.server import create_app

    for option, value in (("--waiting", waiting), ("--max-body", max_body)):
        if value < 1:
            raise PlaitError(f"{option} must be 1 or more, but is {value}; leave it out for what is usual")
    if store is not None and (plan, dtype) != (None, "auto"):
        raise PlaitError(f"--plan and --dtype are for a model alone, but {store} has its own; leave them out")
    key = os.environ.get(KEY, "")
    listening = _socket(host, port)
    with listening:
        index = open_index(store, model, device) if store is not None else None
        served = load(model or BUNDLED, plan, dtype, device) if index is None else index.model
        made = create_app(served, index, key=key, waiting=waiting, max_body=max_body, memory=memory)
        place, number = listening.getsockname()[:2]
        if not key and not place.startswith("127."):
            err.print(f"note: whoever reaches {place} may ask; {KEY} in the environment is a key", style="yellow")
        what = f"{store} ({len(index.store):,} passages)" if index is not None else served.name_or_path
        out.print(f"serving {escape(str(what))} on http://{place}:{number}, what it takes on /docs")
        uvicorn.Server(uvicorn.Config(made, log_level="warning")).run(sockets=[listening])


def _socket(host: str, port: int) -> socket.socket:
    try:
        made = socket.create_server((host, port), backlog=2048)
    except (OSError, OverflowError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise PlaitError(
            f"a server needs an address that is free, but {host}:{port} is not ({said}); give another"
        ) from None
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or answers wait 40 ms to be sent with more
    return made
