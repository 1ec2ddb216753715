"""What goes in comes out: adding, replacing, deleting, reading, compacting."""

import random
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from plait.errors import PlaitError
from plait.store import Row, Store

from .samples import TENSORS, assert_holds, document, fingerprint, make, passage


def rows_of(store: Store, documents: int = 4) -> list[Row]:
    return [row for number in range(documents) for row in document(f"d{number}", store.codec)]


@pytest.mark.parametrize("codec", ["float32", "float16", "bfloat16", "int8", "int4"])
def test_holds_what_was_added(tmp_path: Path, codec: str) -> None:
    store = make(tmp_path / "s.plait", codec=codec)
    assert_holds(store, rows_of(store))
    assert_holds(Store.open(tmp_path / "s.plait"), rows_of(store))


def test_reads_in_the_order_asked(tmp_path: Path) -> None:
    store = make(tmp_path / "s.plait")
    rows = {row.id: row for row in rows_of(store)}
    chance = random.Random(0)
    for _ in range(20):
        ids = chance.choices(list(rows), k=7)
        batch = store.read(ids)
        expected = store.codec.decode([rows[id].blob for id in ids], [rows[id].n_tokens for id in ids])
        assert all(torch.equal(batch.states[name], expected[name]) for name, _ in TENSORS)
        assert store.texts(ids) == [rows[id].text for id in ids]
        assert store.lengths(ids) == [rows[id].n_tokens for id in ids]
        one = store.read(ids, ["states.5"], torch.float32)
        assert list(one.states) == ["states.5"] and one.states["states.5"].dtype == torch.float32
    assert store.read([]).states["states.4"].shape == (0, 12) and store.texts([]) == []


def test_reads_through_the_library_where_files_lie_otherwise(tmp_path: Path) -> None:
    store = make(tmp_path / "s.plait")
    ids = store.ids()
    direct = store.read(ids)
    for part in store._now.catalog.parts.values():  # What the first read of a differing file would have found.
        assert part.file
        store._reader._files[part.file] = None
    asked = store.read(ids)
    assert all(torch.equal(direct.states[name], asked.states[name]) for name, _ in TENSORS)


def test_add_delete_replace_compact(tmp_path: Path) -> None:
    store = make(tmp_path / "s.plait")
    store.read(store.ids())  # Opens files of what is about to change.
    edited = document("d1", store.codec, passages=2, edition="2")
    store.replace([*edited, *document("new", store.codec)])
    assert store.delete(["d0", "d3"]) == 6
    expected = [*edited, *document("new", store.codec), *document("d2", store.codec)]
    assert_holds(store, expected)
    size = store.stats()
    store.compact()
    assert_holds(store, expected)
    after = store.stats()
    assert after.fragments == after.versions == 1 and size.versions > 1 and after.disk_bytes < size.disk_bytes
    assert (after.documents, after.passages) == (3, 8) and after.tokens == sum(row.n_tokens for row in expected)
    assert after.bytes_per_token == 24 and after.state_bytes == 24 * after.tokens
    assert {hit.id for hit in store.search_text("edition 2", 20)} >= {row.id for row in edited}
    store.add(document("d0", store.codec))
    assert_holds(Store.open(tmp_path / "s.plait"), [*expected, *document("d0", store.codec)])


def test_replace_is_one_version(tmp_path: Path) -> None:
    store = make(tmp_path / "s.plait")
    before = store.version
    store.replace(document("d1", store.codec, passages=5, edition="2"))
    assert store.version == before + 1
    old = Store.open(tmp_path / "s.plait", version=before)
    assert_holds(old, rows_of(old))
    with pytest.raises(PlaitError, match="newest version"):
        old.delete(["d1"])


def test_everything_leaves(tmp_path: Path) -> None:
    store = make(tmp_path / "s.plait")
    store.add([])
    assert store.delete([]) == 0
    assert store.delete([f"d{i}" for i in range(4)]) == 12
    store.compact()
    assert len(store) == 0 and store.verify() == [] and store.search_text("river", 3) == []
    store.add(document("d0", store.codec))
    assert_holds(store, document("d0", store.codec))


