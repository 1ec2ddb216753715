"""Models that differ in one new part: it is saved with them, and a store of one is not for the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from plait.data import Document
from plait.errors import PlaitError
from plait.index import Index
from plait.model import Plait

PAIR = ("river", "the garden of stone and music")
DOCUMENTS = [Document("a", "the river of stone and music"), Document("b", "winter in the garden of the queen")]


def saved_and_bound(folder: Path, models: Sequence[Plait], codec: str) -> tuple[list[Plait], Index]:
    """The models as they are loaded again, and an index of the first."""
    loaded = []
    for number, model in enumerate(models):
        model.save_pretrained(folder / str(number))
        loaded.append(Plait.from_pretrained(folder / str(number)))
        assert loaded[-1].predict(PAIR) == pytest.approx(model.predict(PAIR), abs=1e-6)
    index = Index.create(folder / "s.plait", loaded[0], codec=codec)
    index.add(DOCUMENTS)
    assert not index.verify()
    for other in loaded[1:]:
        with pytest.raises(PlaitError, match=r"model \("):
            Index.open(folder / "s.plait", other)
    return loaded, index
