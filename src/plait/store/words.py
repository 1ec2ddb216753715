"""Texts to be searched by their words alone (BM25), without states: a first stage before there is a store."""

from collections.abc import Mapping
from pathlib import Path

from plait.store import search
from plait.store.failure import told
from plait.store.row import Hit


class Words:
    """A table of ids and texts with a full-text index; the same search as a store's."""

    def __init__(self, path: str | Path, texts: Mapping[str, str]) -> None:
        """Make the table as a new folder at `path`."""
        import lance
        import pyarrow as pa

        self.path = Path(path)
        with told(self.path, "write texts to"):
            table = pa.table({"id": list(texts), "text": list(texts.values())})
            self._dataset = lance.write_dataset(table, str(self.path))
            search.add_text_index(self._dataset)

    def search(self, query: str, k: int) -> list[Hit]:
        """The k best texts by BM25, best first; plain words, no operators. PlaitError if empty or k < 1."""
        with told(self.path, "search"):
            return search.by_text(self._dataset, query, k)
