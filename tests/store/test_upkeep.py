"""A store that grows document by document stays quick and small, and gives back what it no longer needs."""

from pathlib import Path

from plait.store import Store
from plait.store.upkeep import FILES, VERSIONS

from .samples import assert_holds, fingerprint, passage
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
