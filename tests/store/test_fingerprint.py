"""A store made by something else is refused by name."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import lance
import pytest

from plait.errors import PlaitError
from plait.store import Fingerprint, Store, check
from plait.store.schema import KEY

from .samples import document, fingerprint, make


def forget_id(path: Path) -> None:
    """Leave a store as those are that were made before stores had ids."""
    stamp: dict[str, str | None] = {KEY.decode(): fingerprint().to_json()}
    lance.dataset(str(path / "passages.lance")).update_schema_metadata(stamp, replace=True)


def test_survives_json_and_the_table(tmp_path: Path) -> None:
    assert Fingerprint.from_json(fingerprint().to_json()) == fingerprint()
    make(tmp_path / "s.plait")
    assert Store.open(tmp_path / "s.plait").fingerprint == fingerprint()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "other"),
        ("tokenizer", "x" * 64),
        ("plan", "states.3"),
        ("codec", "float32"),
        ("format", 2),
        ("tensors", (("states.4", 13), ("states.5", 8))),
    ],
)
def test_names_what_differs(field: str, value: object) -> None:
    expected = fingerprint()
    with pytest.raises(PlaitError) as refusal:
        check(expected, replace(expected, **{field: value}))  # type: ignore[arg-type]
    said = str(refusal.value)
    assert f"{field} (the store has" in said and str(value)[:15] in said and "plait index" in said
    others = {"model", "tokenizer", "plan", "codec", "format", "tensors"} - {field}
    assert not any(f"{other} (the store" in said for other in others) and "x" * 50 not in said


def test_equal_passes() -> None:
    check(fingerprint(), fingerprint())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model": 1}', fingerprint().to_json().replace("[", "{", 1)])
def test_garbage_is_refused(text: str) -> None:
    with pytest.raises(PlaitError, match="fingerprint"):
        Fingerprint.from_json(text)


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlaitError, match="format 99"):
        Store.create(tmp_path / "s", replace(fingerprint(), format=99))


@pytest.mark.parametrize("named", [True, False], ids=["with an id", "without"])
def test_another_store_at_the_same_path_is_not_followed(tmp_path: Path, named: bool) -> None:
    """Neither by a handle that only reads nor by one that writes; nor if what made it is the same."""
    for name in ("s.plait", "other.plait"):
        make(tmp_path / name, documents=2)
        if not named:
            forget_id(tmp_path / name)
    store = Store.open(tmp_path / "s.plait")
    os.rename(tmp_path / "s.plait", tmp_path / "old.plait")
    os.rename(tmp_path / "other.plait", tmp_path / "s.plait")
    other = Store.open(tmp_path / "s.plait")
    assert other.version == store.version and other.fingerprint == store.fingerprint
    for change in (store.refresh, store.optimize, lambda: store.add(document("new", store.codec))):
        with pytest.raises(PlaitError, match="built anew"):
            change()
    shutil.rmtree(tmp_path / "s.plait")
    with pytest.raises(PlaitError, match="check the path"):
        store.refresh()
    os.rename(tmp_path / "old.plait", tmp_path / "s.plait")
    store.add(document("new", store.codec))
    assert len(store) == 9 and len(other) == 6
