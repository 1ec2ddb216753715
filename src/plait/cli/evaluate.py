"""The command that says how well a store ranks."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plait import show
from plait.cli.app import Device, First, Json, StorePath, app, err, out
from plait.errors import PlaitError

if TYPE_CHECKING:
    from plait.judged import Qrels


@app.command()
def evaluate(
    store: StorePath,
    data: Annotated[str, typer.Argument(help="A BEIR folder, a SQuAD .json, or bundled:squad-dev.")],
    split: Annotated[str, typer.Option(help="Of a BEIR folder: the judgements, qrels/SPLIT.tsv.")] = "test",
    candidates: Annotated[int, typer.Option(help="Passages that the first stage hands to the model.")] = 100,
    first_stage: First = "auto",
    limit: Annotated[int, typer.Option(help="Use only so many queries, chosen by chance (seed 0); 0 for all.")] = 0,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Rank queries whose documents are known: the first stage, the model, and both with the best weight."""
    from plait.index import Index
    from plait.judged import judged

    if limit < 0:
        raise PlaitError(f"--limit must be 0 or more, but is {limit}; 0 is all")
    queries, qrels = _queries(data, split, limit)
    index = Index.open(store, device=device)
    with err.status("") if err.is_terminal else contextlib.nullcontext() as status:
        found = judged(
            index, queries, qrels, candidates=candidates, first_stage=first_stage,  # type: ignore[arg-type]
            progress=lambda n: status.update(f"{n} of {len(queries)} queries") if status is not None else None,
        )  # fmt: skip
    facts: dict[str, Any] = {"queries": len(queries), "model": found.ranked()}
    if first_stage != "all":  # which gives no scores
        facts["first stage"] = found.first_stage()
        if len(queries) > 1:
            facts["both"] = found.both()
    show.json_line(facts) if json_ else show.evaluated(out, facts)


def _queries(data: str, split: str, limit: int) -> tuple[Mapping[str, str], Qrels]:
    """Queries, and which documents are relevant to each."""
    from plait.data import located, read_collection, read_squad
    from plait.judged import asked

    source = located(data)
    queries: Mapping[str, str]
    qrels: Qrels
    if Path(source).is_dir():
        found = read_collection(source, split)
        queries, qrels = found.queries, found.qrels
    else:
        queries, qrels = asked(read_squad(source))
    if limit and limit < len(queries):
        queries = {id: queries[id] for id in random.Random(0).sample(list(queries), limit)}
    return queries, qrels
