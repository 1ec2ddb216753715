"""An index as the library has it: made, searched, asked, opened again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from plait import DataWarning, Document, Index, Plait, PlaitError
from tests.corpus import PASSAGES, QUESTION, raw


def test_an_index_remembers_where_its_model_was(checkpoint_path: Path, tmp_path: Path) -> None:
    model = Plait.from_pretrained(checkpoint_path, plan="join=1", dtype="auto")
    assert next(model.parameters()).dtype in (torch.float32, torch.bfloat16)
    Index.create(tmp_path / "s.plait", model).add([Document("a", "the river")])
    assert Index.open(tmp_path / "s.plait").rank("river").hits[0].document == "a"


def test_an_index_from_start_to_end(model: Plait, tmp_path: Path) -> None:
    index = Index.create(tmp_path / "s.plait", model, name="", codec="float32", passage_tokens=40, overlap=8)
    assert index.rank(QUESTION).hits == [] and index.ask(QUESTION).answers == []
    added = index.add(Document(str(i), text, {"number": i}) for i, text in enumerate(PASSAGES))
    assert (added.documents, added.passages, added.unchanged) == (4, 4, 0) and added.tokens > 20
    ranking = index.rank(QUESTION, top_k=2)
    assert len(ranking.hits) == 2 and ranking.query_cut == 0 and ranking.timing.total > 0
    assert ranking.hits[0].score >= ranking.hits[1].score and ranking.hits[0].metadata["number"] == int(
        ranking.hits[0].id
    )
    every = index.rank(QUESTION, first_stage="all").hits
    assert [hit.id for hit in every] == [str(row["corpus_id"]) for row in model.rank(QUESTION, PASSAGES)]
    [answer] = index.ask(QUESTION).answers
    assert answer.hit.text[answer.start : answer.end] == answer.answer
    assert index.answer_in("music?", "2").answer in PASSAGES[2]
    assert index.add([Document("2", PASSAGES[2], {"number": 2}), Document("3", "new text of the river")]).unchanged == 1
    assert index.delete(["0", "1"]) == 2
    assert sorted(hit.text for hit in index.rank("river", first_stage="all").hits) == [
        PASSAGES[2],
        "new text of the river",
    ]
    index.compact()
    assert index.verify() == [] and index.stats().passages == 2
    assert sorted(hit.id for hit in Index.open(tmp_path / "s.plait", model).rank("river", first_stage="all").hits) == [
        "2",
        "3",
    ]


def test_known_texts_need_positions_that_restart(checkpoint_path: Path, tmp_path: Path) -> None:
    """The plan of ordinary pair models would be computed with other positions than the model's own, silently."""
    model = Plait.from_pretrained(checkpoint_path, plan={"score": "join=0,positions=continue"})
    for call in (lambda: model.read("some text"), lambda: Index.create(tmp_path / "s.plait", model, name="")):
        with pytest.raises(PlaitError, match="plan of the score head has positions=continue"):
            call()
    assert not (tmp_path / "s.plait").exists()


