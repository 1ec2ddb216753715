"""The commands. Thin: they read arguments, call the library and print; every bad input is one sentence on standard
error.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from plait import show
from plait.errors import FallbackWarning, PlaitError, TruncationWarning

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from plait.data import Document
    from plait.index import Index
    from plait.model import Plait
    from plait.results import Ranking

app = typer.Typer(
    help="Pair models whose known side is computed once, stored, and joined late.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
)  # fmt: skip
# Texts are printed as they are: no emoji for `:car:`, no colours for what looks like a number.
out = Console(soft_wrap=True, highlight=False, emoji=False)
err = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)

BUNDLED = "bundled:minilm-squad"
Model = Annotated[
    str | None, typer.Option(help=f"Checkpoint: a folder or a hub id; default: {BUNDLED}.", show_default=False)
]
PlanOption = Annotated[
    str | None,
    typer.Option("--plan", help="join=4,mode=oneway; or for each head: 'score: join=4,mode=oneway; span: join=3'."),
]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16, or auto: bfloat16 where the processor computes it fast.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Candidates = Annotated[
    int | None, typer.Option(help="Passages that the first stage hands to the model; default 100, or --top-k if more.")
]
First = Annotated[str, typer.Option("--first-stage", help="bm25, vector, or all passages.")]
StorePath = Annotated[Path, typer.Argument(help="The folder that `plait index` made.")]


@app.command()
def plan(
    model: Annotated[str, typer.Argument(help="Checkpoint: a folder or a hub id.")] = BUNDLED,
    plan: Annotated[str, typer.Option(help="e.g. join=4,mode=oneway")] = "join=4,mode=oneway",
    lengths: Annotated[str, typer.Option(help="Tokens of each role.")] = "query=16,passage=154",
    passages: Annotated[int, typer.Option(help="Passages that one query is read with.")] = 100,
    codec: Annotated[str, typer.Option(help="float32, float16, bfloat16 or int8.")] = "int8",
    json_: Json = False,
) -> None:
    """Say who reads whom, what is stored, and what it costs, without loading weights."""
    from plait.explain import explain

    facts = explain(model, plan, lengths, passages, codec)
    show.json_line(facts) if json_ else show.plan(out, facts)


@app.command()
def index(
    documents: Annotated[
        str, typer.Argument(help=".jsonl, .csv, .parquet, .txt, a SQuAD .json, a folder, or bundled:squad-dev.")
    ],
    store: Annotated[Path, typer.Option(help="Folder to make, or to go on with.")],
    model: Model = None,
    plan: PlanOption = None,
    codec: Annotated[str | None, typer.Option(help="float32, float16, bfloat16 or int8 (default).")] = None,
    passage_tokens: Annotated[int | None, typer.Option(help="Longest passage; default 384.")] = None,
    overlap: Annotated[int | None, typer.Option(help="Tokens that neighbouring passages share; default 64.")] = None,
    vectors: Annotated[
        str | None, typer.Option(help="none (default), or pooled: keep vectors for --first-stage vector.")
    ] = None,
    dtype: Dtype = "auto",
    text_column: Annotated[str | None, typer.Option(help="Column or field of the text.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Column or field of the id.")] = None,
) -> None:
    """Compute and store a corpus. A build that was stopped goes on where it was; unchanged documents are skipped."""
    from plait.data import read_documents
    from plait.index import Index
    from plait.settings import FILE

    texts = list(read_documents(documents, text_column=text_column, id_column=id_column))
    if model is not None and Path(model).is_dir():
        model = str(Path(model).resolve())  # so that the store can be opened from anywhere
    asked = {"codec": codec, "passage_tokens": passage_tokens, "overlap": overlap, "vectors": vectors}
    given = {key: value for key, value in asked.items() if value is not None}
    if (store / FILE).exists():
        target = Index.open(store)
        _same(target, store, model, plan, given | ({} if dtype == "auto" else {"dtype": dtype}))
    else:
        model = model or BUNDLED
        target = Index.create(store, _load(model, plan, dtype), name=model, **given)  # type: ignore[arg-type]
    _add(target, texts)


@app.command()
def add(
    store: StorePath,
    documents: Annotated[Path, typer.Argument(help="As for index.")],
    text_column: Annotated[str | None, typer.Option(help="Column or field of the text.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Column or field of the id.")] = None,
) -> None:
    """Add documents; those whose content changed are replaced, unchanged ones skipped."""
    from plait.data import read_documents
    from plait.index import Index

    texts = list(read_documents(documents, text_column=text_column, id_column=id_column))
    _add(Index.open(store), texts)


@app.command()
def delete(store: StorePath, ids: Annotated[list[str], typer.Argument(help="Documents.")]) -> None:
    """Remove documents by id."""
    from plait.store import Store

    out.print(f"{Store.open(store).delete(ids)} passages of {len(ids)} documents deleted")


@app.command()
def rank(
    store: StorePath,
    query: Annotated[str, typer.Argument()],
    top_k: Annotated[int, typer.Option(help="Passages to print.")] = 10,
    candidates: Candidates = None,
    first_stage: First = "bm25",
    json_: Json = False,
) -> None:
    """Rank stored passages for a query."""
    from plait.index import Index

    found = Index.open(store).rank(query, top_k, candidates=candidates, first_stage=first_stage)  # type: ignore[arg-type]
    if json_:
        return show.json_line({"hits": [vars(hit) for hit in found.hits], **_about(found)})
    show.ranking(out, found)


@app.command()
def ask(
    store: Annotated[str | None, typer.Argument(help="The folder that `plait index` made; or use --text.")] = None,
    question: Annotated[str | None, typer.Argument()] = None,
    text: Annotated[Path | None, typer.Option(help="Ask this one text instead of a store, at a prompt.")] = None,
    top_k: Annotated[int, typer.Option(help="Answers to print.")] = 1,
    read: Annotated[int, typer.Option(help="Passages that the span head reads.")] = 3,
    candidates: Candidates = None,
    first_stage: First = "bm25",
    model: Model = None,
    plan: PlanOption = None,
    dtype: Dtype = "auto",
    json_: Json = False,
) -> None:
    """Answer a question from a store, or many questions about one text."""
    if text is not None:
        if store is not None and question is None:
            question = store
        if (top_k, candidates, first_stage) != (1, None, "bm25"):
            raise PlaitError(
                "--top-k, --candidates and --first-stage are for stores, but --text is given; leave them out"
            )
        return _ask_text(text, question, _load(model or BUNDLED, plan, dtype), read, json_)
    if store is None or question is None:
        raise PlaitError('ask needs a store and a question, or --text FILE; e.g. plait ask my.plait "who wrote it?"')
    if (model, plan, dtype) != (None, None, "auto"):
        raise PlaitError(f"--model, --plan and --dtype are for --text, but {store} has its own; leave them out")
    from plait.index import Index

    found = Index.open(store).ask(question, top_k, read=read, candidates=candidates, first_stage=first_stage)  # type: ignore[arg-type]
    if json_:
        answers = [{**vars(a), "hit": vars(a.hit)} for a in found.answers]
        return show.json_line({"answers": answers, **_about(found.ranking)})
    show.answers(out, found)


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help=f"Checkpoint: a folder, a hub id, or {BUNDLED}.")],
    pairs: Annotated[Path, typer.Argument(help=".jsonl or .csv of text pairs.")],
    plan: PlanOption = None,
    dtype: Dtype = "auto",
    batch_size: Annotated[int, typer.Option(help="Pairs joined at once.")] = 32,
) -> None:
    """Score text pairs: one JSON line a pair, in the order of the file."""
    from plait.data import read_pairs

    rows = list(read_pairs(pairs))
    loaded = _load(model, plan, dtype)
    labels = dict(loaded.config.id2label)
    for row, score in zip(rows, loaded.predict(rows, batch_size), strict=True):
        result: dict[str, Any] = {"texts": list(row)}
        if score.ndim == 0:
            result["score"] = float(score)
        else:
            result |= {
                "label": labels[int(score.argmax())],
                "scores": {labels[i]: float(s) for i, s in enumerate(score)},
            }
        show.json_line(result)


@app.command()
def stats(store: StorePath, json_: Json = False) -> None:
    """Count documents, passages, tokens and bytes."""
    import dataclasses

    from plait.settings import read_settings
    from plait.store import Store

    opened, settings = Store.open(store), read_settings(store)
    facts: dict[str, Any] = {
        **dataclasses.asdict(opened.stats()),
        **dataclasses.asdict(settings),
        "codec": opened.codec.name,
    }
    facts["tensors"] = {name: width for name, width in opened.fingerprint.tensors}
    if json_:
        return show.json_line(facts)
    for key, value in facts.items():
        out.print(
            f"{key.replace('_', ' '):>20}  {value:,}"
            if isinstance(value, int)
            else f"{key.replace('_', ' '):>20}  {escape(str(value))}"
        )


@app.command()
def verify(store: StorePath) -> None:
    """Compare every stored passage with its checksum; exit code 1 if one is damaged."""
    from plait.store import Store

    opened = Store.open(store)
    damages = opened.verify()
    for damage in damages:
        err.print(f"{escape(damage.id)}: {escape(damage.reason)}")
    if damages:
        raise PlaitError(
            f"{len(damages)} of {len(opened)} passages are damaged; delete their documents and add them again"
        )
    out.print(f"{len(opened)} passages are whole")


@app.command()
def compact(store: StorePath) -> None:
    """Merge small files and drop deleted passages and old versions."""
    from plait.store import Store

    opened = Store.open(store)
    before = opened.stats().disk_bytes
    opened.compact()
    out.print(f"{before / 1e6:.1f} MB before, {opened.stats().disk_bytes / 1e6:.1f} MB now")


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="A TOML file; see configs/.")],
    data: Annotated[Path | None, typer.Option(help="Instead of the config's.")] = None,
    output: Annotated[Path | None, typer.Option(help="Instead of the config's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
) -> None:
    """Train a full pair model, or a split one by distillation, as a config file says."""
    import dataclasses

    from plait.train import TrainConfig
    from plait.train import train as run

    settings = TrainConfig.read(config)
    given = {name: str(path) for name, path in (("data", data), ("output", output)) if path is not None}
    saved = run(dataclasses.replace(settings, **given), resume=resume)  # type: ignore[arg-type]
    out.print(f"saved to {escape(str(saved))}")


@app.command()
def demo(
    passages: Annotated[int, typer.Option(help="Passages of the bundled corpus to use; 0 for all 2,067.")] = 0,
    store: Annotated[Path | None, typer.Option(help="Keep the store here (default: a temporary folder).")] = None,
    model: Model = None,
) -> None:
    """Index the bundled corpus, ask it questions, and ask the full pair model the same beside it."""
    from plait.demo import run

    run(passages, store, name=model or BUNDLED)


def main() -> None:
    """The `plait` command: errors are one sentence and exit code 1."""
    warnings.showwarning = _note
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        app()
    except PlaitError as error:
        err.print(f"plait: {escape(' '.join(str(error).split()))}", style="red")  # one line, whatever it quotes
        sys.exit(1)


def _load(model: str, plan: str | None, dtype: str) -> Plait:
    from plait.machine import fast_dtype
    from plait.model import Plait

    return Plait.from_pretrained(model, plan=plan, dtype=fast_dtype() if dtype == "auto" else dtype)


def _same(index: Index, store: Path, model: str | None, plan: str | None, given: Mapping[str, object]) -> None:
    """Refuse to go on with a store otherwise than it was begun."""
    from plait.heads import head_plans

    settings = index.settings
    had: dict[str, object] = {"model": settings.model, "plan": settings.plans, "codec": index.store.codec.name}
    had |= {key: getattr(settings, key) for key in ("dtype", "passage_tokens", "overlap", "vectors")}
    asked = dict(given)
    if model is not None:
        asked["model"] = model
    if plan is not None:
        asked["plan"] = {head: str(p) for head, p in head_plans(list(settings.plans), plan, {}).items()}
    for key, value in asked.items():
        if value != had[key]:
            raise PlaitError(
                f"{store} was begun with {key} {had[key]}, but is to go on with {value}; leave "
                f"--{key.replace('_', '-')} out or choose another --store"
            )


def _add(index: Index, documents: Sequence[Document]) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("documents, {task.fields[rows]} passages"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, disable=not err.is_terminal) as progress:
        task = progress.add_task("indexing", total=len(documents), rows=0)
        done = index.add(documents, progress=lambda n, rows: progress.update(task, completed=n, rows=rows))
    out.print(
        f"{done.documents} documents stored as {done.passages} passages of {done.tokens} tokens"
        + (f", {done.unchanged} were there already" if done.unchanged else "")
    )


def _ask_text(path: Path, question: str | None, model: Plait, read: int, json_: bool) -> None:
    from plait.data import read_documents

    known = model.read("\n\n".join(document.text for document in read_documents(path)))
    if question is None and sys.stdin.isatty():
        about = f"{known.tokens} tokens in {len(known.passages)} passages are computed; an empty line ends."
        out.print(about, style="dim")
    while True:
        asked = question if question is not None else _prompt()
        if not asked and question is None:
            return
        answer = known.ask(asked, read=read)
        if json_:
            show.json_line({**vars(answer), "timing": answer.timing.stages})
        else:
            out.print(show.known(answer))
            out.print(show.milliseconds(answer.timing), style="dim")
        if question is not None:
            return


def _prompt() -> str:
    try:
        return (out.input("[bold]? [/]") if sys.stdin.isatty() else input()).strip()
    except EOFError:
        return ""
    except UnicodeDecodeError as error:
        raise PlaitError(f"a question must be UTF-8 text, but is not ({error.reason}); check the terminal") from None


def _about(found: Ranking) -> dict[str, Any]:
    return {"seconds": found.timing.stages, "query_tokens_cut": found.query_cut}


def _note(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: object = None,
) -> None:
    if issubclass(category, TruncationWarning | FallbackWarning):
        err.print(f"note: {escape(str(message))}", style="yellow")
