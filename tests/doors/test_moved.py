"""A store whose model was moved: commands are told where it is, and nothing but that model is taken for it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from plait.index import Index
from plait.settings import read_settings
from plait.store import Store
from tests.command import done, refused, run
from tests.conftest import PLANS
from tests.corpus import SMALL, TEXTS, corpus, held, write
from tests.small import small_checkpoint


@pytest.fixture(scope="module")
def began(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a store, and its model `now`, moved from `then`. Not to be changed."""
    root = tmp_path_factory.mktemp("moved")
    small_checkpoint(root / "then", plans=PLANS, max_position_embeddings=128)
    # Not the checkpoint's plans, so that a model which is only loaded anew would not do.
    plan = ["--plan", "score: join=1,mode=oneway; span: join=1"]
    done("index", corpus(root), "--store", root / "s.plait", "--model", root / "then", *plan, *SMALL)
    (root / "then").rename(root / "now")
    return root


@pytest.fixture
def moved(began: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(began, tmp_path / "copy")


def test_a_missing_model_is_asked_for(moved: Path) -> None:
    store, before = moved / "s.plait", held(moved / "s.plait")
    docs = corpus(moved)
    for command in (["rank", store, "river"], ["ask", store, "river?"], ["add", store, docs], ["index", docs, "--store",
                    store], ["evaluate", store, "bundled:squad-dev", "--limit", 1]):  # fmt: skip
        said = refused(*command)
        assert "there is no folder" in said and "name the folder where it is with --model" in said, command
    assert held(store) == before


def test_every_command_takes_the_model_from_where_it_is(moved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ir_measures")
    monkeypatch.chdir(moved)
    found = json.loads(done("rank", "s.plait", "who built the bridge?", "--model", "now", "--json"))["hits"]
    assert found[0]["document"] == "bridge"
    assert "bridge" in done("ask", "s.plait", "who built the bridge?", "--model", "now")
    path = write(Path("more.jsonl"), [{"id": "more", "text": "the yellow river"}])
    assert done("add", "s.plait", path, "--model", moved / "now").startswith("1 documents stored as 1 passages")
    queries, qrels = write(Path("q.jsonl"), [{"id": "q", "text": "silver bridge"}]), Path("qrels.txt")
    qrels.write_text("q 0 bridge 1\n")
    facts = json.loads(done("evaluate", "s.plait", queries, "--qrels", qrels, "--model", "now", "--json"))
    assert facts["queries"] == 1
    assert "with --model" in refused("rank", "s.plait", "river")  # nothing was written down


def test_index_writes_down_where_the_model_is(moved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, before = moved / "s.plait", read_settings(moved / "s.plait")
    monkeypatch.chdir(moved)
    again = ["index", corpus(moved), "--store", store]
    said = run(*again, "--model", "now")
    assert said.code == 0 and "4 were there already" in said.out
    assert re.search(rf"^note: .* opens the model {moved / 'now'} from now on, no longer {before.model}$", said.err)
    assert vars(read_settings(store)) == vars(before) | {"model": str(moved / "now")}
    monkeypatch.chdir("/")
    assert json.loads(done("rank", store, "silver bridge", "--json"))["hits"][0]["document"] == "bridge"
    assert "note:" not in run(*again, "--model", moved / "now").err
    assert not list(store.glob(".plait.json*"))


def test_what_is_refused_is_not_written_down(moved: Path) -> None:
    store, docs = moved / "s.plait", corpus(moved)
    before = (store / "plait.json").read_bytes()
    again = ["index", docs, "--store", store, "--model", moved / "now"]
    assert "begun with codec" in refused(*again, "--codec", "float32")
    assert "begun with plan" in refused(*again, "--plan", "score: join=2; span: join=1")
    with Store.open(store).writing():
        assert "is writing" in refused(*again)
    assert (store / "plait.json").read_bytes() == before


def test_another_model_does_not_take_its_place(moved: Path) -> None:
    store, docs, before = moved / "s.plait", corpus(moved), (moved / "s.plait" / "plait.json").read_bytes()
    other = small_checkpoint(moved / "other", plans=PLANS, seed=5, max_position_embeddings=128)
    for command in (["rank", store, "river"], ["ask", store, "river?"], ["add", store, docs]):
        assert "model (the store has" in refused(*command, "--model", other)
        assert "with --model" in refused(*command, "--model", moved / "nowhere")
    said = refused("index", docs, "--store", store, "--model", other)
    assert f"{other} has another model than {store}; remove that folder to build it anew, or name another --s" in said
    spans = small_checkpoint(moved / "spans", heads=("span",))
    assert "is not that (" in refused("rank", store, "river", "--model", spans)
    assert "device must be one" in refused("rank", store, "river", "--model", moved / "now", "--device", "nowhere")
    assert (store / "plait.json").read_bytes() == before and set(Store.open(store).contents()) == set(TEXTS)


def test_a_model_that_was_changed_in_its_place(moved: Path) -> None:
    """The advice is not the command that was just run."""
    store = moved / "s.plait"
    small_checkpoint(Path(read_settings(store).model), plans=PLANS, seed=5, max_position_embeddings=128)
    said = refused("index", corpus(moved), "--store", store)
    assert "has another model than" in said and "plait index" not in said and "name another --store" in said


def test_the_library_is_told_too(moved: Path) -> None:
    from plait.binding import model_of

    store = moved / "s.plait"
    index = Index.open(store, model_of(read_settings(store), str(moved / "now")))
    assert index.rank("silver bridge").hits[0].document == "bridge"
