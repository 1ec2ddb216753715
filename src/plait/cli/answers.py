"""Commands that answer: what a plan costs, rankings, answers, scores, and the demonstration."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plait import show
from plait.cli.app import (
    BUNDLED,
    Candidates,
    Device,
    Dtype,
    First,
    FoundRun,
    Json,
    Model,
    Moved,
    PlanOption,
    StorePath,
    Texts,
    Weight,
    about,
    app,
    load,
    open_index,
    out,
    require_run,
)  # fmt: skip
from plait.errors import PlaitError

if TYPE_CHECKING:
    from plait.model import Plait


Queries = Annotated[
    Path | None,
    typer.Option(help="Each of these, a JSON line a query: .jsonl, .csv, .tsv, .parquet; .txt, one a line."),
]


@app.command()
def plan(
    model: Annotated[str, typer.Argument(help="Checkpoint: a folder or a hub id.")] = BUNDLED,
    plan: Annotated[
        str | None, typer.Option(help="e.g. join=4,mode=oneway; default: what the checkpoint has, else that.")
    ] = None,
    head: Annotated[str, typer.Option(help="Whose plan: score, span or text.")] = "score",
    lengths: Annotated[
        str | None, typer.Option(help="Tokens of each role; default: query=16,passage=154, or so many of others.")
    ] = None,
    passages: Annotated[int, typer.Option(help="Passages that one query is read with.")] = 100,
    codec: Annotated[str, typer.Option(help="float32, float16, bfloat16, int8 or int4.")] = "int8",
    json_: Json = False,
) -> None:
    """Say who reads whom, what is stored, and what it costs, without loading weights."""
    from plait.explain import explain

    facts = explain(model, plan, lengths, passages, codec, head)
    show.json_line(facts) if json_ else show.plan(out, facts)


@app.command()
def rank(
    store: StorePath,
    query: Annotated[str | None, typer.Argument(help="One query; or use --queries.")] = None,
    queries: Queries = None,
    top_k: Annotated[int, typer.Option(help="Passages to print.")] = 10,
    candidates: Candidates = None,
    first_stage: First = "auto",
    first_stage_weight: Weight = 0.0,
    run: FoundRun = None,
    model: Moved = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Rank stored passages for a query, or for each query of a file."""
    from plait.candidates import of_run
    from plait.data import read_queries, read_run

    if query is not None and queries is None:
        asked = {"": query}
    elif queries is not None and query is None:
        asked = read_queries(queries)
    else:
        raise PlaitError(
            f"rank takes a query or --queries FILE, but was given {'neither' if query is None else 'both'}; e.g. plait "
            'rank my.plait "who wrote it?"'
        )
    if run is not None and queries is None:
        raise PlaitError(f"--run says what was found for each of --queries, but only {run} is given; name their file")
    require_run(run, candidates, first_stage)
    index = open_index(store, model, device)
    given = None if run is None else of_run(index.store, read_run(run), asked)
    for id, text in asked.items():
        found = index.rank(
            text, top_k, candidates=candidates if given is None else given[id],
            first_stage=first_stage, first_stage_weight=first_stage_weight,  # type: ignore[arg-type]
        )  # fmt: skip
        facts = {"hits": [vars(hit) for hit in found.hits], **about(found)}
        if queries is not None:
            show.json_line({"id": id, **facts})
        elif json_:
            show.json_line(facts)
        else:
            show.ranking(out, found, len(index.store))


