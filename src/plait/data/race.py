"""RACE: articles with questions, four options each and the letters of the answers; on the hub, a row a question."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import ascii_uppercase
from typing import TypeGuard

from plait.data.document import checked_text, described, identified
from plait.data.jsonl import parsed
from plait.data.source import kind, whole
from plait.data.table import Row
from plait.errors import PlaitError

KEYS = frozenset(("article", "questions", "options"))
OF_ONE = frozenset(("article", "question", "options"))
"""Of a question by itself."""
SPLITS = ("train", "dev", "test")
BLANK = re.compile("_+")


def is_article(value: object) -> TypeGuard[dict[str, object]]:
    """Whether a JSON value is an article of RACE."""
    return isinstance(value, dict) and value.keys() >= KEYS


def by_option(rows: Iterator[Row]) -> Iterator[Row]:
    """The rows, with the rows of its options in place of each article, and of each question by itself."""
    before: Counter[str] = Counter()
    for row in rows:
        if is_article(row.value):
            yield from options(row.value, row.place, row.default_id)
        elif isinstance(row.value, dict) and row.value.keys() >= OF_ONE:
            one = row.value
            name = identified(one.get("example_id", one.get("id", row.default_id)), "the article's id", row.place)
            several = {"questions": [one["question"]], "options": [one["options"]]}
            several |= {"answers": [one["answer"]]} if "answer" in one else {}
            before[name] += 1
            yield from options({"article": one["article"], **several}, row.place, name, before[name])
        else:
            yield row


def rows(path: Path) -> Iterator[Row]:
    """The rows of one of RACE's own files, or of all the .txt files in a directory, also in folders, by name."""
    if mixed := [name for name in SPLITS if (path / name).is_dir()]:
        raise PlaitError(f"{path} must be one split of RACE, but holds {', '.join(mixed)}; name {path / mixed[0]}")
    files = sorted(file for file in path.rglob("*") if kind(file) == ".txt") if path.is_dir() else [path]
    if not files:
        raise PlaitError(
            f"{path} must hold RACE's .txt files or what datasets' save_to_disk wrote, but holds neither; "
            "name another folder, or a file in it"
        )
    for file in files:
        article = parsed(whole(file), str(file))
        if not is_article(article):
            raise PlaitError(
                f"{file} must be an article of RACE (an object with {', '.join(sorted(KEYS))}), but is not; "
                "take it out of the folder"
            )
        yield from options(article, str(file), file.name)


def options(article: Mapping[str, object], place: str, default_id: str, first: int = 1) -> Iterator[Row]:
    """One row an option: id "<article>/<question>/<letter>", query (question with this option), passage, label, group.

    The label is 1.0 for the answer and 0.0 for the others, None without `answers`; the group is "<article>/<question>".
    An article without questions, of which RACE has some, has no rows. Questions count from `first`.
    """
    name = identified(article.get("id", default_id), "the article's id", place)
    passage = checked_text(article["article"], "the article", place)
    questions, choices = (_list(article, key, place) for key in ("questions", "options"))
    answers = _list(article, "answers", place) if "answers" in article else [None] * len(questions)
    if not len(questions) == len(choices) == len(answers):
        raise PlaitError(
            f"{place} must have options and an answer for each question, but has {len(questions)} questions, options "
            f"for {len(choices)} and {len(answers)} answers; mend it"
        )
    for number, (question, choice, answer) in enumerate(zip(questions, choices, answers, strict=True), first):
        here, group = f"{place}, question {number}", f"{name}/{number}"
        asked = checked_text(question, "the question", here)
        if not isinstance(choice, list) or not 2 <= len(choice) <= len(ascii_uppercase):
            raise PlaitError(f"{here} must have a list of two or more options, but has {choice!r}; mend it")
        letters = ascii_uppercase[: len(choice)]
        if answer is not None and answer not in [*letters]:
            raise PlaitError(f"{here}: the answer must be one of {', '.join(letters)}, but is {answer!r}; mend it")
        for letter, text in zip(letters, choice, strict=True):
            fields: Mapping[str, object] = {
                "query": _asked(asked, checked_text(text, f"option {letter}", here)),
                "passage": passage,
                "label": None if answer is None else float(letter == answer),
                "group": group,
            }
            yield Row(here, f"{group}/{letter}", fields)


def _asked(question: str, option: str) -> str:
    """A question with its blank filled in, or with the option behind it."""
    return BLANK.sub(lambda _: option, question) if "_" in question else f"{question} {option}"


def _list(article: Mapping[str, object], key: str, place: str) -> list[object]:
    values = article[key]
    if not isinstance(values, list):
        raise PlaitError(f"{place}: '{key}' must be a list, as in RACE, but is {described(values)}; mend it")
    return values
