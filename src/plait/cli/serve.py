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
    waiting: Annotated[
        int, typer.Option(help="Most requests that wait or are at work; more are told to come again.")
    ] = 64,
    max_body: Annotated[int, typer.Option(help="Most bytes of a request.")] = 10 << 20,
    max_texts: Annotated[int, typer.Option(help="Most texts or passages that a request may have ranked.")] = 1000,
    memory: Annotated[int, typer.Option(help="Most bytes of states of sent texts that are remembered.")] = 1 << 30,
) -> None:
    """Rank and answer over HTTP; PLAIT_API_KEY in the environment is the key that requests must bring."""
    for module in ("fastapi", "uvicorn", "prometheus_client"):
        library(module, "server")
    import uvicorn

    from plait.server import create_app

    for option, value in (("--waiting", waiting), ("--max-body", max_body), ("--max-texts", max_texts)):
        if value < 1:
            raise PlaitError(f"{option} must be 1 or more, but is {value}; leave it out for what is usual")
    if store is not None and (plan, dtype) != (None, "auto"):
        raise PlaitError(f"--plan and --dtype are for a model alone, but {store} has its own; leave them out")
    key = os.environ.get(KEY, "").strip()
    if KEY in os.environ and not key:
        raise PlaitError(f"{KEY} must be a key, but is blank; set one, or unset it")
    listening = _socket(host, port)
    with listening:
        index = open_index(store, model, device) if store is not None else None
        served = load(model or BUNDLED, plan, dtype, device) if index is None else index.model
        made = create_app(
            served, index, key=key, waiting=waiting, max_body=max_body, max_texts=max_texts, memory=memory
        )
        place, number = listening.getsockname()[:2]
        if not key and place not in ("127.0.0.1", "::1"):
            err.print(f"note: whoever reaches {place} may ask; {KEY} in the environment is a key", style="yellow")
        what = f"{store} ({len(index.store):,} passages)" if index is not None else served.name_or_path
        address = f"http://[{place}]:{number}" if ":" in place else f"http://{place}:{number}"
        out.print(f"serving {escape(str(what))} on {address}, what it takes on /docs")
        limits = uvicorn.Config(made, log_level="warning", limit_concurrency=4 * waiting + 16)
        try:
            uvicorn.Server(limits).run(sockets=[listening])
        except OSError as error:  # where another took the address meanwhile
            raise PlaitError(
                f"a server needs an address that is free, but {address} is not ({error}); give another"
            ) from None


def _socket(host: str, port: int) -> socket.socket:
    """Bound, but not listening yet: who comes before the model is loaded is turned away."""
    if not 0 <= port <= 65535:
        raise PlaitError(f"--port must be between 0 and 65535, but is {port}; 0 takes a free one")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or answers wait 40 ms to be sent with more
        made.bind(address)
    except OSError as error:
        said = error.strerror or str(error)
        raise PlaitError(
            f"a server needs an address that is free, but {host}:{port} is not ({said}); give another"
        ) from None
    return made
