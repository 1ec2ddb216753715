"""Law 9: killed at any moment, `plait index` leaves a store with every committed document and nothing half-written;
resumed, it ends equal to an undisturbed build.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import lance
import pytest
import torch

from plait.commits import COMMIT_PASSAGES
from plait.data import Document, read_documents
from plait.index import Index
from plait.model import Plait
from plait.settings import read_settings
from plait.store import Store
from plait.store.search import unindexed
from tests.command import done, start
from tests.small import small_checkpoint
from tests.tokenizers import WORDS

DOCUMENTS = 2400
PLANS = {"score": "join=2,mode=oneway", "span": "join=1,reader=passage"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `bert`, `docs.jsonl`, and `whole.plait`: the undisturbed build."""
    root = tmp_path_factory.mktemp("killed")
    small_checkpoint(root / "bert", plans=PLANS)
    chance = random.Random(4)
    words = [w for w in WORDS if w.isalpha()]
    with (root / "docs.jsonl").open("w") as file:
        for number in range(DOCUMENTS):
            text = " ".join(chance.choices(words, k=chance.choice((6, 12, 20, 20, 70))))
            file.write(json.dumps({"id": f"d{number}", "text": text, "title": words[number % 30]}) + "\n")
    done(*arguments(root, root / "whole.plait"))
    return root


def arguments(root: Path, store: Path) -> list[object]:
    options = ["--passage-tokens", 40, "--overlap", 8, "--dtype", "float32", "--codec", "int8"]
    return ["index", root / "docs.jsonl", "--store", store, "--model", root / "bert", *options]


def held(store: Store) -> dict[str, tuple[object, ...]]:
    """Everything about every passage, the numbers that its states' bytes stand for included."""
    ids = store.ids()
    batch = store.read(ids, dtype=torch.float32)
    found: dict[str, tuple[object, ...]] = {}
    begin = 0
    for passage, length in zip(store.passages(ids), batch.lengths, strict=True):
        numbers = tuple(batch.states[n][begin : begin + length].numpy().tobytes() for n in sorted(batch.states))
        begin += length
        found[passage.id] = (
            passage.document, passage.ordinal, passage.start, passage.text,
            json.dumps(passage.metadata, sort_keys=True), passage.offsets.tobytes(), numbers,
        )  # fmt: skip
    return found


def versions(path: Path) -> int:
    return len(list((path / "passages.lance" / "_versions").glob("*.manifest"))) if path.exists() else 0


def test_killed_again_and_again(corpus: Path, tmp_path: Path) -> None:
    """Three kills in one build: soon after the store appears, then each after one or two more commits."""
    whole = Store.open(corpus / "whole.plait")
    expected, contents = held(whole), whole.contents()
    assert len(contents) == DOCUMENTS and len(expected) > DOCUMENTS + 200 > 8 * COMMIT_PASSAGES
    path = tmp_path / "s.plait"
    chance = random.Random(int(time.time()))  # any moment will do; a failure prints what it saw
    before: set[str] = set()
    for wait in (0, *chance.choices((1, 2), k=2)):
        builder = start(*arguments(corpus, path))
        begin = versions(path)
        while versions(path) <= begin + wait and builder.poll() is None:
            time.sleep(0.002)
        time.sleep(chance.random() * 0.15)
        builder.kill()
        builder.communicate()
        assert builder.returncode == -signal.SIGKILL
        store = Store.open(path)
        assert read_settings(path) == read_settings(corpus / "whole.plait")
        found = store.contents()
        assert before <= found.keys() < contents.keys() and found.items() <= contents.items()
        assert store.verify() == []
        mine = held(store) if store.ids() else {}
        assert mine == {id: row for id, row in expected.items() if row[0] in found}  # whole documents, no part of one
        before = set(found)
    assert 0 < len(before) < DOCUMENTS
    out = done(*arguments(corpus, path))
    assert f"{DOCUMENTS - len(before)} documents stored" in out and f"{len(before)} were there already" in out
    resumed = Store.open(path)
    assert resumed.contents() == contents and resumed.verify() == []
    assert held(resumed) == expected
    assert resumed.ids() == whole.ids()
    model = Plait.from_pretrained(corpus / "bert")
    for query in ("who built the river castle", "yellow music"):
        ours, theirs = (Index.open(p, model).rank(query, 20).hits for p in (path, corpus / "whole.plait"))
        assert [(h.id, h.score) for h in ours] == [(h.id, h.score) for h in theirs]


def test_killed_as_the_store_appears(corpus: Path, tmp_path: Path) -> None:
    """In the moment after the new store gets its name, it is an index already: empty, and it goes on."""
    path = tmp_path / "s.plait"
    code = (
        "import os, sys\nrename = os.rename\nos.rename = lambda *a: (rename(*a), os.kill(os.getpid(), 9))\n"
        "from plait.cli import main\nmain()"
    )
    killed = subprocess.run([sys.executable, "-c", code, *map(str, arguments(corpus, path))], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert Index.open(path).store.ids() == []
    done(*arguments(corpus, path))
    assert held(Store.open(path)) == held(Store.open(corpus / "whole.plait"))


def test_a_finished_build_run_again_writes_nothing(corpus: Path) -> None:
    path = corpus / "whole.plait"
    before = versions(path), Store.open(path).version
    out = done(*arguments(corpus, path))
    assert f"0 documents stored as 0 passages of 0 tokens, {DOCUMENTS} were there already" in out
    assert (versions(path), Store.open(path).version) == before


def test_a_build_that_stopped_before_its_text_index(corpus: Path, tmp_path: Path) -> None:
    """Every document is there, none is in the text index: going on writes nothing, and indexes them."""
    every = list(read_documents(corpus / "docs.jsonl"))[: COMMIT_PASSAGES + 50]
    index = Index.create(tmp_path / "s.plait", Plait.from_pretrained(corpus / "bert"), name=str(corpus / "bert"))

    def until_killed() -> Iterator[Document]:
        yield from every
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.add(until_killed())
    table = tmp_path / "s.plait" / "passages.lance"
    committed = [document for document in every if document.id in index.store.contents()]
    assert committed and unindexed(lance.dataset(str(table))) >= COMMIT_PASSAGES
    assert index.add(committed).documents == 0
    assert unindexed(lance.dataset(str(table))) == 0
