"""How well a store ranks queries whose documents are known; and the first stage's score beside the model's."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from plait.data import Document, Question, read_run
from plait.errors import DataWarning, PlaitError
from plait.index import Index
from plait.judged import WEIGHTS, Judged, answered, judged, rank_quality
from plait.metrics import answer_metrics
from plait.model import Plait
from tests.command import done, refused
from tests.command import run as run_
from tests.corpus import TEXTS

QUERIES = {"q1": "who built the bridge?", "q2": "letter of the queen", "q3": "music in winter", "q4": "the village"}
QRELS = {"q1": {"bridge": 1}, "q2": {"castle": 1, "music": 2}, "q3": {"music": 1, "bridge": 0}, "q4": {"garden": 1}}


@pytest.fixture(scope="module")
def index(made: Path) -> Index:
    return Index.open(made)


@pytest.fixture(scope="module")
def beir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same queries as a BEIR folder."""
    root = tmp_path_factory.mktemp("beir")
    (root / "qrels").mkdir()
    rows = [{"_id": id, "text": text} for id, text in TEXTS.items()]
    (root / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (root / "queries.jsonl").write_text("\n".join(json.dumps({"_id": q, "text": t}) for q, t in QUERIES.items()))
    lines = [f"{q}\t{d}\t{grade}" for q, of in QRELS.items() for d, grade in of.items()]
    (root / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]))
    return root


def rr10(run: Mapping[str, Mapping[str, float]], qrels: Mapping[str, Mapping[str, int]]) -> float:
    """By hand."""
    found = []
    for query, relevant in qrels.items():
        order = sorted(run[query], key=lambda document: -run[query][document])[:10]
        ranks = [place for place, document in enumerate(order, 1) if relevant.get(document, 0) > 0]
        found.append(1 / ranks[0] if ranks else 0.0)
    return sum(found) / len(found)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1e4])
def test_the_first_stage_counts_beside_the_model(index: Index, weight: float) -> None:
    alone = index.rank("the letter of the bridge", 99)
    logits, first = (np.array([getattr(hit, name) for hit in alone.hits]) for name in ("score", "first_stage"))
    stored = {hit.id: hit.score for hit in index.store.search_text("the letter of the bridge", 99)}
    np.testing.assert_allclose(first, [stored[hit.id] for hit in alone.hits])
    both = index.rank("the letter of the bridge", 99, first_stage_weight=weight)
    expected = sorted(zip(logits + weight * first, (hit.id for hit in alone.hits), strict=True), reverse=True)
    np.testing.assert_allclose([hit.score for hit in both.hits], [score for score, _ in expected], rtol=1e-5)
    assert [hit.id for hit in both.hits] == [id for _, id in expected]
    if weight == 1e4:
        assert [hit.first_stage for hit in both.hits] == sorted(stored.values(), reverse=True)
    answers = index.ask("the letter of the bridge", 1, read=2, first_stage_weight=weight)
    assert [hit.id for hit in answers.ranking.hits] == [hit.id for hit in both.hits][:2]


def test_metrics_are_those_of_the_runs(index: Index) -> None:
    found = judged(index, QUERIES, QRELS)
    for weight in WEIGHTS:
        assert found.ranked(weight)["rr10"] == pytest.approx(rr10(found.run(weight), QRELS))
        for query, scores in found.run(weight).items():
            hits = index.rank(QUERIES[query], 99, first_stage_weight=weight).hits
            best = {hit.document: max(h.score for h in hits if h.document == hit.document) for hit in hits}
            assert scores == pytest.approx(best, abs=1e-4)
    first = found.first_stage()
    by_words = {q: {h.document: h.first_stage for h in index.rank(t, 99).hits} for q, t in QUERIES.items()}
    assert first["rr10"] == pytest.approx(rr10(by_words, QRELS)) and 0 < first["recall"] <= 1


