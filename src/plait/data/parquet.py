"""Parquet tables."""

import datetime
import decimal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from plait.data.arrow import classes_of, with_classes
from plait.data.document import Record, unique
from plait.data.jsonl import parsed
from plait.data.source import OPENERS, opened, raw
from plait.errors import PlaitError, reason

ROWS_AT_ONCE = 64
"""Few, since a row may hold a text of many megabytes."""


def records(path: Path) -> Iterator[Record]:
    """One record a row; a row without an id gets its number, from 1. If Hugging Face datasets wrote the file, with the
    names of classes for their numbers.
    """
    import pyarrow
    from pyarrow import parquet

    with opened(path) as stream:
        # Parquet is read from its end; a compressed stream cannot go there cheaply.
        source = pyarrow.BufferReader(raw(path)) if path.suffix.lower() in OPENERS else stream
        try:
            with parquet.ParquetFile(source) as table:
                names = unique(table.schema_arrow.names, path)
                columns = (
                    [_values(column, path) for column in batch.columns] for batch in table.iter_batches(ROWS_AT_ONCE)
                )
                rows = (dict(zip(names, cells, strict=True)) for some in columns for cells in zip(*some, strict=True))
                yield from with_classes(rows, _classes(table.schema_arrow.metadata or {}, path), path)
        except UnicodeDecodeError as error:
            raise PlaitError(
                f"{path} must hold UTF-8 text, but is not ({error.reason}); write the file again"
            ) from None
        except (pyarrow.ArrowException, OSError) as error:
            raise PlaitError(
                f"{path} must be a whole Parquet file, but is not ({reason(error)}); write it again"
            ) from None


def _classes(metadata: Mapping[bytes, bytes], path: Path) -> dict[str, list[object]]:
    """The columns that hold classes, as datasets note them beside the table's schema."""
    noted = metadata.get(b"huggingface")
    value = {} if noted is None else parsed(noted.decode("utf-8"), f"{path}: its metadata 'huggingface'")
    info = value.get("info") if isinstance(value, dict) else None
    return classes_of(info if isinstance(info, dict) else {}, path)


def _values(column: Any, path: Path) -> list[object]:
    """The cells of a column of Arrow's; times that Python has none for (nanoseconds) as Arrow writes them."""
    import pyarrow

    try:
        cells = column.to_pylist()
    except UnicodeDecodeError:
        raise
    except (ValueError, OverflowError) as error:
        try:
            cells = column.cast(pyarrow.string()).to_pylist()
        except pyarrow.ArrowException:
            raise PlaitError(
                f"{path} must hold values that Python has, but a column of {column.type} does not ({reason(error)}); "
                "leave that column out"
            ) from None
    return [_plain(value) for value in cells]


def _plain(value: object) -> object:
    """Dates and decimals, which JSON does not have, as texts; in lists and objects too."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value) if isinstance(value, decimal.Decimal | datetime.timedelta) else value
