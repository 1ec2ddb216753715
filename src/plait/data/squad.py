"""SQuAD 1.1 and 2.0: articles of paragraphs with questions; on the hub, a row a question."""

import json
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from plait.data import table
from plait.data.document import Record, checked_text, identified, listed
from plait.data.source import kind, whole
from plait.errors import DataWarning, PlaitError


@dataclass(frozen=True)
class Question:
    """One question about one paragraph.

    `document` is the paragraph's id ("<article title>/<number>"), as `read_documents` gives it, and `passage` its text;
    `answers` are (text, first character in `passage`), several if people disagreed, none if it is `impossible`.
    """

    id: str
    question: str
    document: str
    passage: str
    answers: tuple[tuple[str, int], ...]
    impossible: bool = False


class _Paragraph(NamedTuple):
    place: str
    document: str
    title: str
    text: str
    fields: Mapping[str, object]


def records(path: Path) -> Iterator[Record]:
    """One record a paragraph, `where` counting them from 1: id "<article title>/<number in it>", text and title."""
    for number, paragraph in enumerate(_paragraphs(path), start=1):
        yield Record(number, paragraph.document, {"text": paragraph.text, "title": paragraph.title})


def read_squad(path: str | Path) -> list[Question]:
    """Every question of a SQuAD file (.json, also .gz or .xz), in order; or of the rows that the hub has, in .parquet,
    .jsonl or a folder that Hugging Face datasets wrote: `id`, `context`, `question`, `answers` (lists `text` and
    `answer_start`, empty where there is no answer) and, if they like, `title`.

    Raises PlaitError that names article, paragraph and question for anything missing, empty or misplaced.
    """
    path = Path(path)
    questions: dict[str, Question] = {}
    of_rows = path.is_dir() or kind(path) in table.TABLES
    for paragraph in _of_rows(path) if of_rows else _paragraphs(path):
        for number, fields in enumerate(_objects(paragraph.fields, "qas", paragraph.place), start=1):
            question = _question(fields, paragraph, f"{paragraph.place}, question {number}")
            if question.id in questions:
                raise PlaitError(
                    f"a question's id must be its own, but {path} has '{question.id}' in '{question.document}' and in "
                    f"'{questions[question.id].document}'; rename one"
                )
            questions[question.id] = question
    if not questions:
        raise PlaitError(f"{path} must hold at least one question, but holds none; fill it or name another path")
    return list(questions.values())


def _question(fields: Mapping[str, object], paragraph: _Paragraph, place: str) -> Question:
    answers = []
    for answer in _objects(fields, "answers", place):
        text, start = checked_text(answer.get("text"), "the answer's text", place), answer.get("answer_start")
        if not isinstance(start, int) or start < 0 or not paragraph.text.startswith(text, start):
            raise PlaitError(
                f"{place}: an answer must stand where answer_start says, but '{text}' does not stand at {start}; "
                "count characters from the paragraph's first, which is 0"
            )
        answers.append((text, start))
    return Question(
        identified(fields.get("id"), "the question's id", place),
        checked_text(fields.get("question"), "the question", place),
        paragraph.document,
        paragraph.text,
        tuple(answers),
        bool(fields.get("is_impossible", False)),
    )


def _paragraphs(path: Path) -> Iterator[_Paragraph]:
    for article_number, article in enumerate(_objects(_parsed(path), "data", str(path)), start=1):
        place = f"{path} article {article_number}"
        title = checked_text(article.get("title", f"article {article_number}"), "the title", place)
        for number, fields in enumerate(_objects(article, "paragraphs", place), start=1):
            here = f"{place} ('{title}') paragraph {number}"
            text = checked_text(fields.get("context"), "the context", here)
            yield _Paragraph(here, f"{title}/{number}", title, text, fields)


def _of_rows(path: Path) -> Iterator[_Paragraph]:
    """A paragraph for every row of one question; those of one text have one document."""
    documents: dict[tuple[str, str], str] = {}
    count: Counter[str] = Counter()
    rows = answered = 0
    for place, default_id, row in table.rows(path, "questions"):
        if not isinstance(row, dict):
            raise PlaitError(f"{place} must be an object with context, question and answers, but is not; write one")
        if "context" not in row:
            raise PlaitError(
                f"{place} must have a context, a question and answers, as SQuAD, but has {listed(row)}; name the task "
                "that its labels are for, such as class or rank, or where queries are judged (plait evaluate --qrels)"
            )
        title = checked_text(row.get("title", path.name), "the title", place)
        text = checked_text(row.get("context"), "the context", place)
        if (title, text) not in documents:
            count[title] += 1
            documents[title, text] = f"{title}/{count[title]}"
        found = row.get("answers")
        texts, starts = (found.get(key) if isinstance(found, dict) else None for key in ("text", "answer_start"))
        if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
            raise PlaitError(
                f"{place}: 'answers' must have lists text and answer_start, as many of each, as in SQuAD, but has not; "
                "write them"
            )
        answers = [{"text": a, "answer_start": b} for a, b in zip(texts, starts, strict=True)]
        rows, answered = rows + 1, answered + bool(answers)
        asked = {"id": row.get("id", default_id), "question": row.get("question"), "answers": answers}
        yield _Paragraph(place, documents[title, text], title, text, {"qas": [asked | {"is_impossible": not answers}]})
    if rows and not answered:
        warnings.warn(
            f"{path}: none of the {rows} questions has an answer, as if no passage had one; take another split if "
            "answers are to be learned or measured",
            DataWarning,
            stacklevel=2,
        )


def _parsed(path: Path) -> dict[str, object]:
    text = whole(path)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise PlaitError(
            f"{path} line {error.lineno} must be JSON, but is not ({error.msg.lower()} at column {error.colno}); "
            "mend it, or name a file of one JSON object a line .jsonl"
        ) from None
    except (ValueError, RecursionError) as error:
        raise PlaitError(f"{path} must be JSON that Python can hold, but is not ({error}); mend it") from None
    if not isinstance(content, dict) or "data" not in content:
        raise PlaitError(
            f"{path} must be a SQuAD file (an object with 'data'), but is not; write other documents as .jsonl"
        )
    return content


def _objects(parent: Mapping[str, object], name: str, place: str) -> list[Mapping[str, object]]:
    children = parent.get(name)
    if not isinstance(children, list) or not all(isinstance(child, dict) for child in children):
        raise PlaitError(f"{place}: '{name}' must be a list of objects, as in SQuAD, but is not; mend the file")
    return children
