"""Parquet tables."""

import datetime
import decimal
from collections.abc import Iterator
from pathlib import Path

from plait.data.document import Record
from plait.data.source import OPENERS, opened, raw
from plait.errors import PlaitError

ROWS_AT_ONCE = 64
"""Few, since a row may hold a text of many megabytes."""


def records(path: Path) -> Iterator[Record]:
    """One record a row; a row without an id gets its number, from 1."""
    number = 0
    for fields in _rows(path):
        number += 1
        yield Record(number, str(number), fields)


def _plain(value: object) -> object:
    """Dates and decimals, which JSON does not have, as texts."""
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return str(value) if isinstance(value, decimal.Decimal | datetime.timedelta) else value


def _rows(path: Path) -> Iterator[dict[str, object]]:
    import pyarrow
    from pyarrow import parquet

    with opened(path) as stream:
        # Parquet is read from its end; a compressed stream cannot go there cheaply.
        source = pyarrow.BufferReader(raw(path)) if path.suffix.lower() in OPENERS else stream
        try:
            with parquet.ParquetFile(source) as table:
                for batch in table.iter_batches(ROWS_AT_ONCE):
                    yield from ({name: _plain(value) for name, value in row.items()} for row in batch.to_pylist())
        except UnicodeDecodeError as error:
            raise PlaitError(
                f"{path} must hold UTF-8 text, but is not ({error.reason}); write the file again"
            ) from None
        except (pyarrow.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise PlaitError(f"{path} must be a whole Parquet file, but is not ({reason}); write it again") from None
