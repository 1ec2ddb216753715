"""Where every passage of one version of the table lies; held in memory."""

import json
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import lance


@dataclass(frozen=True, eq=False)
class Part:
    """The live rows of one fragment (one data file) of the table.

    key: changes with anything in the fragment. file: the data file's name, None if the fragment has not exactly one.
    lengths [n] tokens; addresses [n] of the table library; positions, sizes [tensors, n] of the matrices in the file.
    """

    fragment: int
    key: str
    file: str | None
    ids: list[str]
    documents: list[str]
    contents: list[str]
    lengths: NDArray[np.int64]
    addresses: NDArray[np.uint64]
    positions: NDArray[np.int64]
    sizes: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Catalog:
    """All parts, and maps over them.

    places: id to (part, row in it). contents: document to its content hash. starts: fragment to rows before it.
    """

    parts: dict[int, Part]
    places: dict[str, tuple[Part, int]]
    contents: dict[str, str]
    starts: dict[int, int]

    @cached_property
    def by_document(self) -> dict[str, list[str]]:
        """Document to the ids of its passages, in the order they were written."""
        found: dict[str, list[str]] = {}
        for id, (part, row) in self.places.items():
            found.setdefault(part.documents[row], []).append(id)
        return found

    def offsets(self, places: list[tuple[Part, int]]) -> list[int]:
        """Numbers of the rows among all live rows: what the table library's take() counts by."""
        return [self.starts[part.fragment] + row for part, row in places]


def load(dataset: "lance.LanceDataset", columns: list[str], before: Catalog | None) -> Catalog:
    """The catalog of a dataset's version. Reads only fragments that `before` does not hold unchanged."""
    parts: dict[int, Part] = {}
    fresh: list[Part] = []
    for fragment in dataset.get_fragments():
        key = json.dumps(fragment.metadata.to_json(), sort_keys=True, default=str)
        known = before.parts.get(fragment.fragment_id) if before else None
        if known is None or known.key != key:
            known = _read(dataset, fragment, key, columns)
            fresh.append(known)
        parts[known.fragment] = known
    grown = before is not None and all(parts.get(number) is part for number, part in before.parts.items())
    places = dict(before.places) if before and grown else {}
    contents = dict(before.contents) if before and grown else {}
    for part in fresh if grown else parts.values():
        places.update((id, (part, row)) for row, id in enumerate(part.ids))
        contents.update(zip(part.documents, part.contents, strict=True))
    starts = dict(zip(parts, accumulate((len(part.ids) for part in parts.values()), initial=0), strict=False))
    return Catalog(parts, places, contents, starts)


def _read(dataset: "lance.LanceDataset", fragment: "lance.LanceFragment", key: str, columns: list[str]) -> Part:
    table = dataset.scanner(
        columns=["id", "document", "content", "n_tokens", *columns],
        fragments=[fragment],
        with_row_address=True,
    ).to_table()
    files = fragment.metadata.files
    plain = len(files) == 1 and all({"position", "size"} == _fields(table.schema.field(c).type) for c in columns)
    return Part(
        fragment=fragment.fragment_id,
        key=key,
        file=files[0].path if plain else None,
        ids=table["id"].to_pylist(),
        documents=table["document"].to_pylist(),
        contents=table["content"].to_pylist(),
        lengths=table["n_tokens"].to_numpy().astype(np.int64),
        addresses=table["_rowaddr"].to_numpy(),
        positions=np.stack([_numbers(table[c], "position") for c in columns]),
        sizes=np.stack([_numbers(table[c], "size") for c in columns]),
    )


def _fields(kind: Any) -> set[str]:
    return {kind.field(i).name for i in range(kind.num_fields)}


def _numbers(column: Any, field: str) -> NDArray[np.int64]:
    values: NDArray[np.int64] = column.combine_chunks().field(field).to_numpy(zero_copy_only=False).astype(np.int64)
    return values
