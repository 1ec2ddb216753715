"""Lists: rows of a query with its right and its wrong passages, as retrievers and rerankers are trained on."""

import re
from collections.abc import Iterator, Mapping, Sequence

from plait.data.document import ID_FIELDS, checked_text, described, identified
from plait.data.table import Row
from plait.errors import PlaitError

QUERIES = ("query", "anchor", "question")
RIGHT = ("positive", "positives", "pos", "positive_passages")
ANSWER = "answer"
"""What is right where a row has wrong ones too, as in sentence-transformers' question, answer, negative_1, …"""
WRONG = ("negative", "negatives", "neg", "negative_passages")
NUMBERED = re.compile("negative_[0-9]+")
DOCS, LABELS = "docs", "labels"


def by_passage(rows: Iterator[Row], label: str = "") -> Iterator[Row]:
    """The rows, with a row for each of its passages in place of each list: query, passage, label, group. A `label` that
    is named is the column of numbers, and names theirs.

    Lists have one of QUERIES and one of RIGHT: sentence-transformers' pairs, triplets and rows of several negatives
    (anchor, positive, negative or negative_1, …), FlagEmbedding's (query, pos, neg) and Tevatron's (query,
    positive_passages, negative_passages, whose passages are objects with a text and, before it, a title). Right ones
    have the label 1.0, wrong ones 0.0. Or one of QUERIES with DOCS and LABELS: passages and their numbers.

    Ids are "<the row's id or number>/<number in the row>". Rows of one query_id or qid belong together, or, where they
    have none, of the same query.
    """
    for row in rows:
        fields = row.value if isinstance(row.value, dict) else {}
        query = next((name for name in QUERIES if name in fields), "")
        wrong = [name for name in fields if name in WRONG or NUMBERED.fullmatch(name)]
        right = next((name for name in (*RIGHT, *([ANSWER] if wrong else [])) if name in fields), "")
        if query and right and not label:
            found = [(text, 1.0) for text in _texts(fields[right], right, row.place, least=1)]
            found += [(text, 0.0) for name in wrong for text in _texts(fields[name], name, row.place)]
            yield from _passages(fields, row, query, found, "label")
        elif query and DOCS in fields and (label or LABELS) in fields:
            yield from _passages(fields, row, query, _scored(fields, label or LABELS, row.place), label or "label")
        else:
            yield row


def _passages(
    fields: Mapping[str, object], row: Row, query: str, found: Sequence[tuple[str, object]], name: str
) -> Iterator[Row]:
    own, shared = (_named(fields, names, row.place) for names in (ID_FIELDS, ("query_id", "qid")))
    asked = checked_text(fields[query], f"'{query}'", row.place)
    for number, (text, label) in enumerate(found, start=1):
        said = {"query": asked, "passage": text, name: label, "group": shared}
        yield Row(row.place, f"{own or row.default_id}/{number}", said)


def _named(fields: Mapping[str, object], names: Sequence[str], place: str) -> str:
    found = next((name for name in names if name in fields), None)
    return "" if found is None else identified(fields[found], f"'{found}'", place)


def _scored(fields: Mapping[str, object], label: str, place: str) -> list[tuple[str, object]]:
    passages, labels = fields[DOCS], fields[label]
    if not isinstance(passages, list) or not isinstance(labels, list) or len(passages) != len(labels):
        raise PlaitError(
            f"{place} must have a list '{DOCS}' and one number for each of them in '{label}', but has "
            f"{_counted(passages)} and {_counted(labels)}; mend it"
        )
    return list(zip(_texts(passages, DOCS, place), labels, strict=True))


def _texts(value: object, name: str, place: str, least: int = 0) -> list[str]:
    """The texts of a column: one, or a list of texts or of objects that have one; none where it is empty or null."""
    listed = value if isinstance(value, list) else [] if value is None or value == "" else [value]
    if len(listed) < least:
        raise PlaitError(f"{place}: '{name}' must hold a text, but is empty; write one or delete the row")
    return [_text(one, f"'{name}'", place) for one in listed]


def _text(value: object, what: str, place: str) -> str:
    if not isinstance(value, dict):
        return checked_text(value, what, place)
    text = checked_text(value.get("text"), f"the text of {what}", place)
    title = value.get("title")
    return f"{title} {text}" if isinstance(title, str) and title.strip() else text


def _counted(value: object) -> str:
    return f"{len(value)} items" if isinstance(value, list) else described(value)
