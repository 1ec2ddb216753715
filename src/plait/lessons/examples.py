"""What a model learns from labelled examples: batches of like length, each text once."""

from __future__ import annotations

import random
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from plait.data import Example
from plait.errors import DataWarning, PlaitError
from plait.lessons.cut import say_cut
from plait.lessons.in_batch import Right, crossed
from plait.lessons.lesson import Lesson
from plait.lessons.written import written
from plait.tasks import (
    KINDS,
    Classes,
    Lists,
    Target,
    Texts,
    Values,
    class_name,
    group_name,
    number_of,
    require_roles,
    text_of,
    unanswerable,
)
from plait.text import Segment, Text
from plait.writer import ENDED

Make = Callable[[Sequence[Sequence[Example]], Tensor, Sequence[int] | None], Target]
"""Lists of examples, their numbers int64 [B, roles], and how many of each list are its own -> what is to be given."""
BUCKET = 64
"""Batches among which examples of like length are put together."""


def example_lessons(
    task: str,
    examples: Sequence[Example],
    text: Text,
    *,
    classes: Sequence[str] = (),
    batch: int = 32,
    candidates: int = 8,
    longest: int = 384,
    longest_written: int = 64,
    seed: int = 0,
    labelled: bool = True,
    in_batch: bool = False,
) -> list[Lesson]:
    """Every example once, `batch` at a time; of a `rank` task every relevant one, with wrong ones of its group. Groups
    without a right or a wrong one are left out, with a DataWarning.

    Args:
        task: `class`: labels are among `classes`. `value`: labels are numbers. `rank`: labels are relevances, those
            above 0 right; lists of `candidates`, one right. `choice`: groups are the options of a question, one right.
            `text`: labels are what is to be written.
        examples: each with a text for each role; the last roles may be without (claims with few evidence sentences).
        labelled: whether labels are to be learned. If not, examples need none but texts to be written, and a group
            without a right and a wrong candidate, or without one right option, counts as it stands; of a `rank` task in
            lists of `candidates` at most, or of one more where it would be left alone.
        in_batch: of a `rank` task, add the other candidates of the batch to each list. Then no group needs a wrong one,
            and an example without a label is a right one.
        longest, longest_written: most tokens of a text and of one that is to be written; what is cut is said in a
            TruncationWarning.

    Raises:
        PlaitError: a label or a group that the task cannot have, or another number of texts than the model has roles.
    """
    rng = random.Random(seed)
    require_roles(text.roles, examples)
    if in_batch:
        examples = [replace(e, label=1.0) if e.label is None else e for e in examples] if labelled else examples
    units = list(_units(task, examples, candidates, rng, labelled, in_batch))
    segments = _segments(examples, text, longest)
    make = _texts(examples, text, longest_written) if task == "text" else _target(task, classes, labelled)
    most = max(map(len, units), default=1) if KINDS[task].grouped else 1
    if in_batch and batch < 2 * most:
        raise PlaitError(
            f"in_batch needs room for two lists in a batch, but batch is {batch} and a list has {most} candidates; "
            f"raise batch to {8 * most}, or lower candidates"
        )
    size = max(1, batch // most)
    rng.shuffle(units)
    batches = []
    for begin in range(0, len(units), BUCKET * size):
        bucket = sorted(units[begin : begin + BUCKET * size], key=lambda unit: _length(unit, segments))
        batches += [bucket[i : i + size] for i in range(0, len(bucket), size)]
    rng.shuffle(batches)
    right = _right(examples, labelled) if in_batch else None
    return [_lesson(some, text, segments, make, right) for some in batches]


def first_of(task: str, examples: list[Example], count: int) -> list[Example]:
    """The first `count` examples, or groups of them where they belong together; all for 0."""
    if not count or not KINDS[task].grouped:
        return examples[: count or None]
    groups = list(dict.fromkeys(group_name(example.group, example.texts) for example in examples))
    kept = set(groups[:count])
    return [example for example in examples if group_name(example.group, example.texts) in kept]


def _units(
    task: str, examples: Sequence[Example], candidates: int, rng: random.Random, labelled: bool, in_batch: bool
) -> Iterator[list[Example]]:
    """What stays together: an example, or a list of candidates, the right one first if there is one."""
    if not KINDS[task].grouped:
        for example in examples:
            yield [example]
        return
    groups: dict[str, list[Example]] = defaultdict(list)
    lacking = 0
    for example in examples:
        groups[group_name(example.group, example.texts)].append(example)
    for name, group in groups.items():
        right = [e for e in group if _is_right(task, e, labelled)]
        wrong = [e for e in group if not _is_right(task, e, labelled)]
        if task == "choice" and len(right) == 1 and wrong:
            yield [*right, *wrong]
        elif task == "rank" and right and (wrong or in_batch):
            for example in right:
                yield [example, *rng.sample(wrong, min(candidates - 1, len(wrong)))]
        elif labelled and task == "choice":
            raise unanswerable(name, len(right), len(wrong))
        elif labelled or (len(group) < 2 and not in_batch):
            lacking += 1
        else:
            lists = 1 if task == "choice" else min(-(-len(group) // candidates), max(len(group) // 2, 1))
            yield from (group[first::lists] for first in range(lists))
    if lacking:
        what = "one candidate alone"
        if labelled:
            what = "no right candidate" if in_batch else "no right or no wrong candidate"
        warnings.warn(f"{lacking} of {len(groups)} groups have {what}; they are left out", DataWarning, stacklevel=3)


def _is_right(task: str, example: Example, labelled: bool) -> bool:
    return (labelled or isinstance(example.label, int | float)) and number_of(task, example) > 0


def _right(examples: Sequence[Example], labelled: bool) -> Right:
    """By group and by query, the texts behind the query that are right."""
    found: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for example in examples:
        if _is_right("rank", example, labelled):
            for name in {group_name(example.group, example.texts), example.texts[0]}:
                found[name].add(example.texts[1:])
    return found


def _target(task: str, classes: Sequence[str], labelled: bool) -> Make:
    number = {name: i for i, name in enumerate(classes)}

    def class_of(example: Example) -> int:
        if example.label is None or class_name(example.label) not in number:
            raise PlaitError(
                f"a label must be one of {', '.join(classes)}, but that of example {example.id} is {example.label!r}; "
                "mend it or leave the example out"
            )
        return number[class_name(example.label)]

    def make(units: Sequence[Sequence[Example]], numbers: Tensor, own: Sequence[int] | None) -> Target:
        if task == "class":
            return Classes(numbers, torch.tensor([class_of(unit[0]) for unit in units]) if labelled else None)
        if task == "value":
            return Values(numbers, torch.tensor([number_of(task, unit[0]) for unit in units]) if labelled else None)
        return Lists(numbers, [len(unit) for unit in units], own)

    return make


def _texts(examples: Sequence[Example], text: Text, longest: int) -> Make:
    tokens = written([text_of(example) for example in examples], text, longest)

    def make(units: Sequence[Sequence[Example]], numbers: Tensor, own: Sequence[int] | None) -> Target:
        rows = [torch.tensor(tokens[text_of(unit[0])]) for unit in units]
        return Texts(numbers, torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=ENDED))

    return make


def _segments(examples: Sequence[Example], text: Text, longest: int) -> list[dict[str, Segment]]:
    """For each role, its segments by text."""
    columns = []
    for column, role in enumerate(text.roles):
        texts = list(dict.fromkeys(example.texts[column] for example in examples if column < len(example.texts)))
        if not texts:
            raise PlaitError(
                f"every role must have a text in some example, but {role} has none; give the plan fewer roles than "
                f"{'+'.join(text.roles)}"
            )
        room = min(longest, text.room(role))
        segments = text.segments(role, texts, room=room)
        say_cut(f"{role} texts", room, segments)
        columns.append(dict(zip(texts, segments, strict=True)))
    return columns


def _length(unit: list[Example], segments: list[dict[str, Segment]]) -> int:
    return max(sum(len(column[text].ids) for column, text in zip(segments, e.texts, strict=False)) for e in unit)


def _lesson(
    units: Sequence[Sequence[Example]],
    text: Text,
    segments: list[dict[str, Segment]],
    make: Make,
    right: Right | None,
) -> Lesson:
    own = None
    if right is not None:
        own = [len(unit) for unit in units]
        units = crossed(units, right)
    rows = [example.texts for unit in units for example in unit]
    chosen: dict[str, list[Segment]] = {}
    numbers = []
    for column, role in enumerate(text.roles):
        place = {t: i for i, t in enumerate(dict.fromkeys(row[column] for row in rows if column < len(row)))}
        chosen[role] = [segments[column][t] for t in place or segments[column]][: max(len(place), 1)]
        numbers.append([place[row[column]] if column < len(row) else -1 for row in rows])
    return Lesson(chosen, (make(units, torch.tensor(numbers).T, own),))
