"""What all commands share: the application, where it prints, and options that several have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from plait.errors import PlaitError

if TYPE_CHECKING:
    from plait.index import Index
    from plait.model import Plait
    from plait.results import Ranking

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
)  # fmt: skip
# Texts are printed as they are: no emoji for `:car:`, no colours for what looks like a number.
out = Console(soft_wrap=True, highlight=False, emoji=False)
err = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)

BUNDLED = "bundled:minilm-squad"
Model = Annotated[
    str | None, typer.Option(help=f"Checkpoint: a folder or a hub id; default: {BUNDLED}.", show_default=False)
]
Moved = Annotated[
    str | None,
    typer.Option("--model", help="Where the store's model is now: a folder or a hub id; default: where it was."),
]
PlanOption = Annotated[
    str | None,
    typer.Option("--plan", help="join=4,mode=oneway; or for each head: 'score: join=4,mode=oneway; span: join=3'."),
]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16, or auto: bfloat16 where the processor computes it fast.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 and so on, or auto: the GPU where there is one.")]
Texts = Annotated[str, typer.Option(help="Columns of the texts, joined by +; empty for the usual names.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Candidates = Annotated[
    int | None, typer.Option(help="Passages that the first stage hands to the model; default 100, or --top-k if more.")
]
FoundRun = Annotated[
    Path | None,
    typer.Option("--run", help="A TREC run: what another search found for each query, in place of a first stage."),
]
First = Annotated[str, typer.Option("--first-stage", help="bm25, vector, all passages, or auto: vector for cosines.")]
Weight = Annotated[
    float, typer.Option("--first-stage-weight", help="How many times its scores count; see plait evaluate.")
]
StorePath = Annotated[Path, typer.Argument(help="The folder that `plait index` made.")]


def load(model: str, plan: str | None, dtype: str, device: str) -> Plait:
    """The model of a command, in the dtype and on the device that it was given."""
    from plait.model import Plait

    return Plait.from_pretrained(model, plan=plan, dtype=dtype, device=device)


def open_index(store: Path, model: str | None, device: str) -> Index:
    """The index of a command, with its model from where it was or, if that is named, where it is now."""
    from plait.binding import model_of
    from plait.index import Index
    from plait.settings import read_settings

    return Index.open(store, model_of(read_settings(store), model, device) if model else None, device=device)


def require_run(run: Path | None, candidates: int | None, first_stage: str) -> None:
    """PlaitError where a run, which stands in place of a first stage, is given beside one."""
    for option, given in (
        ("--candidates", candidates),
        ("--first-stage", first_stage if first_stage != "auto" else None),
    ):
        if run is not None and given is not None:
            raise PlaitError(
                f"--run stands in place of a first stage, but {run} is given with {option} {given}; leave one out"
            )


def about(found: Ranking) -> dict[str, Any]:
    """What JSON says of an answer beside the answer."""
    return {"seconds": found.timing.stages, "query_tokens_cut": found.query_cut}


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        out.print(f"plait {version('plait')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Pair models whose known side is computed once, stored, and joined late."""
