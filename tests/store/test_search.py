"""Words and vectors find what is stored, rows added a moment ago included."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from plait.errors import PlaitError
from plait.store import Store

from .samples import fingerprint, make, passage


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.create(tmp_path / "s.plait", fingerprint(), vector_width=4)
    texts = [
        "The quick brown fox",
        "Lazy dogs sleep",
        "A fox and a dog at the café",
        "AND or NOT, that is the question",
    ]
    store.add([passage("a", i, store.codec, text=text) for i, text in enumerate(texts)])
    return store


def found(store: Store, query: str) -> set[str]:
    return {hit.id for hit in store.search_text(query, 10)}


def test_finds_words(store: Store) -> None:
    assert found(store, "fox") == {"a#0", "a#2"} and found(store, "foxes SLEEPING") == {"a#0", "a#1", "a#2"}
    assert found(store, "cafe") == {"a#2"} and found(store, "zebra") == set()
    assert store.search_text("fox dog", 1)[0].id == "a#2" and len(store.search_text("fox dog", 2)) == 2


@pytest.mark.parametrize(
    "query",
    [
        '"fox"',
        "fox AND zebra",
        "fox -dog",
        "fox NOT",
        "text:fox",
        "fox*",
        "fox~2",
        "fox^3",
        "(fox",
        "fox)",
        "fox\\",
        "fox'; DROP",
        "+fox",
        "[fox TO dog]",
        "fox\x00",
        "🦊 fox",
        "fox" + " zebra" * 2000,
        '{"match": "fox"} fox',
    ],
)
def test_queries_are_plain_words(store: Store, query: str) -> None:
    assert {"a#0", "a#2"} <= found(store, query)


@pytest.mark.parametrize("query", ["🦊", "...", '"" ()', "\x00"])
def test_no_words_no_results(store: Store, query: str) -> None:
    assert found(store, query) == set()


def test_function_words_are_words(store: Store) -> None:
    assert "a#3" in found(store, "to be or not")


@pytest.mark.parametrize("query", ["", "  \n"])
def test_empty_queries_are_refused(store: Store, query: str) -> None:
    with pytest.raises(PlaitError, match="empty"):
        store.search_text(query, 3)


def test_sees_every_commit(store: Store) -> None:
    store.optimize()
    store.add([passage("b", 0, store.codec, text="fox fox fox")])
    assert store.search_text("fox", 5)[0].id == "b#0"
    store.replace([replace(passage("b", 0, store.codec), text="zebra now")])
    assert found(store, "zebra") == {"b#0"} and found(store, "fox") == {"a#0", "a#2"}
    store.optimize()
    store.delete(["a"])
    assert found(store, "fox") == set() and found(store, "zebra") == {"b#0"}
    assert {hit.id for hit in store.search_vector(np.ones(4, np.float32), 9)} == {"b#0"}
    store.compact()
    assert found(store, "zebra") == {"b#0"}


def test_nearest_is_exact(tmp_path: Path) -> None:
    store = make(tmp_path / "s.plait", documents=20)
    rows = [passage(f"d{n}", i, store.codec) for n in range(20) for i in range(3)]
    vectors = np.stack([row.vector for row in rows if row.vector is not None])
    query = np.random.default_rng(1).normal(size=4).astype(np.float32)
    cosines = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    best = np.argsort(-cosines)[:7]
    hits = store.search_vector(query, 7)
    assert [hit.id for hit in hits] == [rows[i].id for i in best]
    assert np.allclose([hit.score for hit in hits], cosines[best], atol=1e-5)


def test_bad_searches_are_refused(store: Store) -> None:
    for vector in (np.ones(3), np.zeros(4), np.full(4, np.nan)):
        with pytest.raises(PlaitError, match="query vector"):
            store.search_vector(vector.astype(np.float32), 3)
    with pytest.raises(PlaitError, match="for 1 passage or more"):
        store.search_vector(np.ones(4, np.float32), 0)
    with pytest.raises(PlaitError, match="for 1 passage or more"):
        store.search_text("fox", 0)
