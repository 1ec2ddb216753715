"""What keeps a store quick and small: its text index, the number of its data files, its old versions."""

from datetime import timedelta
from typing import TYPE_CHECKING

from plait.store import search

if TYPE_CHECKING:
    import lance

FRAGMENT_BYTES = 1 << 30
"""Merging makes data files of about this size, so that it never rewrites a large store as a whole."""
FILES = 64
"""So many small data files are merged: a query's passages are read quickly from about as many."""
VERSIONS = 16
"""Versions that are kept, and a copy of the text index with most of them."""


def optimize(dataset: "lance.LanceDataset", row_bytes: int) -> bool:
    """Bring the text index up to date; merge small data files and drop old versions where these are many. Whether
    there was anything to do.
    """
    if not search.unindexed(dataset):
        return False
    dataset.optimize.optimize_indices()
    if _merge_many(dataset, row_bytes):
        _forget(dataset, 1)  # else the disk would hold every merged file twice
    elif len(dataset.versions()) > 2 * VERSIONS:
        _forget(dataset, VERSIONS)
    return True


def compact(dataset: "lance.LanceDataset", row_bytes: int) -> None:
    """Merge all small data files, drop deleted rows, old versions and leftovers of killed writers, and make the text
    index anew: the one that there was goes on to count the words of what was deleted.
    """
    dataset.optimize.optimize_indices()  # First: files in the index and files outside are not merged.
    _merge(dataset, _most(row_bytes), row_bytes, deleted=True)
    search.add_text_index(dataset)
    _forget(dataset, 1)


def _merge_many(dataset: "lance.LanceDataset", row_bytes: int) -> bool:
    """Merge files up to 64, 4,096, ... rows wherever 64 have reached the size before. So a row is written again once
    or twice for each size, however few come at a time.
    """
    least, merged = 0, False
    while least < _most(row_bytes):
        most = min(max(1, least) * FILES, _most(row_bytes))
        if sum(least <= fragment.metadata.num_rows < most for fragment in dataset.get_fragments()) >= FILES:
            merged |= _merge(dataset, most, row_bytes, deleted=False)
        least = most
    return merged


def _merge(dataset: "lance.LanceDataset", rows: int, row_bytes: int, deleted: bool) -> bool:
    done = dataset.optimize.compact_files(
        target_rows_per_fragment=rows,
        materialize_deletions=deleted,
        batch_size=max(1, (32 << 20) // row_bytes),
    )
    return done.fragments_removed > 0


def _most(row_bytes: int) -> int:
    return max(1, FRAGMENT_BYTES // row_bytes)


def _forget(dataset: "lance.LanceDataset", keep: int) -> None:
    dataset.cleanup_old_versions(retain_versions=keep, older_than=timedelta(0), delete_unverified=True)
