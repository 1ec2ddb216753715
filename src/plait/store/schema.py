"""The columns of the table, and rows as an Arrow table of them."""

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from plait.errors import PlaitError
from plait.store.codec import Codec
from plait.store.fingerprint import Fingerprint
from plait.store.row import Row, checksum

if TYPE_CHECKING:
    import pyarrow as pa

TABLE = "passages.lance"
KEY = b"plait.fingerprint"
ID = b"plait.id"
IDENTITY = ("id", "document", "ordinal", "start", "text", "content", "metadata")
"""The columns that the checksum covers as plain values, in its order."""


def state_columns(fingerprint: Fingerprint) -> list[str]:
    """One column for the matrices of each tensor. Numbered, since a dot in a column's name means a nested field."""
    return [f"state_{i}" for i in range(len(fingerprint.tensors))]


def make_schema(fingerprint: Fingerprint, vector_width: int) -> "pa.Schema":
    """A new table's schema with the fingerprint and an id of its own in its metadata. No vector column if vector_width
    is 0.
    """
    import pyarrow as pa

    fields = [
        pa.field("id", pa.string(), nullable=False),
        pa.field("document", pa.string(), nullable=False),
        pa.field("ordinal", pa.int64(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("content", pa.string(), nullable=False),
        pa.field("metadata", pa.string(), nullable=False),  # JSON
        pa.field("n_tokens", pa.int32(), nullable=False),
        pa.field("offsets", pa.list_(pa.int32()), nullable=False),  # start, end, start, end, ...
        pa.field("checksum", pa.int64(), nullable=False),
    ]
    if vector_width:
        fields.append(pa.field("vector", pa.list_(pa.float32(), vector_width)))
    # Blob columns lie uncompressed in the data file and are found by position and size.
    blob = {"lance-encoding:blob": "true"}
    fields += [pa.field(name, pa.large_binary(), metadata=blob) for name in state_columns(fingerprint)]
    return pa.schema(fields, metadata={KEY: fingerprint.to_json().encode(), ID: uuid.uuid4().hex.encode()})


def make_table(rows: Sequence[Row], schema: "pa.Schema", codec: Codec) -> "pa.Table":
    """The rows as one Arrow table. PlaitError for a row with a wrong shape or text that is no Unicode."""
    import pyarrow as pa

    vector_width = schema.field("vector").type.list_size if "vector" in schema.names else 0
    columns: dict[str, list[object]] = {name: [] for name in schema.names}
    for row in rows:
        row.check(codec, vector_width)
        matrices = list(codec.split(row.blob, row.n_tokens).values())
        identity = (row.id, row.document, row.ordinal, row.start, row.text, row.content, row.metadata_json())
        values: dict[str, object] = dict(zip(IDENTITY, identity, strict=True))
        values["n_tokens"] = row.n_tokens
        values["offsets"] = np.ascontiguousarray(row.offsets, dtype=np.int32).reshape(-1)
        values["checksum"] = checksum(identity, row.n_tokens, row.offsets, matrices, row.vector)
        values["vector"] = None if row.vector is None else np.asarray(row.vector, dtype=np.float32)
        values |= {f"state_{i}": matrix for i, matrix in enumerate(matrices)}
        for name, column in columns.items():
            column.append(values[name])
    try:
        return pa.table([pa.array(columns[f.name], f.type) for f in schema], schema=schema)
    except (UnicodeEncodeError, pa.ArrowInvalid) as error:
        raise PlaitError(
            f"texts and ids must be valid Unicode, but one of the passages {rows[0].id!r} to {rows[-1].id!r} is not "
            f"({error}); replace lone surrogates first"
        ) from error
