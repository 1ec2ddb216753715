"""The store: one LanceDB table of passages with their precomputed states, in a folder of its own.

    my.plait/passages.lance   the table (lancedb.connect("my.plait").open_table("passages") opens it elsewhere)
    my.plait/writer.lock      held by the one writer

Every change is one commit of the table: a killed process leaves all of it or nothing. (What a power cut leaves is up
to the file system.) A Store reads the version it was opened at until it writes itself or refresh() is called.
"""

import copy
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from plait.errors import PlaitError
from plait.store import catalog as catalogs
from plait.store import rules, search, upkeep
from plait.store.catalog import Catalog
from plait.store.failure import told
from plait.store.fingerprint import Fingerprint
from plait.store.forks import require_unforked
from plait.store.gone import Gone, retried
from plait.store.lock import WriterLock
from plait.store.memory import Memory
from plait.store.origin import origin_of, require_same
from plait.store.passages import read_passages
from plait.store.reader import Reader
from plait.store.row import Batch, Damage, Hit, Passage, Row
from plait.store.schema import TABLE, make_schema, make_table, state_columns
from plait.store.stats import Stats, Version, measure
from plait.store.verify import damages

if TYPE_CHECKING:
    import lance


@dataclass(frozen=True, eq=False)
class _Snapshot:
    dataset: "lance.LanceDataset"
    catalog: Catalog


