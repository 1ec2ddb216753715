"""Examples: texts to be read together, and what they are known to be: a class, a value, or how relevant."""

import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from plait.data import arrow, delimited, lists, pairs, race, table
from plait.data.document import ID_FIELDS, checked_text, described, identified, listed, named, repeated
from plait.data.source import check_exists, kind, lines
from plait.data.table import Row
from plait.errors import DataWarning, PlaitError

IDS = (*ID_FIELDS, "idx", "index")
GROUPS = ("group", "query_id", "qid")
LABELS = (
    "label",
    "labels",
    "gold_label",
    "score",
    "similarity",
    "similarity_score",
    "relevance",
    "quality",
    "Quality",
    "is_duplicate",
    "relatedness_score",
    "entailment_label",
    "entailment_judgment",
)
CUT = 0.01
"""Most of QQP's rows that may be cut short and left out; its own are 1 in 10,000."""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
Label = str | float | None


@dataclass(frozen=True)
class Example:
    """One or more texts, one for each role and in the order of these, and what is known about them.

    `label` is a class by its name, or a value or relevance as a float, or None if nobody said it. Examples of one
    `group` are alternatives (one query's passages, one question's options); those of group "" stand alone. One that a
    first stage did not find (`found` False) can be learned from, but counts as not ranked where ranking is measured.
    """

    id: str
    texts: tuple[str, ...]
    label: Label
    group: str = ""
    found: bool = True


def read_examples(
    path: str | Path, *, texts: Sequence[str] = (), label: str = "", numbers: bool = True
) -> list[Example]:
    """The examples of a file or folder, in order; .gz and .xz files are read as what they hold.

    .jsonl, .csv, .tsv, .parquet: text columns named as in `pairs.FIELDS` or by `texts` (a list of strings in one of
    them is several texts, or none if it is empty and the last), a label column named as in `LABELS` or by `label`,
    and if there are such columns an id (`IDS`; else examples are numbered) and a group (`GROUPS`). .txt: tabs as in
    .tsv. A folder that Hugging Face datasets wrote with `save_to_disk`. GLUE's files: CoLA's need no header, and
    rows of QQP's that are cut short are left out, with a DataWarning, if they are 1 in 100 at most. RACE, as a
    folder of its files, or elsewhere a row an article or, as on the hub, a question: an example an option (see
    `race.options`). Rows of a query with its right and wrong passages, if `texts` names no columns: an example a
    passage (see `lists.by_passage`).

    A label that is a number or true or false is a float; so is, in .csv, .tsv and .txt, a cell that is written as a
    number; any other text is a class. Null, an empty cell and an absent column are None. '-', and -1 where a dataset
    has classes, mean that no class was found: such examples are left out, with a DataWarning that counts them, unless
    the file labels nothing else (then all have None). With `numbers` False labels are texts as they stand there, whole
    numbers too, and none of this holds; other numbers must be in quotes, for how they were written is not known.

    Raises PlaitError by place for anything else: no such column, two label columns and no `label`, an empty text, an id
    that two examples have, classes mixed with numbers, a number that is not finite, no example at all.
    """
    path = Path(path)
    if isinstance(texts, str):
        raise PlaitError(f"texts must be a list of columns, but is '{texts}'; pass one name or more, such as ['text']")
    check_exists(path)
    places: dict[str, str] = {}
    examples: list[Example] = []
    first: tuple[Label, str] = (None, "")
    cut: list[PlaitError] = []
    for place, default_id, row in _rows(path, cut) if texts else lists.by_passage(_rows(path, cut), label):
        example = _example(
            row, place, default_id, texts, label, numbers=numbers, cells=kind(path) in (".csv", ".tsv", ".txt")
        )
        if example.id in places:
            raise repeated("example", example.id, places[example.id], place)
        places[example.id] = place
        examples.append(example)
        if example.label is None or (numbers and example.label == arrow.NO_CLASS):
            continue
        first = first if first[1] else (example.label, place)
        if type(example.label) is not type(first[0]):
            raise PlaitError(
                f"labels must be all numbers or all names of classes, but {first[1]} has {first[0]!r} and {place} has "
                f"{example.label!r}; write one kind"
            )
    if not examples:
        raise PlaitError(f"{path} must hold at least one example, but holds none; fill it or name another path")
    _say_cut(cut, len(examples))
    return _decided(examples, path, labelled=bool(first[1])) if numbers else examples


def _say_cut(cut: Sequence[PlaitError], whole: int) -> None:
    """Warn of rows of QQP that are left out; a file that has many is another's."""
    if len(cut) > CUT * (whole + len(cut)):
        raise cut[0]
    if cut:
        said = f"{len(cut)} of {whole + len(cut)} rows have too few cells and are left out; the first: {cut[0]}"
        warnings.warn(said, DataWarning, stacklevel=3)


def _decided(examples: list[Example], path: Path, labelled: bool) -> list[Example]:
    """The examples whose class was found, if it was for any; else all of them, as unlabelled."""
    if not labelled:
        return [Example(example.id, example.texts, None, example.group) for example in examples]
    kept = [example for example in examples if example.label != arrow.NO_CLASS]
    if left_out := len(examples) - len(kept):
        warnings.warn(
            f"{path}: {left_out} of {len(examples)} examples have no class ('-' or -1) and are left out",
            DataWarning,
            stacklevel=3,
        )
    return kept


def _rows(path: Path, cut: list[PlaitError]) -> Iterator[Row]:
    if path.is_dir() and not arrow.is_dataset(path):
        return race.rows(path)
    if kind(path) == ".txt" and next(lines(path)).lstrip().startswith("{"):
        return race.rows(path)
    if kind(path) in (".txt", ".tsv"):
        return race.by_option(table.placed(delimited.records(path, cut=cut), f"{path} line"))
    return race.by_option(table.rows(path, "examples"))


def _example(
    row: object, place: str, default_id: str, texts: Sequence[str], label: str, *, numbers: bool, cells: bool
) -> Example:
    found = pairs.texts(row, place, texts)
    fields: Mapping[str, object] = row if isinstance(row, dict) else {}
    id_name, group_name = (named(fields, None, names, place) for names in (IDS, GROUPS))
    label_name = _label_name(fields, label, place)
    group = None if group_name is None else fields[group_name]
    return Example(
        default_id if id_name is None else identified(fields[id_name], f"'{id_name}'", place),
        found,
        None if label_name is None else _label(fields[label_name], f"'{label_name}'", place, numbers, cells),
        "" if group in (None, "") else identified(group, f"'{group_name}'", place),
    )


def _label_name(fields: Mapping[str, object], wanted: str, place: str) -> str | None:
    several = [name for name in LABELS if name in fields]
    if not wanted and len(several) > 1:
        raise PlaitError(f"{place} must have one label, but has {listed(several)}; pass label")
    return named(fields, wanted or None, LABELS, place)


def _label(value: object, what: str, place: str, numbers: bool, cells: bool) -> Label:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str) and not (numbers and cells and NUMBER.fullmatch(value.strip())):
        return checked_text(value, what, place)
    if not numbers:
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        raise PlaitError(
            f"{place}: {what} must be a text, but is {described(value)}; write it in quotes, as it is to be written"
        )
    if not isinstance(value, str | int | float):
        raise PlaitError(
            f"{place}: {what} must be a class or a number, but is {described(value)}; write one label or pass label"
        )
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise PlaitError(f"{place}: {what} must be a finite number, but is {value!s:.20}; write another label there")
    return number
