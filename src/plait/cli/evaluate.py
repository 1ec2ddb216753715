"""The command that says how well a store ranks, or a checkpoint does a task."""

from __future__ import annotations

import contextlib
import random
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plait import show
from plait.cli.app import (
    Device,
    First,
    FoundRun,
    Json,
    Moved,
    PlanOption,
    StorePath,
    Texts,
    app,
    err,
    load,
    open_index,
    out,
    require_run,
)
from plait.errors import DataWarning, PlaitError
from plait.extras import library

if TYPE_CHECKING:
    from plait.data import Question
    from plait.judged import Qrels


@app.command()
def evaluate(
    store: StorePath,
    data: Annotated[
        str, typer.Argument(help="A BEIR folder, a SQuAD .json, bundled:squad-dev, or with --qrels a file of queries.")
    ],
    task: Annotated[
        str,
        typer.Option(
            help="Then STORE is a checkpoint, measured on labelled DATA: qa, class, value, rank, choice, text."
        ),
    ] = "",
    plan: PlanOption = None,
    texts: Texts = "",
    label: Annotated[str, typer.Option(help="Column of the label.")] = "",
    split: Annotated[str, typer.Option(help="Of a BEIR folder: the judgements, qrels/SPLIT.tsv.")] = "test",
    qrels: Annotated[Path | None, typer.Option(help="Judgements as TREC writes them, of the queries in DATA.")] = None,
    candidates: Annotated[
        int | None, typer.Option(help="Passages that the first stage hands to the model; default 100.")
    ] = None,
    first_stage: First = "auto",
    run: FoundRun = None,
    read: Annotated[
        int | None,
        typer.Option(
            help="Passages that each question of a SQuAD .json is answered from, in a second pass; default 3, 0: none."
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(help="Use only so many queries, chosen by chance (seed 0), or the first of a --task; 0: all.")
    ] = 0,
    out_file: Annotated[Path | None, typer.Option("--out", help="Write the model's ranking as a TREC run.")] = None,
    model: Moved = None,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Rank queries whose documents are known, and answer those whose answers are: the first stage, the model, and both
    with the best weight.
    """
    from plait.candidates import of_run
    from plait.data import check_run, read_run, write_run
    from plait.judged import answered, judged

    if limit < 0:
        raise PlaitError(f"--limit must be 0 or more, but is {limit}; 0 is all")
    if task:
        of_store = {
            "--qrels": qrels, "--out": out_file, "--model": model, "--run": run, "--candidates": candidates,
            "--read": read, "--first-stage": None if first_stage == "auto" else first_stage,
        }  # fmt: skip
        if others := [option for option, given in of_store.items() if given is not None]:
            raise PlaitError(f"{others[0]} is of a store, but --task measures a checkpoint; leave one out")
        return _task(str(store), data, task, plan, texts, label, split, limit, device, json_)
    if plan or texts or label:
        raise PlaitError("--plan, --texts and --label are of a checkpoint's --task, but none is given; name one")
    if read is not None and read < 0:
        raise PlaitError(f"--read must be 0 or more passages, but is {read}; 0 only ranks")
    require_run(run, candidates, first_stage)
    if first_stage == "all" and candidates is not None:
        raise PlaitError(f"--first-stage all has no candidates, but --candidates is {candidates}; leave one out")
    queries, judgements, questions = _queries(data, split, qrels)
    if limit and limit < len(queries):
        queries = {id: queries[id] for id in random.Random(0).sample(list(queries), limit)}
        questions = [question for question in questions if question.id in queries]
    index = open_index(store, model, device)
    if out_file is not None:
        check_run(out_file, queries, index.store.contents())  # not when all is ranked
    handed: Any = 100 if candidates is None else candidates
    if run is not None:
        handed = of_run(index.store, read_run(run), queries)
    ranks, reads = ("score" in index.model.plans, "span" in index.model.plans)
    if read and not (questions and reads):
        lacking = f"the model of {store} has no span head" if questions else f"{data} has none"
        raise PlaitError(f"--read is for questions that have answers, and a span head, but {lacking}; leave it out")
    facts: dict[str, Any] = {"queries": len(queries)}
    with err.status("") if err.is_terminal else contextlib.nullcontext() as status:

        def done(n: int) -> None:
            if status is not None:
                status.update(f"{n} of {len(queries)} queries")

        first: Any = first_stage
        answers = bool(questions) and reads and read != 0
        if ranks or out_file is not None or not answers:  # else what ask answers is all there is
            found = judged(index, queries, judgements, candidates=handed, first_stage=first, progress=done)
            facts["model"] = found.ranked()
            if first_stage != "all":  # which gives no scores
                facts["first stage"] = found.first_stage()
                if len(queries) > 1:
                    facts["both"] = found.both()
        if answers:
            some = answered(index, questions, read=read or 3, candidates=handed, first_stage=first, progress=done)
            facts["answers"] = some | {"read": read or 3}
    show.json_line(facts) if json_ else show.evaluated(out, facts)
    if out_file is not None:
        write_run(out_file, found.run(0.0))


def _task(
    model: str, data: str, task: str, plan: str | None, texts: str, label: str, split: str, limit: int, device: str,
    json_: bool,
) -> None:  # fmt: skip
    """Measure a checkpoint under one plan."""
    from plait.evaluate import quality
    from plait.labelled import read_task
    from plait.tasks import KINDS

    if (Path(model) / "plait.json").is_file():
        raise PlaitError(
            f"--task measures a checkpoint, but {model} is a store; name the checkpoint, or leave --task out to "
            "measure how it ranks"
        )
    items = read_task(task, data, split=split, texts=texts, label=label, count=limit)
    for module in KINDS[task].libraries:
        library(module, "train")
    loaded = load(model, plan, "auto", device)
    found, metric = quality(loaded, task, items), KINDS[task].metric
    plans = {head: str(one) for head, one in loaded.plans.items()}
    facts = {"task": task, "plans": plans, "quality": {metric: found[metric], **found}}
    show.json_line(facts) if json_ else show.measured(out, facts)


def _queries(data: str, split: str, qrels: Path | None) -> tuple[Mapping[str, str], Qrels, Sequence[Question]]:
    """Queries, which documents are relevant to each, and those of them that have answers."""
    from plait.data import located, read_collection, read_qrels, read_queries, read_squad
    from plait.judged import asked

    source = located(data)
    if qrels is not None:
        queries, judgements = read_queries(source), read_qrels(qrels)
        both = {id: text for id, text in queries.items() if id in judgements}
        lacking = judgements.keys() - both.keys()
        if not both:
            raise PlaitError(
                f"judged queries must be in {source}, but none of the {len(judgements)} in {qrels} is, "
                f"{min(lacking)!r} first; name the file that has them"
            )
        if lacking:
            warnings.warn(
                f"{len(lacking)} of {len(judgements)} judged queries are not in {source}, {min(lacking)!r} first, "
                "and are left out",
                DataWarning,
                stacklevel=2,
            )
        return both, judgements, []
    if source.is_dir():
        found = read_collection(source, split)
        return found.queries, found.qrels, []
    questions = read_squad(source)
    return *asked(questions), questions
