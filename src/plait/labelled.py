"""The data of a task, from whatever file or folder it is read."""

from __future__ import annotations

from plait.data import Example, Question, is_beir, located, read_examples, read_squad
from plait.errors import PlaitError
from plait.lessons import first_of
from plait.mining import judged_lists
from plait.tasks import KINDS

Data = list[Question] | list[Example]


def read_task(
    task: str, path: str, *, split: str, run: str = "", texts: str = "", label: str = "", count: int = 0
) -> Data:
    """The first `count` questions, examples or groups of them in a file or a split; all for 0.

    Args:
        path: of `qa` as `read_squad` reads it; of `rank` a BEIR folder, or, as of all others, what `read_examples`
            reads; or `bundled:NAME`.
        split, run: of a BEIR folder, see `judged_lists`.
        texts, label: columns, those of the texts joined by +; empty for the usual names.
    """
    if task not in KINDS:
        raise PlaitError(f"task must be one of {', '.join(KINDS)}, but is {task!r}")
    source = located(path)
    if task == "qa":
        return read_squad(source)[: count or None]
    if task == "rank" and is_beir(source):
        if texts or label:
            raise without_columns(path)
        return judged_lists(source, split, run, count=count)
    if run:
        raise PlaitError(f"a run names documents of a BEIR folder, but {source} is none; leave {run} out")
    columns = [name for name in texts.split("+") if name]
    return first_of(task, read_examples(source, texts=columns, label=label, numbers=task != "text"), count)


def without_columns(path: str) -> PlaitError:
    """The error for columns that are named of a BEIR folder."""
    return PlaitError(
        f"texts and label are columns of a file, but {path} is a BEIR folder, which has its own; leave them out"
    )