@app.command()
def ask(
    store: Annotated[str | None, typer.Argument(help="The folder that `plait index` made; or use --text.")] = None,
    question: Annotated[str | None, typer.Argument(help="One question; or use --queries.")] = None,
    queries: Queries = None,
    text: Annotated[
        Path | None, typer.Option(help="Ask this one text instead of a store: here, by --queries, or at a prompt.")
    ] = None,
    top_k: Annotated[int, typer.Option(help="Answers to print.")] = 1,
    read: Annotated[int, typer.Option(help="Passages that the span head reads.")] = 3,
    candidates: Candidates = None,
    first_stage: First = "auto",
    first_stage_weight: Weight = 0.0,
    model: Annotated[
        str | None,
        typer.Option(help=f"Of --text: a folder or a hub id, default {BUNDLED}; of a store: where its model is now."),
    ] = None,
    plan: PlanOption = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Answer a question, or each question of a file, from a store or from one text."""
    from plait.data import read_queries

    if text is not None:
        if store is not None and (question is not None or queries is not None):
            raise PlaitError(f"ask reads a store or --text, but was given {store} and {text}; leave one out")
        question = question or store
        if (top_k, candidates, first_stage, first_stage_weight) != (1, None, "auto", 0.0):
            raise PlaitError(
                "--top-k, --candidates, --first-stage and --first-stage-weight are for stores, but --text is given; "
                "leave them out"
            )
        asked = None if queries is None else read_queries(queries)
        return _ask_text(text, question, asked, load(model or BUNDLED, plan, dtype, device), read, json_)
    if store is None or (question is None) == (queries is None):
        raise PlaitError(
            "ask needs a store, or --text FILE, and a question or --queries FILE; e.g. plait ask my.plait "
            '"who wrote it?"'
        )
    if (plan, dtype) != (None, "auto"):
        raise PlaitError(f"--plan and --dtype are for --text, but {store} has its own; leave them out")
    several = {"": question or ""} if queries is None else read_queries(queries)
    index = open_index(Path(store), model, device)
    for id, one in several.items():
        found = index.ask(
            one, top_k, read=read, candidates=candidates,
            first_stage=first_stage, first_stage_weight=first_stage_weight,  # type: ignore[arg-type]
        )  # fmt: skip
        facts = {"answers": [{**vars(a), "hit": vars(a.hit)} for a in found.answers], **about(found.ranking)}
        if queries is not None:
            show.json_line({"id": id, **facts})
        elif json_:
            show.json_line(facts)
        else:
            show.answers(out, found, len(index.store))


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help=f"Checkpoint: a folder, a hub id, or {BUNDLED}.")],
    pairs: Annotated[Path, typer.Argument(help=".jsonl or .csv of text pairs; of `text` for a plan of one role.")],
    plan: PlanOption = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    texts: Texts = "",
    batch_size: Annotated[int, typer.Option(help="Pairs joined at once.")] = 32,
) -> None:
    """Score text pairs: one JSON line a pair, in the order of the file."""
    from plait.heads import class_names

    loaded = load(model, plan, dtype, device)
    rows = _rows(loaded, pairs, texts)
    labels = class_names(loaded.config)
    for row, score in zip(rows, loaded.predict(rows, batch_size), strict=True):
        result: dict[str, Any] = {"texts": [text for text in row if text is not None]}
        if score.ndim == 0:
            result["score"] = float(score)
        else:
            result |= {
                "label": labels[int(score.argmax())],
                "scores": {labels[i]: float(s) for i, s in enumerate(score)},
            }
        show.json_line(result)


@app.command()
def generate(
    model: Annotated[str, typer.Argument(help="Checkpoint with a decoder, such as a T5's: a folder or a hub id.")],
    pairs: Annotated[Path, typer.Argument(help=".jsonl or .csv of text pairs; of `text` for a plan of one role.")],
    plan: PlanOption = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    texts: Texts = "",
    max_new_tokens: Annotated[int, typer.Option(help="Most tokens written.")] = 32,
    num_beams: Annotated[int, typer.Option(help="Beams; 1 writes greedily.")] = 1,
    batch_size: Annotated[int, typer.Option(help="Pairs read at once.")] = 32,
) -> None:
    """Write an answer to each text pair: one JSON line a pair, in the order of the file."""
    loaded = load(model, plan, dtype, device)
    rows = _rows(loaded, pairs, texts)
    written = loaded.generate(rows, max_new_tokens=max_new_tokens, num_beams=num_beams, batch_size=batch_size)
    for row, text in zip(rows, written, strict=True):
        show.json_line({"texts": [part for part in row if part is not None], "text": text})


@app.command()
def demo(
    passages: Annotated[int, typer.Option(help="Passages of the bundled corpus to use; 0 for all 2,067.")] = 0,
    store: Annotated[Path | None, typer.Option(help="Keep the store here (default: a temporary folder).")] = None,
    model: Model = None,
    device: Device = "auto",
) -> None:
    """Index the bundled corpus, ask it questions, and ask the full pair model the same beside it."""
    from plait.demo import run

    run(passages, store, name=model or BUNDLED, device=device)


def _rows(model: Plait, path: Path, columns: str) -> list[tuple[str | None, ...]]:
    """The examples of a file, one text a role; the last roles of an example with fewer texts have none."""
    from plait.data import read_pairs

    roles = len(model.text.roles)
    names = [name for name in columns.split("+") if name] or (["text"] if roles == 1 else [])
    rows = list(read_pairs(path, texts=names))
    if len(names) == 1 and roles == 2 and any(len(row) == 1 for row in rows):  # more may stand in one column as a list
        raise PlaitError(
            f"--texts must name a column for each of {' and '.join(model.text.roles)}, but is {columns}; join two by +"
        )
    return [(*row, *(None,) * (roles - len(row))) for row in rows]


def _ask_text(
    path: Path, question: str | None, queries: Mapping[str, str] | None, model: Plait, read: int, json_: bool
) -> None:
    from plait.data import read_documents

    known = model.read("\n\n".join(document.text for document in read_documents(path)))
    prompted = question is None and queries is None
    if prompted and sys.stdin.isatty():
        said = f"{known.tokens} tokens in {len(known.passages)} passages are computed; an empty line ends."
        out.print(said, style="dim")
    typed = (("", line) for line in iter(_prompt, ""))
    for id, asked in typed if prompted else (queries or {"": question or ""}).items():
        answer = known.ask(asked, read=read)
        facts = {**vars(answer), "timing": answer.timing.stages}
        if queries is not None:
            show.json_line({"id": id, **facts})
        elif json_:
            show.json_line(facts)
        else:
            out.print(show.known(answer))
            out.print(show.milliseconds(answer.timing), style="dim")


def _prompt() -> str:
    try:
        return (out.input("[bold]? [/]") if sys.stdin.isatty() else input()).strip()
    except EOFError:
        return ""
    except UnicodeDecodeError as error:
        raise PlaitError(f"a question must be UTF-8 text, but is not ({error.reason}); check the terminal") from None
