"""Documents that another search found, ranked and read in the place of the first stage's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plait.data import Document, Question
from plait.errors import DataWarning, PlaitError
from plait.index import Index
from plait.judged import answered, judged
from plait.model import Plait
from tests.command import done, refused, run
from tests.corpus import QUESTION, TEXTS
from tests.small import small_checkpoint


@pytest.fixture(scope="module")
def index(made: Path) -> Index:
    return Index.open(made)


def test_all_passages_of_the_documents_are_ranked_and_no_others(index: Index) -> None:
    """In whatever order they are given, as among all passages."""
    every = index.rank(QUESTION, None, first_stage="all").hits
    for given in (["music", "bridge"], ("bridge", "music", "bridge"), {"bridge": 0.0, "music": 7}):
        hits = index.rank(QUESTION, None, candidates=given).hits
        expected = [hit for hit in every if hit.document in ("bridge", "music")]
        assert {hit.id for hit in hits} == {hit.id for hit in expected} and len(hits) >= 2
        scores = {hit.id: hit.score for hit in expected}
        assert [hit.score for hit in hits] == pytest.approx([scores[hit.id] for hit in hits], abs=1e-4)
    others: list[Any] = [{"music"}, np.array(["music"]), {"music": 1}.keys(), {"music": np.uint8(3)}]
    for some in others:
        assert {hit.document for hit in index.rank(QUESTION, candidates=some).hits} == {"music"}
    assert len(index.rank(QUESTION, candidates=np.int64(2)).hits) == 2  # type: ignore[arg-type]
    assert index.rank(QUESTION, candidates=[]).hits == [] == index.ask(QUESTION, candidates={}).answers
    assert len(index.rank(QUESTION, 1, candidates=list(TEXTS)).hits) == 1


def test_their_scores_count_as_the_first_stages_do(index: Index) -> None:
    alone = {hit.id: hit.score for hit in index.rank(QUESTION, None, candidates=["music", "bridge"]).hits}
    hits = index.rank(QUESTION, None, candidates={"music": 3.5, "bridge": 1}, first_stage_weight=2).hits
    for hit in hits:
        assert hit.first_stage == {"music": 3.5, "bridge": 1}[hit.document]
        assert hit.score == pytest.approx(alone[hit.id] + 2 * hit.first_stage, abs=1e-4)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_what_is_not_there_is_said_and_left_out(index: Index) -> None:
    with pytest.warns(DataWarning, match="^2 of 3 candidates are not in the index, 'gone' first, and are left out$"):
        hits = index.rank(QUESTION, candidates=["gone", "bridge", "away"]).hits
    assert {hit.document for hit in hits} == {"bridge"}
    with pytest.warns(DataWarning, match="1 of 1 candidates"):
        assert index.rank(QUESTION, candidates=["gone"]).hits == []
    index.add([Document("long", "the river and the stone " * 200)])
    with pytest.warns(DataWarning, match="'long#0' first, and are left out: it is a passage; name its document"):
        index.rank(QUESTION, candidates=["long#0"])


def test_answers_are_read_from_them_alone(index: Index) -> None:
    for document in TEXTS:
        [answer] = index.ask(QUESTION, candidates=[document]).answers
        assert answer.hit.document == document and answer.answer in TEXTS[document]


def test_without_a_score_head_they_are_read_in_their_order(tmp_path: Path) -> None:
    """The best by their scores, or the first."""
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "m", heads=("span",)), plan={"span": "join=1"})
    index = Index.create(tmp_path / "s.plait", model)
    index.add([Document(id, text) for id, text in TEXTS.items()])
    some = list(TEXTS)[:3]
    for given in (some, {document: -float(number) for number, document in enumerate(some)}):
        ids = [hit.document for hit in index.ask(QUESTION, read=2, candidates=given).ranking.hits]
        assert ids == some[:2]
    backwards = {document: np.uint8(number) for number, document in enumerate(some)}
    assert [hit.document for hit in index.ask(QUESTION, read=2, candidates=backwards).ranking.hits] == some[:0:-1]


QUERIES = {"q1": "who built the bridge?", "q2": "letter of the queen"}
QRELS = {"q1": {"bridge": 1}, "q2": {"castle": 1}}
FOUND = {"q1": {"bridge": 2.0, "music": 1.0}, "q2": {"castle": 1.5, "bridge": 0.5}}


def _files(folder: Path) -> tuple[Path, Path, Path]:
    queries, qrels, found = folder / "queries.tsv", folder / "qrels.txt", folder / "found.run"
    queries.write_text("".join(f"{id}\t{text}\n" for id, text in QUERIES.items()))
    qrels.write_text("".join(f"{q} 0 {d} {grade}\n" for q, of in QRELS.items() for d, grade in of.items()))
    found.write_text("".join(f"{q} Q0 {d} 1 {score} other\n" for q, of in FOUND.items() for d, score in of.items()))
    return queries, qrels, found


def test_a_run_is_judged_in_place_of_the_first_stage(index: Index, made: Path, tmp_path: Path) -> None:
    found = judged(index, QUERIES, QRELS, candidates=FOUND)
    assert {query: {document for document, _, _ in of} for query, of in found.found.items()} == {
        query: set(of) for query, of in FOUND.items()
    }
    assert found.first_stage() == {"rr10": 1.0, "ndcg10": 1.0, "recall": 1.0}
    queries, qrels, run_file = _files(tmp_path)
    facts = json.loads(done("evaluate", made, queries, "--qrels", qrels, "--run", run_file, "--json"))
    assert facts["first stage"] == found.first_stage() and facts["model"] == pytest.approx(found.ranked())
    with pytest.warns(DataWarning, match="1 of 3 candidates are not in the index, 'gone' first"):
        lacking = judged(index, QUERIES, QRELS, candidates={"q1": ["bridge", "music"], "q2": {"gone": 1.0}})
    assert lacking.found["q2"] == []
    with pytest.warns(DataWarning, match="1 of 2 queries have no candidates, 'q2' first, and find nothing"):
        assert judged(index, QUERIES, QRELS, candidates={"q1": FOUND["q1"]}).found["q2"] == []
    with pytest.raises(
        PlaitError, match="a run must have the queries that are asked, but has none of them, 'q1' first"
    ):
        judged(index, QUERIES, QRELS, candidates={})
    with pytest.raises(PlaitError, match="a run must have documents for its queries, but has 3 for 'q1'"):
        judged(index, QUERIES, QRELS, candidates={"q1": 3, "q2": []})
    assert len(judged(index, QUERIES, QRELS, candidates=np.int64(1), first_stage="all").found["q1"]) == 1  # type: ignore[arg-type]
    answer = index.ask(QUERIES["q1"], candidates={"bridge": 1.0}).answers[0].answer
    question = Question("q1", QUERIES["q1"], "bridge", TEXTS["bridge"], ((answer, 0),))
    assert answered(index, [question], candidates={"q1": {"bridge": 1.0}})["em"] == 100
    assert answered(index, [question], candidates={"q1": ["music"]})["em"] == 0


def test_the_command_ranks_a_run(index: Index, made: Path, tmp_path: Path) -> None:
    queries, _, found = _files(tmp_path)
    lines = done("rank", made, "--queries", queries, "--run", found, "--first-stage-weight", 2).splitlines()
    for line, (query, of) in zip(map(json.loads, lines), FOUND.items(), strict=True):
        hits = index.rank(QUERIES[query], candidates=of, first_stage_weight=2).hits
        assert line["id"] == query and [hit["id"] for hit in line["hits"]] == [hit.id for hit in hits]
    given = ["rank", made, "--queries", queries, "--run", found]
    for option, value in (("--candidates", 3), ("--first-stage", "bm25")):
        assert f"is given with {option} {value}; leave one out" in refused(*given, option, value)
    assert "--run says what was found for each of --queries, but only" in refused("rank", made, "q", "--run", found)
    queries.write_text(queries.read_text() + "q3\tthe garden\nq4\tthe garden\n")
    found.write_text(found.read_text() + "q3 Q0 gone 1 2.0 other\nq4 Q0 gone 1 2.0 other\nq4 Q0 away 2 1.0 other\n")
    said = run(*given)
    assert said.err == "note: 2 of 5 candidates are not in the index, 'away' first, and are left out\n"
    assert [json.loads(line)["hits"] == [] for line in said.out.splitlines()] == [False, False, True, True]
    queries.write_text("1\tthe garden\n")
    assert "has none of them, '1' first; name the run" in refused(*given)


def test_a_store_that_only_answers_is_judged_by_its_answers(tmp_path: Path) -> None:
    from plait.data import read_squad

    paragraphs = [
        {"context": text, "qas": [{"id": f"{id}-1", "question": QUESTION,
                                   "answers": [{"text": text[:4], "answer_start": 0}]}]}
        for id, text in TEXTS.items()
    ]  # fmt: skip
    file, store = tmp_path / "squad.json", tmp_path / "s.plait"
    file.write_text(json.dumps({"data": [{"title": "t", "paragraphs": paragraphs}]}))
    model = small_checkpoint(tmp_path / "m", heads=("span",))
    done("index", file, "--store", store, "--model", model, "--plan", "join=1")
    expected = answered(Index.open(store), read_squad(file)) | {"read": 3}
    assert json.loads(done("evaluate", store, file, "--json")) == {"queries": 4, "answers": expected}
    assert done("evaluate", store, file).startswith("4 questions answered from 3 passages each: EM ")
    ranker, ranks = small_checkpoint(tmp_path / "r", heads=("score",)), tmp_path / "r.plait"
    done("index", file, "--store", ranks, "--model", ranker, "--plan", "join=1")
    assert json.loads(done("evaluate", ranks, file, "--json")).keys() == {"queries", "model", "first stage", "both"}
    assert "has no span head; leave it out" in refused("evaluate", ranks, file, "--read", 2)
    queries, qrels, _ = _files(tmp_path)
    assert "has none; leave it out" in refused("evaluate", ranks, queries, "--qrels", qrels, "--read", 2)
    assert "sequence-classification head" in refused("evaluate", store, file, "--read", 0)
    said = refused("evaluate", ranks, file, "--first-stage", "all", "--candidates", 1)
    assert "--first-stage all has no candidates, but --candidates is 1" in said
    for option in (["--read", 2], ["--candidates", 5], ["--first-stage", "bm25"], ["--run", file]):
        assert f"{option[0]} is of a store, but --task" in refused("evaluate", model, file, "--task", "qa", *option)