def made_up(size: int, noise: float) -> Judged:
    """Queries of ten candidates, where the first stage is right up to its noise and the model knows nothing."""
    random = np.random.default_rng(0)
    found = {}
    for query in range(size):
        logits, first = random.normal(size=10), random.normal(size=10) * noise
        first[0] += 1
        found[f"q{query}"] = [(f"d{d}", float(logits[d]), float(first[d])) for d in range(10)]
    return Judged({query: {"d0": 1} for query in found}, found)


def test_the_weight_is_measured_on_other_queries_than_it_is_chosen_on() -> None:
    right = made_up(40, 0.0)
    assert right.both()["weight"] == 5.0 and right.both()["rr10"] > right.ranked()["rr10"] + 0.3
    # One half wants no first stage, the other nothing else: what is chosen on one is wrong for the other.
    flat = made_up(2, 0.0)
    opposed = Judged(flat.qrels, {
        "q0": [("d0", 1.0, 0.0), ("d1", 0.0, 9.0)],
        "q1": [("d0", 0.0, 9.0), ("d1", 1.0, 0.0)],
    })  # fmt: skip
    assert opposed.ranked(0.0)["rr10"] == opposed.ranked(30.0)["rr10"] == 0.75 and opposed.both()["rr10"] == 0.5
    assert Judged(flat.qrels, {q: [("d0", 1.0, 1.0)] for q in flat.qrels}).both()["weight"] == 0.0


def test_queries_that_find_nothing_count(index: Index) -> None:
    found = judged(index, {**QUERIES, "q5": "zzz"}, {**QRELS, "q5": {"bridge": 1}})
    assert found.found["q5"] == []
    whole = judged(index, QUERIES, QRELS)
    assert found.ranked()["rr10"] == pytest.approx(whole.ranked()["rr10"] * 4 / 5)
    assert found.first_stage()["recall"] == pytest.approx(whole.first_stage()["recall"] * 4 / 5)


def test_the_command(made: Path, beir: Path, index: Index) -> None:
    facts = json.loads(done("evaluate", made, beir, "--json"))
    found = judged(index, QUERIES, QRELS)
    assert facts["queries"] == 4 and facts["model"] == pytest.approx(found.ranked())
    assert facts["first stage"] == pytest.approx(found.first_stage()) and facts["both"] == pytest.approx(found.both())
    said = done("evaluate", made, beir)
    assert "4 queries" in said and "RR@10" in said and f"--first-stage-weight {facts['both']['weight']:g}" in said
    assert json.loads(done("evaluate", made, beir, "--first-stage", "all", "--json")).keys() == {"queries", "model"}
    assert "first stage" not in done("evaluate", made, beir, "--first-stage", "all")
    assert json.loads(done("evaluate", made, beir, "--limit", 1, "--json")).keys() == {
        "queries",
        "first stage",
        "model",
    }
    ranked = json.loads(done("rank", made, "the bridge", "--first-stage-weight", 2, "--json"))["hits"]
    assert [hit["score"] for hit in ranked] == pytest.approx(
        [hit.score for hit in index.rank("the bridge", first_stage_weight=2).hits]
    )
    asked = json.loads(done("ask", made, "the bridge", "--first-stage-weight", 2, "--json"))["answers"]
    assert asked[0]["hit"]["id"] in [hit["id"] for hit in ranked][:3]