def test_odd_names_and_texts(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s.plait", fingerprint(), vector_width=4)
    names = ["it's", 'a "quote"', "back\\slash", "' OR '1'='1", "größe 🦊", "new\nline", "%_", " ", "d--"]
    rows = [passage(name, 0, store.codec, text=f"text of {name}\x00 \u2028 end") for name in names]
    store.add(rows)
    assert_holds(store, rows)
    store.replace([replace(row, text="changed") for row in rows[:4]])
    assert store.texts([row.id for row in rows[:5]]) == ["changed"] * 4 + [rows[4].text]
    assert store.delete(names[:6]) == 6
    assert_holds(store, rows[6:])


def test_a_long_list_of_documents(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s.plait", fingerprint(), vector_width=4)
    rows = [passage(f"n{number}", 0, store.codec) for number in range(3000)]
    store.add(rows)
    store.replace(rows[:2000])
    assert len(store) == 3000
    assert store.delete([row.document for row in rows[500:]]) == 2500
    assert len(store) == 500


def test_vectors_are_optional(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "plain", fingerprint())
    store.add([replace(row, vector=None) for row in document("d0", store.codec)])
    assert store.verify() == []
    with pytest.raises(PlaitError, match="vector_width=4"):
        store.add(document("d1", store.codec))
    some = Store.create(tmp_path / "some", fingerprint(), vector_width=4)
    rows = document("d0", some.codec)
    some.add([replace(rows[0], vector=None), *rows[1:]])
    assert some.verify() == [] and len(some.search_vector(np.ones(4, np.float32), 9)) == 2


def test_duplicates_are_refused_by_name_and_nothing_is_stored(tmp_path: Path) -> None:
    store = make(tmp_path / "s.plait")
    new = document("new", store.codec)
    for rows, said in [
        ([*new, new[1]], "'new#1'"),
        ([*new, *document("d2", store.codec)], "'d2'"),
        ([*new, replace(new[0], document="other", id="d0#0")], "'d0#0'"),
        ([*new, replace(new[0], id="new#9", content="another")], "'new'"),
    ]:
        with pytest.raises(PlaitError, match=said):
            store.add(rows)
    with pytest.raises(PlaitError, match="'d0#0'"):
        store.replace([*document("d1", store.codec), replace(new[0], id="d0#0")])
    assert_holds(store, rows_of(store))


def test_bad_rows_are_refused_and_nothing_is_stored(tmp_path: Path) -> None:
    store = make(tmp_path / "s.plait")
    good = passage("new", 0, store.codec)
    for bad in [
        replace(good, id=""),
        replace(good, document=""),
        replace(good, offsets=good.offsets[1:]),
        replace(good, blob=good.blob[1:]),
        replace(good, n_tokens=good.n_tokens + 1),
        replace(good, vector=np.zeros(5, np.float32)),
        replace(good, metadata={"x": float("nan")}),
        replace(good, metadata={"x": object()}),
        replace(good, text="\ud800"),
        replace(good, metadata={"x": "\ud800"}),
    ]:
        with pytest.raises(PlaitError):
            store.add([passage("other", 0, store.codec), bad])
    assert_holds(store, rows_of(store))


def test_unknown_ids_are_named(tmp_path: Path) -> None:
    store = make(tmp_path / "s.plait")
    with pytest.raises(PlaitError, match="'gone'"):
        store.delete(["d0", "gone"])
    with pytest.raises(PlaitError, match="'d0#9'"):
        store.read(["d0#0", "d0#9"])
    store.delete(["d0"])
    with pytest.raises(PlaitError, match="'d0#0'"):
        store.texts(["d0#0"])
    with pytest.raises(PlaitError, match="'d0#0'"):
        store.read(["d0#0"])


def test_a_reader_goes_on_while_another_writes(tmp_path: Path) -> None:
    writer = make(tmp_path / "s.plait")
    reader = Store.open(tmp_path / "s.plait")
    rows = rows_of(writer)
    with writer.writing():
        writer.delete(["d0"])
        assert_holds(reader, rows)
    reader.refresh()
    assert_holds(reader, rows[3:])
    writer.compact()
    reader.refresh()
    assert_holds(reader, rows[3:])


def test_threads_read_while_one_writes(tmp_path: Path) -> None:
    store = make(tmp_path / "s.plait")
    rows = rows_of(store)
    expected = store.codec.decode([row.blob for row in rows], [row.n_tokens for row in rows])
    wrong: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(30):
                found = store.read([row.id for row in rows])
                assert torch.equal(found.states["states.4"], expected["states.4"])
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(6):
        store.add(document(f"x{number}", store.codec))
    for thread in threads:
        thread.join()
    assert not wrong and len(store) == 30


def test_is_a_table_of_lancedb(tmp_path: Path) -> None:
    """Every tool that reads LanceDB reads a store."""
    import lancedb

    store = make(tmp_path / "s.plait")
    table = lancedb.connect(tmp_path / "s.plait").open_table("passages")
    assert table.count_rows() == len(store)
    assert sorted(table.to_arrow()["id"].to_pylist()) == sorted(store.ids())
