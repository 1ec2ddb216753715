"""The main job, on real data, offline: index the bundled corpus, ask it, and ask the full pair model the same beside
it.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from plait import show
from plait.errors import PlaitError

if TYPE_CHECKING:
    from plait.data import Question
    from plait.index import Index
    from plait.model import Plait
    from plait.results import Answers

MODEL = "bundled:minilm-squad"
QUESTIONS = 6


@dataclass(frozen=True)
class Full:
    """What the full pair model answers, and how long it took."""

    document: str
    answer: str
    seconds: float


def run(
    passages: int = 0, store: Path | None = None, questions: int = QUESTIONS, name: str = MODEL, device: str = "cpu"
) -> None:
    """Print the whole demonstration.

    Args:
        passages: how many of the bundled 2,067 to index; 0 for all.
        store: a folder to keep the store in; default: a temporary one.
        name: checkpoint with a score and a span head, saved with its plans.
        questions: how many questions to ask, one an article, spread over the corpus.
        device: where to compute, as `Plait.from_pretrained` takes it.

    Raises:
        PlaitError: passages is negative, or the store holds another number of them.
    """
    from plait.data import bundled, read_documents, read_squad
    from plait.index import Index
    from plait.machine import fast_dtype, to_device
    from plait.model import Plait

    out = Console(highlight=False, soft_wrap=True)
    if passages < 0:
        raise PlaitError(f"passages must be 0 (all) or more, but is {passages}; leave it out")
    documents = list(read_documents(bundled("squad-dev")))[: passages or None]
    dtype = fast_dtype(to_device(device))
    model = Plait.from_pretrained(name, dtype=dtype, device=device)
    articles = len({_article(document.id) for document in documents})
    of = f"{len(documents):,} paragraphs of {articles} Wikipedia article{'s' * (articles > 1)} (SQuAD 1.1 dev)"
    out.print(f"[bold]Plait[/]: {of}, {name}, {dtype}")
    for head, plan in model.plans.items():
        out.print(f"  {head}: {plan}", style="dim")
    with tempfile.TemporaryDirectory() as folder:
        path = store or Path(folder) / "squad.plait"
        index = Index.open(path, model) if (path / "plait.json").exists() else Index.create(path, model, name=name)
        if index.store.contents().keys() - {document.id for document in documents}:
            raise PlaitError(
                f"the demo's store must hold the {len(documents)} paragraphs asked for and no others, but {path} holds "
                f"{len(index.store.contents())} documents; choose another --store"
            )
        begin = time.perf_counter()
        with Progress(
            TextColumn("  {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("paragraphs"),
            TimeElapsedColumn(),
        ) as progress:
            task = progress.add_task("computing the passage side, once", total=len(documents))
            index.add(documents, progress=lambda done, _: progress.update(task, completed=done))
        stats = index.stats()
        out.print(
            f"  {stats.passages:,} passages in {time.perf_counter() - begin:.0f} s; "
            f"{stats.state_bytes / stats.passages:,.0f} bytes a passage, "
            f"{stats.disk_bytes / 1e6:.0f} MB in all\n"
        )
        chosen = _spread(read_squad(bundled("squad-dev")), {d.id for d in documents}, questions)
        full = Plait.from_pretrained(name, plan="join=0", dtype=dtype, device=device)
        texts = {d.id: d.text for d in documents}
        index.ask(chosen[0].question)
        index.ask(chosen[-1].question)
        _ask_full(full, index, texts, chosen[0].question)
        seconds, others, same_passage, same_answer = [], [], 0, 0
        for question in chosen:
            begin = time.perf_counter()
            ours = index.ask(question.question)
            seconds.append(time.perf_counter() - begin)
            theirs = _ask_full(full, index, texts, question.question)
            _show(out, question.question, ours, theirs)
            others.append(theirs.seconds)
            same_passage += bool(ours.answers) and ours.ranking.hits[0].document == theirs.document
            same_answer += bool(ours.answers) and ours.answers[0].answer == theirs.answer
        ours_ms, theirs_ms = 1000 * statistics.median(seconds), 1000 * statistics.median(others)
        out.print(
            f"[bold]{theirs_ms / ours_ms:.0f} times faster[/]: {ours_ms:.1f} ms against {theirs_ms:.0f} ms a "
            f"question (medians over "
            f"{len(chosen)}, first stage, 100 passages and answer); same best passage {same_passage} of {len(chosen)}, "
            f"same answer {same_answer} of {len(chosen)}"
        )


def _ask_full(full: Plait, index: Index, texts: dict[str, str], question: str) -> Full:
    """The full pair model over the same candidates: every pair through every layer, then a span in the best passage."""
    begin = time.perf_counter()
    passages = index.store.passages([hit.id for hit in index.store.search_text(question, 100)])
    documents = list(dict.fromkeys(passage.document for passage in passages))
    documents.sort(key=lambda d: len(texts[d]))
    scores = full.predict([(question, texts[d]) for d in documents], batch_size=25)
    best = documents[int(scores.argmax())]
    answer = full.read(texts[best]).ask(question)
    return Full(best, answer.answer, time.perf_counter() - begin)


def _show(out: Console, question: str, ours: Answers, theirs: Full) -> None:
    out.print(f"[bold]? {escape(question)}[/]")
    if not ours.answers:
        some = bool(ours.ranking.hits)
        why = "the passages that were read have no answer" if some else "no passage shares a word with the question"
        return out.print(f"  {why}")
    answer = ours.answers[0]
    out.print(f"  {show.found(answer)}")
    for number, hit in enumerate(ours.ranking.hits, 1):
        out.print(f"  {number}. {hit.score:6.2f}  {escape(hit.id)}", style="cyan" if hit.id == answer.hit.id else "dim")
    out.print(f"  {show.milliseconds(ours.ranking.timing)}", style="dim")
    agreed = "the same" if theirs.answer == answer.answer else f"“{escape(theirs.answer)}” in {escape(theirs.document)}"
    out.print(f"  full pair model: {agreed}, {1000 * theirs.seconds:.0f} ms\n", style="dim")


def _spread(questions: Sequence[Question], documents: set[str], count: int) -> list[Question]:
    """The first question of every so many articles: nobody picked them."""
    first: dict[str, Question] = {}
    for question in questions:
        if question.document in documents:
            first.setdefault(_article(question.document), question)
    there = list(first.values())
    return there[:: max(1, len(there) // count)][:count]


def _article(document: str) -> str:
    """The article that a paragraph is of, by its id."""
    return document.rpartition("/")[0]