def test_squad_questions_are_judged_by_their_documents(index: Index, tmp_path: Path) -> None:
    from plait.data import read_squad

    paragraphs = [
        {"context": text, "qas": [{"id": f"{id}-1", "question": QUERIES["q1"],
                                   "answers": [{"text": text[:4], "answer_start": 0}]}]}
        for id, text in TEXTS.items()
    ]  # fmt: skip
    file = tmp_path / "squad.json"
    file.write_text(json.dumps({"data": [{"title": "t", "paragraphs": paragraphs}]}))
    with pytest.raises(PlaitError, match="none of those that are relevant is in it"):
        rank_quality(index, read_squad(file))  # its documents have other ids
    done("index", file, "--store", tmp_path / "s.plait", "--model", index.settings.model)
    own = Index.open(tmp_path / "s.plait")
    found = rank_quality(own, read_squad(file))
    facts = json.loads(done("evaluate", tmp_path / "s.plait", file, "--json"))
    assert found["questions"] == facts["queries"] == 4 and found["rr10"] == pytest.approx(facts["model"]["rr10"])
    assert found["both_rr10"] == pytest.approx(facts["both"]["rr10"]) and found["weight"] == facts["both"]["weight"]
    # And by what is answered from the whole store, whichever passage they were asked of.
    answers = [(own.ask(question.question, read=2).answers[0].answer, question) for question in read_squad(file)]
    expected = answer_metrics(answers) | {"read": 2}
    facts = json.loads(done("evaluate", tmp_path / "s.plait", file, "--read", 2, "--json"))
    assert facts["answers"] == expected == answered(own, read_squad(file), read=2) | {"read": 2}
    gold = [replace(question, answers=((answer, 0),)) for answer, question in answers]
    assert answered(own, gold, read=2, candidates=4) == {"em": 100, "f1": 100, "questions": 4}
    assert "4 questions answered from 2 passages each: EM " in done("evaluate", tmp_path / "s.plait", file, "--read", 2)
    assert "answers" not in json.loads(done("evaluate", tmp_path / "s.plait", file, "--read", 0, "--json"))
    assert "--read must be 0 or more passages, but is -1" in refused(
        "evaluate", tmp_path / "s.plait", file, "--read", -1
    )
    assert answered(own, [replace(gold[0], question="zzz")]) == {"em": 0, "f1": 0, "questions": 1}


def test_questions_are_judged_by_words_whatever_a_model_compares(index: Index, tmp_path: Path) -> None:
    vectors = Plait.from_pretrained(index.settings.model, plan="join=3,compare=cosine", heads=("score",))
    dual = Index.create(tmp_path / "d.plait", vectors)
    dual.add([Document(id, text) for id, text in TEXTS.items()])
    asked = [Question(id, text.split()[-1], id, text, ((text[:4], 0),)) for id, text in TEXTS.items()]
    assert rank_quality(dual, asked)["first_stage_rr10"] == pytest.approx(1)
    by_vectors = judged(dual, {q.id: q.question for q in asked}, {q.id: {q.id: 1} for q in asked}).first_stage()
    assert by_vectors["rr10"] < 0.9  # which an index of vectors is searched by, if nobody says otherwise


def test_what_cannot_be_measured_is_refused(index: Index) -> None:
    with pytest.raises(PlaitError, match="1 of 5 have no relevant document, 'q9' first"):
        judged(index, {**QUERIES, "q9": "river"}, QRELS)
    nothing: list[tuple[str, Question]] = []
    for found in (nothing, iter(nothing)):
        with pytest.raises(PlaitError, match="answers are measured by questions, but there are none"):
            answer_metrics(found)
    wrong = Plait.from_pretrained(index.settings.model, plan=index.settings.plans, dtype=index.settings.dtype)
    opened = Index(index.store, wrong, index.settings)
    with torch.no_grad():
        next(wrong.heads["score"].parameters()).fill_(math.nan)
    with pytest.raises(PlaitError, match="scores must be finite numbers, but 6 of 6 are not"):
        opened.rank("river", first_stage="all")


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf])
def test_weights_that_cannot_be(index: Index, weight: float) -> None:
    with pytest.raises(PlaitError, match="first_stage_weight must be a number of 0 or more"):
        index.rank("river", first_stage_weight=weight)


def test_a_model_that_does_not_rank_is_refused(spans_only: Plait, tmp_path: Path) -> None:
    index = Index.create(tmp_path / "s.plait", spans_only, name="")
    index.add([Document("bridge", "the bridge of stone")])
    with pytest.raises(PlaitError, match="needs a checkpoint with a sequence-classification head"):
        judged(index, {"q": "bridge"}, {"q": {"bridge": 1}})


