"""Law 8: an index made by another model, tokenizer, plan, codec or format is refused by name, before any answer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from plait import hashes
from plait.data import Document
from plait.errors import PlaitError
from plait.index import Index
from plait.model import Plait
from plait.store import Fingerprint
from plait.store.schema import KEY
from tests.conftest import PLANS
from tests.small import small_checkpoint

DOCUMENTS = [Document("one", "The river is yellow."), Document("two", "A painter found the letter in the castle.")]
FIELDS = ("model", "tokenizer", "plan", "codec", "tensors", "format")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint `bert` and an index `s.plait` made by it."""
    root = tmp_path_factory.mktemp("made")
    folder = small_checkpoint(root / "bert", plans=PLANS)
    Index.create(root / "s.plait", Plait.from_pretrained(folder), name=str(folder), passage_tokens=40, overlap=8).add(
        DOCUMENTS
    )
    return root


def refused(open_: Callable[[], object], *names: str) -> None:
    """The sentence names exactly these fields."""
    with pytest.raises(PlaitError) as told:
        open_()
    sentence = str(told.value)
    assert "\n" not in sentence
    assert [name for name in FIELDS if f"{name} (the store has" in sentence] == list(names)


def other_tokenizer(folder: Path) -> None:
    """Two words change places: nothing but the numbers of two tokens differs."""
    file = folder / "tokenizer.json"
    file.write_text(file.read_text("utf-8").replace('"river"', '"rivre"').replace('"stone"', '"river"'), "utf-8")


def test_weights_that_changed_in_memory(made: Path) -> None:
    """Not what was loaded counts, but what the model is now."""
    model = Plait.from_pretrained(made / "bert")
    model.load_state_dict({name: 1.5 * weight for name, weight in model.state_dict().items()})
    refused(lambda: Index.open(made / "s.plait", model), "model")


def test_what_made_it_may_open_it(made: Path, tmp_path: Path) -> None:
    assert Index.open(made / "s.plait").rank("river", first_stage="all").hits
    # Also a copy of it, or one with another score head, or another plan that reads the same states.
    model = Plait.from_pretrained(made / "bert")
    model.save_pretrained(tmp_path / "copy")
    assert Index.open(made / "s.plait", Plait.from_pretrained(tmp_path / "copy")).rank("river").hits
    for score in ("join=2", "join=2,mode=frozen", "join=1,mode=oneway"):  # all of these read states.1 and states.2
        model = Plait.from_pretrained(tmp_path / "copy", plan={"score": score})
        assert Index.open(made / "s.plait", model).rank("river").hits


def test_other_weights(made: Path, tmp_path: Path) -> None:
    other = small_checkpoint(tmp_path / "bert", plans=PLANS, seed=1)
    refused(lambda: Index.open(made / "s.plait", Plait.from_pretrained(other)), "model")


def test_one_other_weight(made: Path) -> None:
    parts = Plait.from_pretrained(made / "bert")
    parts.base.encoder.layer[2].output.dense.weight.data[3, 3] += 1e-6  # type: ignore[index,union-attr]
    assert hashes.of_weights(parts.base) != parts.fingerprint["model"]


def test_another_tokenizer(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "bert", tmp_path / "bert")
    other_tokenizer(tmp_path / "bert")
    refused(lambda: Index.open(made / "s.plait", Plait.from_pretrained(tmp_path / "bert")), "tokenizer")


@pytest.mark.parametrize(
    "plan", ["score: join=0", "score: join=0,mode=oneway", "span: join=2", "score: join=2,mode=oneway,states=kv"]
)
def test_another_plan(made: Path, plan: str) -> None:
    refused(lambda: Index.open(made / "s.plait", Plait.from_pretrained(made / "bert", plan=plan)), "plan", "tensors")


def test_a_wider_model_differs_in_all_it_should(made: Path, tmp_path: Path) -> None:
    other = small_checkpoint(tmp_path / "bert", plans=PLANS, hidden_size=48)
    refused(lambda: Index.open(made / "s.plait", Plait.from_pretrained(other)), "model", "tensors")


def test_a_checkpoint_that_was_changed_in_its_place(made: Path, tmp_path: Path) -> None:
    """`open` loads the model from where it was; it may have been trained on in the meantime."""
    folder = small_checkpoint(tmp_path / "bert", plans=PLANS)
    Index.create(
        tmp_path / "s.plait", Plait.from_pretrained(folder), name=str(folder), passage_tokens=40, overlap=8
    ).add(DOCUMENTS)
    shutil.rmtree(folder)
    small_checkpoint(folder, plans=PLANS, seed=2)
    refused(lambda: Index.open(tmp_path / "s.plait"), "model")
    shutil.rmtree(folder)
    with pytest.raises(PlaitError, match="no folder"):
        Index.open(tmp_path / "s.plait")


