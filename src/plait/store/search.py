"""The two searches of the table: words (BM25) and vectors (cosine). Both see every committed row."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from plait.errors import PlaitError
from plait.store.row import Hit

if TYPE_CHECKING:
    import lance


def add_text_index(dataset: "lance.LanceDataset") -> None:
    """Full-text index over `text`: lower case, composed accents folded, English stems, every word of at most 40 bytes
    kept, no positions.
    """
    dataset.create_scalar_index(
        "text", "INVERTED", with_position=False, stem=True, remove_stop_words=False, lower_case=True, ascii_folding=True
    )


def unindexed(dataset: "lance.LanceDataset") -> int:
    """Rows that the full-text index does not hold yet."""
    return sum(dataset.stats.index_stats(index.name)["num_unindexed_rows"] for index in dataset.describe_indices())


def by_text(dataset: "lance.LanceDataset", query: str, k: int) -> list[Hit]:
    """The k passages with the highest BM25 score for any of the query's words; none if no word occurs.

    The query is plain words: no character in it is an operator. PlaitError if it is empty or k < 1.
    """
    from lance.query import MatchQuery

    _check_k(k)
    if not query.strip():
        raise PlaitError("a search needs at least one word, but the query is empty; type what to look for")
    table = dataset.scanner(columns=["id", "_score"], full_text_query=MatchQuery(query, "text"), limit=k).to_table()
    return _hits(table["id"].to_pylist(), table["_score"].to_pylist())


def by_vector(dataset: "lance.LanceDataset", vector: NDArray[np.float32], k: int) -> list[Hit]:
    """The k passages whose vectors have the highest cosine with `vector` [D]; compares with every row.

    PlaitError if the store has no vectors, D differs, the vector is zero or not finite, or k < 1.
    """
    _check_k(k)
    if "vector" not in dataset.schema.names:
        raise PlaitError(
            "a vector search needs a store with vectors, but this one was created without; "
            "build it again with vectors, or search by text"
        )
    width = dataset.schema.field("vector").type.list_size
    asked = np.asarray(vector, dtype=np.float32)
    if asked.shape != (width,) or not np.isfinite(asked).all() or not asked.any():
        raise PlaitError(
            f"a query vector must have shape [{width}], finite numbers and not only zeros, but has shape "
            f"{list(asked.shape)}; make it with what made the store's vectors"
        )
    nearest = {"column": "vector", "q": asked, "k": k, "metric": "cosine", "use_index": False}
    table = dataset.scanner(columns=["id", "_distance"], nearest=nearest, filter="vector IS NOT NULL").to_table()
    return _hits(table["id"].to_pylist(), [1.0 - distance for distance in table["_distance"].to_pylist()])


def _check_k(k: int) -> None:
    if k < 1:
        raise PlaitError(f"a search must be for 1 passage or more, but is for {k}; ask for more")


def _hits(ids: list[str], scores: list[float]) -> list[Hit]:
    return sorted((Hit(id, score) for id, score in zip(ids, scores, strict=True)), key=lambda hit: (-hit.score, hit.id))