class Store:
    """Passages and their states on disk. Made by Store.create or Store.open; usable from several threads."""

    def __init__(self, path: Path, dataset: "lance.LanceDataset", pinned: bool) -> None:
        """For create and open, which say what they raise."""
        self.path = path
        self._origin = origin_of(path, dataset)
        self.fingerprint = self._origin.fingerprint
        self.codec = self.fingerprint.make_codec()
        self._columns = state_columns(self.fingerprint)
        self._memory = Memory()
        self._reader = Reader(path / TABLE / "data")
        self._lock = WriterLock(path / "writer.lock")
        self._pinned = pinned
        self._refreshing = threading.Lock()
        self._now = _Snapshot(dataset, catalogs.load(dataset, self._columns, None))

    @classmethod
    def create(
        cls,
        path: str | Path,
        fingerprint: Fingerprint,
        *,
        vector_width: int = 0,
        beside: Mapping[str, str] | None = None,
    ) -> Self:
        """Make an empty store. vector_width: numbers in each passage's vector, 0 for none. beside: names and contents
        of text files that the store's owner keeps in its folder; they are there whenever the store is.

        PlaitError if anything but an empty folder is there, or it cannot be written.
        """
        import lance

        path = Path(path).absolute()  # the process may go elsewhere while the store is open
        fingerprint.make_codec()
        if vector_width < 0:
            raise PlaitError(f"vector_width must be 0 (none) or more, but is {vector_width}; pass the vectors' length")
        if path.is_file() or (path.is_dir() and any(path.iterdir())):
            raise PlaitError(f"a new store needs a free path, but {path} exists; open it, or choose another")
        with told(path, "create a store at"):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Built beside and renamed: a store is there whole or not at all.
            draft = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
            try:
                schema = make_schema(fingerprint, vector_width)
                dataset = lance.write_dataset(schema.empty_table(), str(draft / TABLE), data_storage_version="2.1")
                search.add_text_index(dataset)
                for name, content in (beside or {}).items():
                    (draft / name).write_text(content, "utf-8")
                draft.chmod(0o755)
                os.rename(draft, path)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        return cls.open(path)

    @classmethod
    def open(cls, path: str | Path, *, version: int | None = None) -> Self:
        """Open a store to read and write; with a version, that one, to read only.

        PlaitError if path is no store, is damaged, or has no such version.
        """
        import lance

        path = Path(path).absolute()
        with told(path, "open the store at"):
            if not (path / TABLE).is_dir():
                raise PlaitError(
                    f"a store is a folder with {TABLE} in it, but {path} is not; build one with plait index"
                )
            return cls(path, lance.dataset(str(path / TABLE), version=version), version is not None)

    def still(self) -> Self:
        """The store as it is now, to read: what is written through this one does not reach it."""
        return copy.copy(self)

    def close(self) -> None:
        """Close the files. Reading again opens them again."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def refresh(self) -> None:
        """Read the newest version from now on, with what other processes have committed.

        PlaitError if the store was removed, and another built in its place.
        """
        if self._pinned:
            return
        with told(self.path, "read the newest version of"), self._refreshing:
            before, dataset = self._now, self._newest()
            if dataset.version != before.dataset.version:
                now = _Snapshot(dataset, catalogs.load(dataset, self._columns, before.catalog))
                self._reader.keep({part.file for part in now.catalog.parts.values() if part.file})
                self._now = now

    # What is in it

    def __len__(self) -> int:
        """Number of passages."""
        return len(self._now.catalog.places)

    def ids(self) -> list[str]:
        """Ids of all passages, in the order they were written."""
        return list(self._now.catalog.places)

    def passage_ids(self, document: str) -> list[str]:
        """Ids of a document's passages. PlaitError if it is not there."""
        found = self._now.catalog.by_document.get(document)
        if found is None:
            raise PlaitError(f"only stored documents have passages, but {rules.absent([document])}; check the id")
        return list(found)

    def passages_of(self, documents: Sequence[str]) -> dict[str, list[str]]:
        """Ids of the passages of those documents that are there, in the order asked."""
        by_document = self._now.catalog.by_document
        return {document: list(by_document[document]) for document in documents if document in by_document}

    def contents(self) -> dict[str, str]:
        """Every stored document's id and content hash: what a build can skip."""
        return dict(self._now.catalog.contents)

    def lengths(self, ids: Sequence[str]) -> list[int]:
        """Tokens of each passage, in the order asked; from memory. PlaitError naming ids that are not there."""
        return [int(part.lengths[row]) for part, row in rules.find(self._now.catalog, ids)]

    @property
    def version(self) -> int:
        """Number of the version being read."""
        return int(self._now.dataset.version)

    def versions(self) -> list[Version]:
        """The versions that open() can still reach, oldest first. compact() forgets all but the newest, optimize() all
        but a few.
        """
        with told(self.path, "list the versions of"):
            found: list[Any] = list(self._now.dataset.versions())
            return [Version(v["version"], v["timestamp"]) for v in found]

    def stats(self) -> Stats:
        """Counts and sizes."""
        return measure(self.path, self._now.catalog, self.codec, len(self.versions()))

    # Reading

    def read(
        self, ids: Sequence[str], names: Sequence[str] | None = None, dtype: torch.dtype = torch.bfloat16
    ) -> Batch:
        """States of passages in the order asked (an id may come twice), packed; on the CPU.

        names: which tensors, all if None. dtype: bfloat16 or float32. PlaitError naming ids that are not there, for
        an unknown tensor or dtype, and for files that are damaged so that bytes are missing (verify() finds the rest).
        """
        now = self._now
        chosen = self.codec.select(names)
        places = rules.find(now.catalog, ids)
        lengths = tuple(int(part.lengths[row]) for part, row in places)
        order = list(self.codec.widths)
        states = {}
        with told(self.path, "read states from"):
            for name in chosen:
                sizes = [self.codec.size(name, length) for length in lengths]
                pieces = self._reader.gather(now.dataset, places, order.index(name), sizes)
                states[name] = self.codec.unpack(name, pieces, lengths, dtype, self._memory)
        return Batch(tuple(ids), lengths, states)

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """Text, offsets and metadata of passages in the order asked. PlaitError naming ids that are not there."""
        now = self._now
        places = rules.find(now.catalog, ids)
        with told(self.path, "read passages from"):
            return read_passages(now.dataset, now.catalog.offsets(places))

    def texts(self, ids: Sequence[str]) -> list[str]:
        """Texts of passages in the order asked. PlaitError naming ids that are not there."""
        return [passage.text for passage in self.passages(ids)]

    def search_text(self, query: str, k: int) -> list[Hit]:
        """The k best passages by BM25, best first; plain words, no operators. PlaitError if empty or k < 1."""
        with told(self.path, "search"):
            return search.by_text(self._now.dataset, query, self._most(k))

    def search_vector(self, vector: NDArray[np.float32], k: int) -> list[Hit]:
        """The k passages of highest cosine with vector [D], best first, compared with every row.

        PlaitError if the store has no vectors, D differs, the vector is zero or not finite, or k < 1.
        """
        with told(self.path, "search"):
            return search.by_vector(self._now.dataset, vector, self._most(k))

    def _most(self, k: int) -> int:
        """As many as there are, where more are asked for than the table library can count."""
        return min(k, max(1, len(self)))

    @retried
    def verify(self) -> list[Damage]:
        """Read every passage and compare it with its checksum; empty if all is well."""
        now = self._now
        reader = Reader(self.path / TABLE / "data")
        with told(self.path, "verify"):
            try:
                parts = now.catalog.parts.values()
                found = [d for part in parts for d in damages(now.dataset, now.catalog, part, self.codec, reader)]
            finally:
                reader.close()
            if found and not self._pinned and self._newest().version != now.dataset.version:
                raise Gone(f"{self.path} was changed while it was verified; verify it again")
        return found

    # Writing: each call is one commit

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the writer's lock over several calls. PlaitError if another process holds it, at an old version, or in a
        forked process.
        """
        require_unforked(self.path)
        if self._pinned:
            raise PlaitError(
                f"only the newest version of a store can change, but {self.path} is open at version {self.version}; "
                "open it without a version"
            )
        with self._lock:
            self.refresh()
            yield

    def add(self, rows: Sequence[Row]) -> None:
        """Store the passages of new documents, each document with all its passages in one call.

        PlaitError naming ids or documents that are there already or twice in rows, or a row of wrong shape; then
        nothing is stored.
        """
        with self.writing():
            rules.unique(rows)
            taken = {row.document for row in rows} & self._now.catalog.contents.keys()
            rules.refuse("documents", taken, "use replace for changed documents")
            self._append(rows)

    def replace(self, rows: Sequence[Row]) -> None:
        """Store documents in place of what there is of them: old passages vanish as the new ones appear.

        Documents that are not there are added. PlaitError as for add, and for ids that other documents have.
        """
        with self.writing():
            rules.unique(rows)
            if not {row.document for row in rows} & self._now.catalog.contents.keys():
                return self._append(rows)
            wanted = {row.document for row in rows}
            self._free_ids(rows, wanted)
            table = make_table(rows, self._now.dataset.schema, self.codec)
            with told(self.path, "replace documents in"):
                merge = self._newest().merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
                merge.when_not_matched_by_source_delete(rules.among(wanted)).execute(table)
            self.refresh()

    def delete(self, documents: Iterable[str]) -> int:
        """Remove documents; returns how many passages went. PlaitError naming those that are not there."""
        if isinstance(documents, str):
            raise PlaitError(f"documents must be a list of ids, but are {documents!r}; pass [{documents!r}]")
        documents = list(documents)
        with self.writing():
            before = len(self)
            missing = set(documents) - self._now.catalog.contents.keys()
            if missing:
                raise PlaitError(f"only stored documents can be deleted, but {rules.absent(missing)}; check the ids")
            if documents:
                with told(self.path, "delete documents from"):
                    self._newest().delete(rules.among(set(documents)))
                self.refresh()
            return before - len(self)

    def optimize(self) -> None:
        """Bring the text index up to date, if it is not: searches find new rows before, but scan them one by one, and
        score them by statistics of their own. Where small data files or old versions have become many, merge and drop
        them, as compact() does.
        """
        with self.writing(), told(self.path, "update the text index of"):
            if upkeep.optimize(self._newest(), self._row_bytes()):
                self.refresh()

    def compact(self) -> None:
        """Merge small data files, drop deleted rows, old versions and leftovers of killed writers, and make the text
        index anew, which counts the words of what was deleted until then.

        Other processes that have the store open must refresh() afterwards.
        """
        with self.writing(), told(self.path, "compact"):
            upkeep.compact(self._newest(), self._row_bytes())
            self.refresh()

    def _row_bytes(self) -> int:
        """Of the stored states of a passage, about."""
        parts = self._now.catalog.parts.values()
        return max(1, sum(int(part.sizes.sum()) for part in parts) // max(1, len(self)))

    def _append(self, rows: Sequence[Row]) -> None:
        import lance

        if not rows:
            return
        self._free_ids(rows, set())
        table = make_table(rows, self._now.dataset.schema, self.codec)
        with told(self.path, "add passages to"):
            lance.write_dataset(table, self._newest(), mode="append")
        self.refresh()

    def _free_ids(self, rows: Sequence[Row], leaving: set[str]) -> None:
        places = self._now.catalog.places
        taken = {row.id for row in rows if row.id in places}
        taken = {id for id in taken if places[id][0].documents[places[id][1]] not in leaving}
        rules.refuse(
            "passages", taken, "give every one an id of its own (those of a document are named document#number)"
        )

    def _newest(self) -> "lance.LanceDataset":
        """A handle of its own on the newest version: commits move a handle on, and readers must not notice.

        It shares no session with others: what one remembers of a version would hold for a store that is gone, too, if
        the numbers are the same, and it never closes the files of an index.
        """
        import lance

        dataset = lance.dataset(str(self.path / TABLE))
        require_same(self.path, self._origin, dataset)
        return dataset
