"""Commands that make a split model: training, and what it gained and lost."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from plait import files, show
from plait.cli.app import Device, Dtype, Json, PlanOption, Texts, app, err, load, out
from plait.errors import PlaitError
from plait.extras import library


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="A TOML file; see configs/.")],
    data: Annotated[Path | None, typer.Option(help="Instead of the config's.")] = None,
    output: Annotated[Path | None, typer.Option(help="Instead of the config's.")] = None,
    device: Annotated[str | None, typer.Option(help="auto or cpu, instead of the config's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
) -> None:
    """Train a full pair model, or a split one by distillation, as a config file says."""
    import dataclasses

    from plait.config import TrainConfig
    from plait.training import train as run

    settings = TrainConfig.read(config)
    options = {"data": data, "output": output, "device": device}
    given = {name: str(option) for name, option in options.items() if option is not None}
    saved = run(dataclasses.replace(settings, **given), resume=resume)  # type: ignore[arg-type]
    out.print(f"saved to {escape(str(saved))}")


@app.command()
def sweep(
    model: Annotated[
        str, typer.Argument(help="Checkpoint: a folder or a hub id; an elastic one holds at several joins.")
    ],
    data: Annotated[
        str,
        typer.Argument(
            help="For qa a SQuAD file or bundled:squad-dev, else labelled examples; for rank a BEIR folder too."
        ),
    ],
    task: Annotated[str, typer.Option(help="qa, class, value, rank, choice or text.")] = "qa",
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Write rows.jsonl, table.md and chart.png there.")
    ] = None,
    modes: Annotated[str, typer.Option(help="Modes to try, joined by +.")] = "joint+oneway",
    joins: Annotated[str, typer.Option(help="Joins to try, joined by +, beside the full plan; default: all.")] = "",
    keep: Annotated[str, typer.Option(help="Budgets of known texts to try too, joined by commas: 32,16.")] = "",
    selectors: Annotated[str, typer.Option(help="Selectors of the budgets, joined by +.")] = "coreset",
    codecs: Annotated[str, typer.Option(help="What known texts are stored as, joined by +.")] = "int8",
    min_quality: Annotated[float, typer.Option(help="Share of the full plan's quality to keep.")] = 0.99,
    max_ms: Annotated[float | None, typer.Option(help="Most milliseconds for one query.")] = None,
    max_bytes: Annotated[int | None, typer.Option(help="Most stored bytes for a known text.")] = None,
    known: Annotated[int, typer.Option(help="Known texts that one query is read with.")] = 100,
    limit: Annotated[int, typer.Option(help="Use only the first so many questions or examples; 0 for all.")] = 0,
    texts: Texts = "",
    split: Annotated[str, typer.Option(help="Of a BEIR folder: the judgements, qrels/SPLIT.tsv.")] = "test",
    candidates: Annotated[
        str, typer.Option("--run", help="Of a BEIR folder: a TREC run; default: BM25's 100 best.")
    ] = "",
    label: Annotated[str, typer.Option(help="Column of the label.")] = "",
    plan: PlanOption = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Evaluate every join, mode and budget, and pick the cheapest plan that keeps the quality."""
    import dataclasses

    from plait.labelled import read_task
    from plait.plots import tradeoff
    from plait.points import choose, markdown, rows
    from plait.sweep import sweep as run
    from plait.tasks import KINDS

    if limit < 0:
        raise PlaitError(f"--limit must be 0 or more, but is {limit}; 0 is all")
    if not 0 <= min_quality <= 1:
        raise PlaitError(f"--min-quality must be a share between 0 and 1, but is {min_quality:g}; 0.99 is LAIT's")
    for option, most in (("--max-ms", max_ms), ("--max-bytes", max_bytes)):
        if most is not None and not most >= 0:
            raise PlaitError(f"{option} must be 0 or more, but is {most:g}; leave it out for no limit")
    numbers = joins.split("+") if joins else []
    if not all(join.strip().isdecimal() for join in numbers):
        raise PlaitError(f"--joins must be numbers joined by +, but is {joins!r}; e.g. --joins 2+3")
    items = read_task(task, data, split=split, run=candidates, texts=texts, label=label, count=limit)
    for module in (*KINDS[task].libraries, *(("matplotlib.figure",) if out_folder is not None else ())):
        library(module, "plots" if "plot" in module else "train")
    if out_folder is not None:
        files.require_writable(out_folder)  # not when all is measured
    loaded = load(model, plan, dtype, device)
    with err.status("") if err.is_terminal else contextlib.nullcontext() as status:
        points = run(
            loaded, task, items, modes=modes.split("+"), joins=[int(join) for join in numbers],
            keeps=[k.strip() for k in keep.split(",") if k.strip()], selectors=selectors.split("+"),
            codecs=codecs.split("+"), known=known,
            progress=lambda text: status.update(text) if status is not None else None,
        )  # fmt: skip
    if out_folder is not None:
        facts = {"model": model, "data": Path(data).name, "task": task, "items": len(items)}
        lines = [json.dumps(row) for row in rows(points, **facts)]
        files.write(out_folder / "rows.jsonl", "\n".join(lines) + "\n")
    chosen, none = None, None
    try:
        chosen = choose(points, min_quality=min_quality, max_ms=max_ms, max_bytes=max_bytes)
    except PlaitError as error:  # raised when all that was measured has been shown
        none = error
    table = markdown(points, chosen)
    if out_folder is not None:
        files.write(out_folder / "table.md", table + "\n")
        tradeoff(points, chosen, out_folder / "chart.png", f"{Path(model).name} on {Path(data).name}")
    if json_:
        which = {"chosen": chosen and chosen.plan, "codec": chosen and chosen.codec}
        show.json_line(which | {"points": [dataclasses.asdict(point) for point in points]})
    else:
        out.print(escape(table))
    if none is not None:
        raise none
    if chosen is not None and not json_:
        stored = f", stored as {chosen.codec}" if chosen.codec and "+" in codecs else ""
        out.print(f"chosen: {chosen.plan}{stored}")