def test_vectors_that_are_given(model: Plait, tmp_path: Path) -> None:
    def embed(texts: list[str]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        return np.array([[text.count("r"), text.count("m") + 0.5] for text in texts], np.float32)

    index = Index.create(
        tmp_path / "s.plait", model, name="", vectors="given", vector_width=2, passage_tokens=40, overlap=8
    )
    with pytest.raises(PlaitError, match="vectors must be passed"):
        index.add([Document("a", "river")])
    index.add([Document(str(i), text) for i, text in enumerate(PASSAGES)], vectors=embed)  # type: ignore[arg-type]
    found = index.rank("music", candidates=1, first_stage="vector", vector=embed(["mmmm"])[0])
    assert [hit.id for hit in found.hits] == ["2"]
    assert index.rank("music", candidates=1, vector=embed(["mmmm"])[0]).hits == found.hits
    for wrong, words in {
        "a row": "must be a row for each of 1 texts, but have the shape \\[2\\]",
        "nothing": "must have a direction to be searched by, but is zero",
        "nan": "but is not finite",
    }.items():
        made = {"a row": np.ones(2), "nothing": np.zeros((1, 2)), "nan": np.full((1, 2), np.nan)}[wrong]
        with pytest.raises(PlaitError, match=words):
            index.add([Document("new", "river")], vectors=lambda texts, made=made: made)  # type: ignore[misc]
    with pytest.raises(PlaitError, match="vectors=pooled"):
        index.rank("music", first_stage="vector")


def test_the_known_role_may_come_first(checkpoint_path: Path, tmp_path: Path) -> None:
    """Which role is stored is what the plan says, not the order of the roles."""
    roles = "roles=passage+query,known=passage"
    plan = f"score: join=1,mode=oneway,{roles},reader=query; span: join=1,{roles},reader=passage"
    model = Plait.from_pretrained(checkpoint_path, plan=plan)
    live = {i: float(s) for i, s in enumerate(model.predict([(p, QUESTION) for p in PASSAGES], activation_fn=raw))}
    index = Index.create(tmp_path / "s.plait", model, name="", codec="float32", passage_tokens=40, overlap=8)
    index.add([Document(str(i), text) for i, text in enumerate(PASSAGES)])
    assert {name for name, _ in index.store.fingerprint.tensors} == {"states.1", "states.2"}
    for hit in index.rank(QUESTION, first_stage="all").hits:
        assert hit.score == pytest.approx(live[int(hit.id)], abs=1e-4)
    for size in (2, 32):
        ranking = model.rank(QUESTION, PASSAGES, batch_size=size, activation_fn=raw)
        assert {row["corpus_id"]: row["score"] for row in ranking} == pytest.approx(live, abs=1e-4)
    assert index.ask(QUESTION).answers[0].answer in PASSAGES[1] + PASSAGES[0]
    again = Index.open(tmp_path / "s.plait", model).rank(QUESTION, first_stage="all").hits
    assert [(hit.id, hit.score) for hit in again] == [
        (hit.id, hit.score) for hit in index.rank(QUESTION, first_stage="all").hits
    ]
    assert Index.open(tmp_path / "s.plait").model.plans == model.plans
    for known in ("query+passage", "query"):
        with pytest.raises(PlaitError, match="with the same known roles"):
            Plait.from_pretrained(
                checkpoint_path, plan={"score": f"join=1,known={known}", "span": "join=1,reader=passage"}
            ).read("some text")


def test_more_hits_than_candidates(model: Plait, tmp_path: Path) -> None:
    index = Index.create(tmp_path / "s.plait", model, name="", passage_tokens=40, overlap=8)
    index.add([Document(str(i), f"river number {i}") for i in range(120)])
    assert len(index.rank("river", top_k=110).hits) == 110
    assert len(index.ask("river", top_k=5, read=1).answers) == 5
    assert len(index.rank("river", candidates=3).hits) == 3


def test_spans_without_ranking(spans_only: Plait, tmp_path: Path) -> None:
    index = Index.create(tmp_path / "s.plait", spans_only, name="", passage_tokens=40, overlap=8)
    index.add([Document(str(i), text) for i, text in enumerate(PASSAGES)])
    first = [hit.id for hit in index.store.search_text(QUESTION, 3)]
    assert [hit.id for hit in index.ask(QUESTION, read=3).ranking.hits] == first
    with pytest.raises(PlaitError, match="sequence-classification head"):
        index.rank(QUESTION)


def test_a_document_named_like_a_passage_of_another_is_told(model: Plait, tmp_path: Path) -> None:
    index = Index.create(tmp_path / "s.plait", model, passage_tokens=20, overlap=4)
    long = Document("a", "the river and the stone " * 20)
    with pytest.raises(PlaitError, match="named document#number, but 'a#1' is one of 'a' and of 'a#1'; rename one"):
        index.add([long, Document("a#1", "the garden")])
    index.add([long])
    with pytest.raises(PlaitError, match=r"'a#1' is; give every one an id of its own \(those of a document are named"):
        index.add([Document("a#1", "the garden")])
    assert {hit.document for hit in index.rank("river").hits} == {"a"}


def test_passages_are_of_whole_numbers_of_tokens(model: Plait, tmp_path: Path) -> None:
    path = tmp_path / "s.plait"
    given: list[dict[str, Any]] = [
        {"overlap": 16.5},
        {"passage_tokens": 64.0},
        {"passage_tokens": "20"},
        {"overlap": True},
    ]
    for wrong in given:
        with pytest.raises(PlaitError, match="passages need whole numbers of tokens and overlap"):
            Index.create(path, model, **wrong)
        assert not path.exists()
    numbers: dict[str, Any] = {"passage_tokens": np.int64(64), "overlap": np.int64(8)}
    index = Index.create(path, model, **numbers)
    index.add([Document("1", PASSAGES[0])])
    assert Index.open(path, model).settings.passage_tokens == 64


def test_a_text_that_has_no_token_any_more_goes(model: Plait, tmp_path: Path) -> None:
    index = Index.create(tmp_path / "s.plait", model)
    index.add([Document("a", "The bridge of stone."), Document("b", "The river.")])
    with pytest.warns(DataWarning, match="1 of 2 documents have no character that makes a token, 'a' first"):
        added = index.add([Document("a", "\u200b"), Document("b", "The yellow river.")])
    assert added.documents == added.replaced == 1 and index.store.ids() == ["b"]
    assert index.store.texts(["b"]) == ["The yellow river."]
