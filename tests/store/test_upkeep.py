"""A store that grows document by document stays quick and small, and gives back what it no longer needs."""

import os
from pathlib import Path

import pytest

from plait.errors import PlaitError
from plait.store import Store, reader
from plait.store.upkeep import FILES, VERSIONS

from .samples import assert_holds, fingerprint, make, passage
from .test_crash import start

ONE_BY_ONE = """
import resource, sys
from plait.store import Store
from tests.store.samples import fingerprint, passage
resource.setrlimit(resource.RLIMIT_NOFILE, (110, 110))
store = Store.create(sys.argv[1], fingerprint(), vector_width=4)
for number in range(150):
    store.add([passage(f"d{number}", 0, store.codec)])
    store.optimize()
    store.search_text("river", 3)
store.read(store.ids())
assert Store.open(sys.argv[1]).verify() == []
store.compact()
store.read(store.ids())
print(len(store))
"""


def test_one_by_one_with_few_descriptors(tmp_path: Path) -> None:
    growing = start(ONE_BY_ONE, tmp_path / "s.plait")
    out, err = growing.communicate()
    assert out == "150\n", err


def test_small_files_and_old_versions_do_not_become_many(tmp_path: Path) -> None:
    """And that costs little: a passage is written again once or twice for each 64-fold growth."""
    store = Store.create(tmp_path / "s.plait", fingerprint(), vector_width=4)
    rows, written, seen = [], 0, set()
    for number in range(3 * FILES):
        some = [passage(f"d{number}", i, store.codec) for i in range(1 if number % 2 else 3)]
        store.add(some)
        store.optimize()
        rows += some
        stats = store.stats()
        assert stats.fragments <= 2 * FILES and stats.versions <= 2 * VERSIONS + 1
        for part in store._now.catalog.parts.values():
            written += len(part.ids) * (part.file not in seen)
            seen.add(part.file)
    assert written <= 2.5 * len(rows)
    assert store.ids() == [row.id for row in rows]
    assert_holds(Store.open(tmp_path / "s.plait"), rows)


def open_files(store: Store) -> list[str]:
    """The files of a store that this process has open."""
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return [file for link in links if os.path.islink(link) and str(store.path) in (file := os.readlink(link))]


def test_removed_files_are_not_kept_open(tmp_path: Path) -> None:
    store = make(tmp_path / "s.plait")
    store.read(store.ids())
    store.search_text("river", 3)
    assert len(open_files(store)) >= 4
    store.compact()
    assert not [file for file in open_files(store) if file.endswith("(deleted)")]
    store.read(store.ids())
    assert store.verify() == []


def test_words_of_deleted_passages_count_until_it_is_compacted(tmp_path: Path) -> None:
    """The same passages find the same, whatever the store held before."""
    texts = ["apple pie of butter", "butter and flour", "a soup", "apple computers"]
    scores = []
    for more in (0, 40):
        store = Store.create(tmp_path / f"{more}.plait", fingerprint(), vector_width=4)
        store.add([passage(f"d{n}", 0, store.codec, text) for n, text in enumerate(texts)])
        if more:
            store.add([passage(f"more{n}", 0, store.codec, f"apple number {n}") for n in range(more)])
            store.optimize()
            store.delete([f"more{n}" for n in range(more)])
        store.compact()
        scores.append([(hit.id, hit.score) for hit in store.search_text("apple soup", 4)])
    assert scores[0] == scores[1] and len(scores[0]) == 3


def test_a_damaged_file_is_not_kept_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make(tmp_path / "s.plait", documents=1)

    def broken(*_: object) -> bytes:
        raise OSError("the table library cannot read this")

    monkeypatch.setattr(reader, "_asked", broken)
    for _ in range(2):
        with pytest.raises(PlaitError, match="cannot read this"):
            store.read(store.ids())
    assert not [file for file in open_files(store) if "/data/" in file]