def test_refusals(index: Index, made: Path, beir: Path) -> None:
    with pytest.raises(PlaitError, match="first_stage=all gives no scores"):
        index.rank("river", first_stage="all", first_stage_weight=1.0)
    with pytest.raises(PlaitError, match="but there are none"):
        judged(index, {}, {})
    with pytest.warns(DataWarning, match="1 relevant documents are not in the index"):
        judged(index, {"q": "bridge"}, {"q": {"bridge": 1, "gone": 1}})
    with pytest.raises(PlaitError, match="but there is 1"):
        judged(index, {"q": "bridge"}, {"q": {"bridge": 1}}).both()
    assert "--limit must be 0 or more" in refused("evaluate", made, beir, "--limit", -1)
    assert "split must be one of test" in refused("evaluate", made, beir, "--split", "dev")
    assert "candidates must be 1 or more, but is 0" in refused("evaluate", made, beir, "--candidates", 0)
    text = beir / "corpus.jsonl"
    assert "--model is of a store, but --task" in refused("evaluate", made, beir, "--task", "rank", "--model", made)
    assert "are of a checkpoint's --task" in refused("evaluate", made, beir, "--label", "x")
    assert "leave them out" in refused("ask", "--text", text, "who?", "--first-stage-weight", 1)


def test_queries_and_judgements_as_trec_has_them(made: Path, beir: Path, index: Index, tmp_path: Path) -> None:
    bare, headed, qrels = tmp_path / "queries.tsv", tmp_path / "queries.csv", tmp_path / "qrels.txt"
    bare.write_text("".join(f"{id}\t{text}\n" for id, text in {**QUERIES, "q9": "nobody judged it"}.items()))
    headed.write_text("\n".join(["qid;query", *(f"{id};{text}" for id, text in QUERIES.items())]))
    qrels.write_text("".join(f"{q} 0 {d} {grade}\n" for q, of in QRELS.items() for d, grade in of.items()))
    expected = done("evaluate", made, beir, "--json")
    for queries in (bare, headed):
        assert done("evaluate", made, queries, "--qrels", qrels, "--out", tmp_path / "run", "--json") == expected
    run = {
        q: dict(sorted(of.items(), key=lambda pair: -pair[1])) for q, of in judged(index, QUERIES, QRELS).run(0).items()
    }
    assert read_run(tmp_path / "run") == run and list(run["q1"]) == list(read_run(tmp_path / "run")["q1"])
    qrels.write_text(qrels.read_text() + "q8 0 bridge 1\n")
    told = run_("evaluate", made, bare, "--qrels", qrels, "--json")
    assert "1 of 5 judged queries are not in" in told.err and told.out == expected
    qrels.write_text("q8 0 bridge 1\n")
    assert "none of the 1 in" in refused("evaluate", made, bare, "--qrels", qrels)
    bare.write_text("id\ttext\tmore\nq1\tthe bridge\n")
    assert "line 2 must have 3 cells, one a column, but has 2" in refused("evaluate", made, bare, "--qrels", qrels)
    headed.write_text("qid,words\nq1,the bridge\n")
    assert "must have one of 'text', 'query', 'question'" in refused("evaluate", made, headed, "--qrels", qrels)
    assert "queries must be a file of .jsonl" in refused("evaluate", made, tmp_path / "q.json", "--qrels", qrels)


def test_a_document_that_is_the_query_itself_does_not_count(index: Index) -> None:
    texts = {"castle": "the castle of the queen"}
    with pytest.warns(DataWarning, match="1 of 1 queries found an unjudged document of their own id"):
        found = judged(index, texts, {"castle": {"music": 1}})
    assert "castle" not in {document for document, _, _ in found.found["castle"]}
    known = judged(index, texts, {"castle": {"castle": 1}})  # which somebody judged
    assert "castle" in {document for document, _, _ in known.found["castle"]}