@app.command()
def adopt(
    teacher: Annotated[str, typer.Argument(help="A full pair model that ranks: a folder or a hub id.")],
    corpus: Annotated[str, typer.Option(help="Your documents, as for index.")],
    out_folder: Annotated[
        Path, typer.Option("--out", help="Folder of the new checkpoint (out/final) and report.json.")
    ],
    queries: Annotated[
        Path | None, typer.Option(help="Real queries: .jsonl, .csv, .tsv, .parquet; .txt, one a line.")
    ] = None,
    text_column: Annotated[str | None, typer.Option(help="Column or field of the text.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Column or field of the id; '' numbers all.")] = None,
    start: Annotated[str, typer.Option(help="A model already split whose weights to begin with.")] = "",
    plan: Annotated[str, typer.Option(help="Of the split model.")] = "join=4,mode=oneway",
    pseudo: Annotated[int, typer.Option(help="Queries in all; made from titles and sentences where yours end.")] = 2000,
    held_out: Annotated[int, typer.Option(help="Queries to compare on, at most a fifth.")] = 100,
    candidates: Annotated[int, typer.Option(help="Passages of each query that are trained on.")] = 8,
    epochs: Annotated[float, typer.Option(help="Rounds over the queries.")] = 1.0,
    learning_rate: Annotated[float, typer.Option()] = 1e-4,
    seed: Annotated[int, typer.Option()] = 0,
    bfloat16: Annotated[bool, typer.Option(help="Matrix products in bfloat16; weights stay float32.")] = True,
    device: Annotated[str, typer.Option(help="cpu, or auto: the GPU where there is one.")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    json_: Json = False,
) -> None:
    """Split a full model without labels: distil it on your documents, and say what that gained and lost."""
    from plait.adopt import adopt as run
    from plait.data import read_documents, read_queries

    asked = [] if queries is None else list(read_queries(queries).values())
    if queries is not None and not asked:
        raise PlaitError(f"--queries must hold at least one query, but {queries} holds none; leave it out to make some")
    documents = list(read_documents(corpus, text_column=text_column, id_column=id_column))
    report = run(
        teacher, documents, out_folder, queries=asked, start=start, plan=plan, pseudo=pseudo,
        held_out=held_out, candidates=candidates, epochs=epochs, learning_rate=learning_rate, seed=seed,
        bfloat16=bfloat16, device=device, resume=resume,
        progress=lambda text: err.print(text, style="dim") if err.is_terminal else None,
    )  # fmt: skip
    if json_:
        return show.json_line(json.loads(report.to_json()))
    show.adopted(out, report)
