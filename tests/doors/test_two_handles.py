"""One index, open twice: what one process writes, another sees when it asks to."""

from __future__ import annotations

from pathlib import Path

import pytest

from plait import Document, Index, Plait
from plait.errors import PlaitError
from plait.results import Hit
from tests.corpus import QUESTION, TEXTS


@pytest.fixture
def path(tmp_path: Path, model: Plait) -> Path:
    """An index of TEXTS, one commit each."""
    index = Index.create(tmp_path / "s.plait", model)
    for id, text in TEXTS.items():
        index.add([Document(id, text)])
    return tmp_path / "s.plait"


def ranked(index: Index) -> list[Hit]:
    return index.rank(QUESTION, first_stage="all").hits


def test_refresh_shows_what_others_wrote(path: Path, model: Plait) -> None:
    reader, writer = Index.open(path, model), Index.open(path, model)
    before = ranked(reader)
    writer.add([Document("new", "The engine of the new railway is yellow.")])
    writer.delete(["music"])
    assert ranked(reader) == before
    reader.refresh()
    assert ranked(reader) == ranked(writer) != before


@pytest.mark.parametrize("warm", [False, True])
def test_a_query_goes_on_where_another_has_compacted(path: Path, model: Plait, warm: bool) -> None:
    """Whatever of the old version it had read before."""

    def compacted() -> tuple[Index, Index]:
        reader, writer = Index.open(path, model), Index.open(path, model)
        if warm:
            ranked(reader)
            reader.rank(QUESTION)
        writer.add([Document(f"new {reader.store.version}", "The bridge of stone.")])
        writer.compact()
        return reader, writer

    reader, writer = compacted()
    assert reader.rank(QUESTION).hits == writer.rank(QUESTION).hits
    reader, writer = compacted()
    assert ranked(reader) == ranked(writer)
    reader, writer = compacted()
    assert reader.ask(QUESTION).answers == writer.ask(QUESTION).answers
    reader, writer = compacted()
    [part], [other] = reader.parts(["bridge"]), writer.parts(["bridge"])
    assert model.predict([(QUESTION, part)]) == model.predict([(QUESTION, other)])
    reader, writer = compacted()
    assert reader.answer_in(QUESTION, "bridge") == writer.answer_in(QUESTION, "bridge")
    reader, writer = compacted()
    assert reader.verify() == writer.verify() == []


def test_a_file_that_is_lost_is_told(path: Path, model: Plait) -> None:
    index = Index.open(path, model)
    for file in (path / "passages.lance" / "data").iterdir():
        file.unlink()
    with pytest.raises(PlaitError, match="damaged"):
        ranked(index)


def test_paths_hold_where_the_process_goes(
    checkpoint_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a store and of the model in it, both named from where the process was."""
    (tmp_path / "bert").symlink_to(checkpoint_path)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path)
    made = Index.create("s.plait", Plait.from_pretrained("bert"))
    made.add([Document(id, text) for id, text in TEXTS.items()])
    opened = Index.open("s.plait")
    monkeypatch.chdir(tmp_path / "below")
    assert ranked(opened) == ranked(made) == ranked(Index.open("../s.plait"))
    for index in (made, opened):
        index.refresh()
        index.add([Document(str(id(index)), "The bridge of stone.")])
        index.compact()
        assert len(index.verify()) == 0 and index.stats().documents == len(index.store.contents())
