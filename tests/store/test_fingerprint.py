"""A store made by something else is refused by name."""

from dataclasses import replace
from pathlib import Path

import pytest

from plait.errors import PlaitError
from plait.store import Fingerprint, Store, check

from .samples import fingerprint, make


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