@pytest.mark.parametrize("commits", [1, 2])
def test_a_store_built_anew_by_another_model_where_one_is_open(made: Path, tmp_path: Path, commits: int) -> None:
    """Whatever its version is, an index that was open before neither follows it nor writes its states into it."""
    ours = Plait.from_pretrained(made / "bert")
    theirs = Plait.from_pretrained(small_checkpoint(tmp_path / "other", plans=PLANS, seed=1))
    path = tmp_path / "s.plait"
    index = Index.create(path, ours, passage_tokens=40, overlap=8)
    index.add(DOCUMENTS)
    before = index.rank("river", first_stage="all").hits
    shutil.rmtree(path)
    other = Index.create(path, theirs, passage_tokens=40, overlap=8)
    for part in [DOCUMENTS] if commits == 1 else [DOCUMENTS[:1], DOCUMENTS[1:]]:
        other.add(part)
    assert (index.store.version == other.store.version) == (commits == 1)
    expected = other.rank("river", first_stage="all").hits
    assert [hit.score for hit in expected] != [hit.score for hit in before]
    for change in (
        index.store.refresh,
        index.compact,
        lambda: index.delete(["one"]),
        lambda: index.add([Document("three", "Another river."), *DOCUMENTS]),
    ):
        with pytest.raises(PlaitError, match=r"was built anew since.*; open it again"):
            change()
    again = Index.open(path, theirs)
    assert again.store.contents().keys() == {"one", "two"} and not again.verify()
    assert again.rank("river", first_stage="all").hits == expected
    refused(lambda: Index.open(path, ours), "model")


def restamp(path: Path, **changes: object) -> None:
    """Write another fingerprint into the table, as if something else had made it."""
    import lance

    dataset = lance.dataset(str(path / "passages.lance"))
    found = Fingerprint.from_json(dataset.schema.metadata[KEY].decode())
    stamp: dict[str, str | None] = {KEY.decode(): replace(found, **changes).to_json()}  # type: ignore[arg-type]
    dataset.update_schema_metadata(stamp, replace=True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, "reads stores of format 1, but .* has format 2"),
        ({"codec": "int2"}, "codec must be one of float32, float16, bfloat16, int8, int4, but is 'int2'"),
        ({"model": "f" * 32}, r"model \(the store has f+, this is"),
        ({"tensors": (("states.1", 33), ("states.2", 32))}, r"tensors \(the store has"),
    ],
)
def test_another_stamp(made: Path, tmp_path: Path, changes: dict[str, object], words: str) -> None:
    shutil.copytree(made / "s.plait", tmp_path / "s.plait")
    restamp(tmp_path / "s.plait", **changes)
    with pytest.raises(PlaitError, match=words):
        Index.open(tmp_path / "s.plait", Plait.from_pretrained(made / "bert"))


@pytest.mark.parametrize("codec", ["float32", "float16"])
def test_another_codec_than_what_was_written(made: Path, tmp_path: Path, codec: str) -> None:
    """A stamp that names a codec whose bytes are not there must not turn bytes into wrong numbers."""
    shutil.copytree(made / "s.plait", tmp_path / "s.plait")
    restamp(tmp_path / "s.plait", codec=codec)
    with pytest.raises(PlaitError):
        Index.open(tmp_path / "s.plait", Plait.from_pretrained(made / "bert")).rank("river", first_stage="all")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"model": "x"}',
        '{"model": "x", "plans": {}, "colour": 1}',
        '{"model": 3, "plans": {}}',
        '{"model": "x", "plans": {"a": 1}}',
    ],
)
def test_damaged_settings(made: Path, tmp_path: Path, content: str) -> None:
    shutil.copytree(made / "s.plait", tmp_path / "s.plait")
    (tmp_path / "s.plait" / "plait.json").write_text(content)
    with pytest.raises(PlaitError, match=r"plait\.json|checkpoint"):
        Index.open(tmp_path / "s.plait")


def test_settings_that_ask_for_another_plan(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "s.plait", tmp_path / "s.plait")
    file = tmp_path / "s.plait" / "plait.json"
    fields = json.loads(file.read_text())
    file.write_text(json.dumps(fields | {"plans": {"score": "join=0", "span": "join=1,reader=passage"}}))
    refused(lambda: Index.open(tmp_path / "s.plait"), "plan", "tensors")


def test_no_index_at_all(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "missing"):
        with pytest.raises(PlaitError, match=r"an index is a folder with plait\.json in it"):
            Index.open(tmp_path / name)
