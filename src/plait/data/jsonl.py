"""JSON Lines: one value a line; BEIR's corpus.jsonl is one of these."""

import json
from collections.abc import Iterator
from pathlib import Path

from plait.data.document import Record, described
from plait.data.source import lines
from plait.errors import PlaitError


def values(path: Path) -> Iterator[tuple[int, object]]:
    """Line number (from 1) and value of every line that is not blank."""
    for number, line in enumerate(lines(path), start=1):
        if line.strip():
            yield number, parsed(line, f"{path} line {number}")


def records(path: Path) -> Iterator[Record]:
    """One record a line; a record without an id gets its line number."""
    for number, value in values(path):
        if not isinstance(value, dict):
            raise PlaitError(
                f'{path} line {number} must be a JSON object, but is {described(value)}; write {{"text": "..."}}'
            )
        yield Record(number, str(number), value)


def parsed(line: str, place: str) -> object:
    """The value that a line (or a whole file) holds."""
    try:
        value: object = json.loads(line)
    except json.JSONDecodeError as error:
        raise PlaitError(
            f"{place} must be JSON, but is not ({error.msg.lower()} at column {error.colno}); mend that line"
        ) from None
    except (ValueError, RecursionError) as error:
        raise PlaitError(f"{place} must be JSON that Python can hold, but is not ({error}); mend that line") from None
    return value
