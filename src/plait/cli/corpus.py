"""Commands that make and keep a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from plait import show
from plait.cli.app import (
    BUNDLED,
    Device,
    Dtype,
    Json,
    Model,
    Moved,
    PlanOption,
    StorePath,
    app,
    err,
    load,
    open_index,
    out,
)  # fmt: skip
from plait.errors import PlaitError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from plait.data import Document
    from plait.index import Index


@app.command()
def index(
    documents: Annotated[
        str,
        typer.Argument(help=".jsonl, .csv, .parquet, .txt, SQuAD's .json, a folder, BEIR's too, bundled:squad-dev."),
    ],
    store: Annotated[Path, typer.Option(help="Folder to make, or to go on with.")],
    model: Model = None,
    plan: PlanOption = None,
    codec: Annotated[str | None, typer.Option(help="float32, float16, bfloat16, int8 (default) or int4.")] = None,
    passage_tokens: Annotated[int | None, typer.Option(help="Longest passage; default 384.")] = None,
    overlap: Annotated[int | None, typer.Option(help="Tokens that neighbouring passages share; default 64.")] = None,
    vectors: Annotated[
        str | None, typer.Option(help="pooled keeps vectors for --first-stage vector; default: none, but of cosines.")
    ] = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    text_column: Annotated[str | None, typer.Option(help="Column or field of the text.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Column or field of the id; '' numbers all.")] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Remove what the store has beside these documents.")] = False,
) -> None:
    """Compute and store a corpus. A build that was stopped goes on where it was; unchanged documents are skipped."""
    from plait.data import read_documents
    from plait.explain import unpractised
    from plait.index import Index
    from plait.scoring import require_one_label
    from plait.settings import FILE, name_anywhere

    texts = list(read_documents(documents, text_column=text_column, id_column=id_column))
    model = None if model is None else name_anywhere(model)
    asked = {"codec": codec, "passage_tokens": passage_tokens, "overlap": overlap, "vectors": vectors}
    given = {key: value for key, value in asked.items() if value is not None}
    if vectors == "given":
        raise PlaitError(
            "--vectors must be pooled or none, but is given, which is for vectors that a program passes to Index.add; "
            "leave it out, or take pooled"
        )
    if (store / FILE).exists():
        target = _begun(store, model, device)
        _same(target, store, plan, given | ({} if dtype == "auto" else {"dtype": dtype}))
        if model not in (None, target.settings.model):
            _move(target, store, model)
    else:
        model = model or BUNDLED
        loaded = load(model, plan, dtype, device)
        if "span" not in loaded.plans:
            require_one_label(loaded)  # else no command could ask this store
        target = Index.create(store, loaded, name=model, **given)  # type: ignore[arg-type]
        for note in unpractised(model, loaded.config, loaded.plans):
            _note(note)
    _add(target, texts)
    if others := sorted(target.store.contents().keys() - {text.id for text in texts}):
        if prune:
            out.print(f"{target.delete(others)} passages of {len(others)} other documents removed")
        else:
            _note(f"the store has {len(others)} documents that are not in {documents}, {others[0]!r} first; --prune "
                  "removes them")  # fmt: skip


@app.command()
def add(
    store: StorePath,
    documents: Annotated[Path, typer.Argument(help="As for index.")],
    text_column: Annotated[str | None, typer.Option(help="Column or field of the text.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Column or field of the id; '' numbers all.")] = None,
    model: Moved = None,
    device: Device = "auto",
) -> None:
    """Add documents; those whose content changed are replaced, unchanged ones skipped."""
    from plait.data import read_documents

    texts = list(read_documents(documents, text_column=text_column, id_column=id_column))
    replaced = _add(open_index(store, model, device), texts)
    if replaced and not id_column and all(text.id.startswith(documents.name) for text in texts):
        _note(f"documents without ids are named for their file, so that those of another {documents.name} are "
              "replaced; give them ids, or rename the file")  # fmt: skip


@app.command()
def delete(store: StorePath, ids: Annotated[list[str], typer.Argument(help="Documents.")]) -> None:
    """Remove documents by id."""
    from plait.store import Store

    out.print(f"{Store.open(store).delete(ids)} passages of {len(set(ids))} documents deleted")


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
    show.json_line(facts) if json_ else show.stats(out, facts)


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


def _begun(store: Path, model: str | None, device: str) -> Index:
    """The index that is to go on; refuses a model that did not begin it."""
    import dataclasses

    from plait.binding import fingerprint, model_of
    from plait.index import Index
    from plait.settings import read_settings
    from plait.store import Store

    settings, opened = read_settings(store), Store.open(store)
    loaded = model_of(settings, model or "", device)
    now, then = (dataclasses.asdict(one) for one in (fingerprint(loaded, opened.codec.name), opened.fingerprint))
    if others := [field for field in then if now[field] != then[field]]:
        raise PlaitError(
            f"a store goes on with the model that began it, but {model or settings.model} has another "
            f"{', '.join(others)} than {store}; remove that folder to build it anew, or name another --store"
        )
    return Index(opened, loaded, settings)


def _move(index: Index, store: Path, model: str) -> None:
    """Write down where the model of a store is now."""
    import dataclasses

    from plait.settings import write_settings

    with index.store.writing():
        write_settings(store, dataclasses.replace(index.settings, model=model))
    _note(f"{store} opens the model {model} from now on, no longer {index.settings.model}")


def _same(index: Index, store: Path, plan: str | None, given: Mapping[str, object]) -> None:
    """Refuse to go on with a store otherwise than it was begun."""
    from plait.head_plans import head_plans
    from plait.plan import Plan

    settings = index.settings
    had: dict[str, object] = {"plan": settings.plans, "codec": index.store.codec.name}
    had |= {key: getattr(settings, key) for key in ("dtype", "passage_tokens", "overlap", "vectors")}
    asked = dict(given)
    if plan is not None:
        before = {head: Plan.parse(text) for head, text in settings.plans.items()}
        asked["plan"] = {head: str(p) for head, p in head_plans(list(settings.plans), plan, before).items()}
    for key, value in asked.items():
        if value != had[key]:
            raise PlaitError(
                f"{store} was begun with {key} {had[key]}, but is to go on with {value}; leave "
                f"--{key.replace('_', '-')} out or choose another --store"
            )


def _note(text: str) -> None:
    err.print(f"note: {text}", style="yellow", markup=False)


def _add(index: Index, documents: Sequence[Document]) -> int:
    """How many took the place of others."""
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
        + (f", {done.replaced} in place of others with their ids" if done.replaced else "")
        + (f", {done.unchanged} were there already" if done.unchanged else "")
    )
    return done.replaced
