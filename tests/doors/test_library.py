"""The library as a user calls it: names, shapes and types as sentence_transformers.CrossEncoder documents them."""

from __future__ import annotations

import inspect
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import plait
from plait import Document, Index, Known, Plait, PlaitError, Plan, TruncationWarning
from plait.errors import FallbackWarning
from plait.parts import Encoded
from tests.corpus import PASSAGES, QUESTION, raw


def test_what_the_package_exports() -> None:
    for name in plait.__all__:
        assert getattr(plait, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Crossing'"):
        plait.Crossing  # noqa: B018
    assert list(inspect.signature(Plait.predict).parameters)[1:3] == ["inputs", "batch_size"]
    assert list(inspect.signature(Plait.rank).parameters)[1:6] == [
        "query",
        "documents",
        "top_k",
        "return_documents",
        "batch_size",
    ]


# predict


def test_predict_shapes_of_one_label(model: Plait) -> None:
    pairs = [(QUESTION, passage) for passage in PASSAGES]
    scores = model.predict(pairs)
    assert isinstance(scores, np.ndarray) and scores.dtype == np.float32 and scores.shape == (4,)
    assert ((scores > 0) & (scores < 1)).all()  # a sigmoid
    single = model.predict(pairs[1])
    assert isinstance(single, np.float32) and single.ndim == 0
    assert single == pytest.approx(scores[1], abs=1e-6)
    np.testing.assert_allclose(model.predict([list(pair) for pair in pairs]), scores, atol=1e-6)
    np.testing.assert_allclose(1 / (1 + np.exp(-model.predict(pairs, activation_fn=raw))), scores, atol=1e-6)
    np.testing.assert_allclose(
        model.predict(pairs, activation_fn=torch.nn.Tanh()), np.tanh(model.predict(pairs, activation_fn=raw)), atol=1e-6
    )
    np.testing.assert_array_equal(model.predict(pairs, apply_softmax=True), scores)  # nothing to spread over
    empty = model.predict([])
    assert isinstance(empty, np.ndarray) and empty.dtype == np.float32 and empty.shape == (0,)


def test_predict_shapes_of_three_labels(three: Plait) -> None:
    pairs = [(QUESTION, passage) for passage in PASSAGES]
    scores = three.predict(pairs)
    assert scores.dtype == np.float32 and scores.shape == (4, 3)
    assert scores.min() < 0 or scores.max() > 1  # logits
    single = three.predict(pairs[2])
    assert single.shape == (3,) and single.dtype == np.float32
    soft = three.predict(pairs, apply_softmax=True)
    np.testing.assert_allclose(soft.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(np.exp(scores) / np.exp(scores).sum(1, keepdims=True), soft, atol=1e-6)
    np.testing.assert_allclose(
        three.predict(pairs, activation_fn=torch.nn.Sigmoid()), 1 / (1 + np.exp(-scores)), atol=1e-6
    )
    assert three.predict([]).shape == (0, 3)


def test_predict_shows_progress_where_asked(model: Plait, capsys: pytest.CaptureFixture[str]) -> None:
    model.predict([(QUESTION, PASSAGES[0])] * 3)
    assert capsys.readouterr().err == ""
    model.predict([(QUESTION, PASSAGES[0])] * 3, show_progress_bar=True)
    assert "3/3" in capsys.readouterr().err


def test_predict_for_three_roles(checkpoint_path: Path) -> None:
    """A claim and two pieces of evidence, which are known: LAIT's shape of input."""
    plan = Plan(join=1, mode="oneway", roles=("claim", "first", "second"), known=("first", "second"), reader="claim")
    model = Plait.from_pretrained(checkpoint_path, plan={"score": plan, "span": str(plan).replace("oneway", "joint")})
    rows = [("the river is yellow", PASSAGES[1], PASSAGES[3]), ("music", PASSAGES[2], PASSAGES[0])]
    scores = model.predict(rows)
    assert scores.shape == (2,) and model.predict(rows[0]) == pytest.approx(scores[0], abs=1e-6)
    swapped = model.predict([(claim, second, first) for claim, first, second in rows], activation_fn=raw)
    np.testing.assert_allclose(swapped, model.predict(rows, activation_fn=raw), atol=1e-5)  # evidence has no order
    assert abs(model.predict((rows[0][0], PASSAGES[0], PASSAGES[3])) - scores[0]) > 1e-4
    with pytest.raises(PlaitError, match=r"3 texts \(claim, first, second\), but number 1 has 2"):
        model.predict([rows[0], rows[0][:2]])
    with pytest.raises(PlaitError, match="two roles"):
        model.read("some text")


def test_one_model_has_many_plans(checkpoint_path: Path) -> None:
    """Plans give different scores, and none of them leaves a trace in the weights."""
    pairs = [(QUESTION, passage) for passage in PASSAGES]
    found = {}
    for plan in (
        "join=0,positions=continue",
        "join=0",
        "join=1",
        "join=1,mode=oneway",
        "join=1,mode=frozen",
    ):
        model = Plait.from_pretrained(checkpoint_path, plan={"score": plan})
        found[plan] = tuple(model.predict(pairs, activation_fn=raw).round(4).tolist())
    assert len(set(found.values())) == len(found)


# rank


def test_rank(model: Plait) -> None:
    ranked = model.rank(QUESTION, PASSAGES)
    assert [set(row) for row in ranked] == [{"corpus_id", "score"}] * 4
    assert sorted(row["corpus_id"] for row in ranked) == [0, 1, 2, 3]  # type: ignore[type-var]
    assert all(type(row["corpus_id"]) is int and type(row["score"]) is float for row in ranked)
    scores = model.predict([(QUESTION, passage) for passage in PASSAGES])
    assert [row["score"] for row in ranked] == pytest.approx(sorted(scores.tolist(), reverse=True), abs=1e-6)
    for row in ranked:
        assert row["score"] == pytest.approx(float(scores[row["corpus_id"]]), abs=1e-6)  # type: ignore[call-overload]
    known = model.encode("passage", PASSAGES)
    assert [row["corpus_id"] for row in model.rank(QUESTION, known)] == [row["corpus_id"] for row in ranked]
    best = model.rank(QUESTION, PASSAGES, top_k=2, return_documents=True)
    assert [row["corpus_id"] for row in best] == [row["corpus_id"] for row in ranked[:2]]
    assert [row["text"] for row in best] == [PASSAGES[row["corpus_id"]] for row in best]  # type: ignore[call-overload]
    assert len(model.rank(QUESTION, PASSAGES, top_k=99)) == 4
    assert model.rank(QUESTION, []) == []
    logits = model.rank(QUESTION, PASSAGES, activation_fn=raw)
    assert [row["corpus_id"] for row in logits] == [row["corpus_id"] for row in ranked]
    softmax = model.rank(QUESTION, PASSAGES, activation_fn=torch.nn.Softmax(dim=-1))  # of one label, as predict has it
    assert [row["score"] for row in softmax] == [1.0] * 4
    twins = model.rank(QUESTION, [PASSAGES[0]] * 3)
    assert [row["corpus_id"] for row in twins] == [0, 1, 2]  # ties stay in order


# encode, read, ask


def test_encode(model: Plait) -> None:
    found = model.encode("passage", PASSAGES)
    assert len(found) == 4 and all(isinstance(one, Encoded) for one in found)
    for one, text in zip(found, PASSAGES, strict=True):
        tokens = len(model.tokenizer(text, add_special_tokens=False)["input_ids"]) + 1  # and [SEP]
        assert set(one.states) == {"states.1", "states.2"}
        assert all(x.shape == (tokens, 32) and x.dtype == torch.float32 for x in one.states.values())
        assert one.offsets.shape == (tokens, 2) and one.offsets.dtype == np.int32 and one.cut == 0
    assert model.encode("passage", []) == []
    [one] = model.encode("query", [QUESTION], ["states.0", "key.2@2"])
    assert set(one.states) == {"states.0", "key.2@2"}


def test_read_and_ask(model: Plait) -> None:
    text = " ".join(PASSAGES) * 3
    known = model.read(text, passage_tokens=40, overlap=8)
    assert isinstance(known, Known) and len(known.passages) > 2 and known.tokens > 100
    first, second = known.ask(QUESTION), known.ask("where is the music?")
    for answer in (first, second):
        assert text[answer.start : answer.end] == answer.answer
        assert isinstance(answer.score, float) and answer.timing.total > 0
    again = known.ask(QUESTION)
    assert (again.answer, again.start, again.score) == (first.answer, first.start, first.score)
    assert known.ask(QUESTION, read=1).score <= known.ask(QUESTION, read=100).score + 1e-5


def test_ask_without_a_score_head(spans_only: Plait) -> None:
    text = " ".join(PASSAGES) * 3
    answer = spans_only.read(text, passage_tokens=24, overlap=6).ask(QUESTION)
    assert text[answer.start : answer.end] == answer.answer != ""


def test_a_passage_without_an_answer_hides_no_other(spans_only: Plait, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of passages that are ranked too, the best is chosen among those that have an answer, as an index does."""
    import plait.known
    from plait.spans import SpanFound

    text = "The river. " * 20 + "The stone. " * 20
    known = spans_only.read(text, passage_tokens=24, overlap=0)
    monkeypatch.setattr(spans_only, "no_answer", True)
    scores = [-1.0, *[5.0] * (len(known.passages) - 1)]
    monkeypatch.setattr(plait.known, "spans", lambda *_: [SpanFound("The", 0, 3, score) for score in scores])
    monkeypatch.setitem(spans_only.plans, "score", spans_only.plans["span"])
    monkeypatch.setattr(spans_only.config, "num_labels", 1)
    ranks = np.array([[100.0], *[[0.0]] * (len(scores) - 1)], np.float32)
    monkeypatch.setattr(plait.known, "score", lambda *_: ranks)
    assert known.ask(QUESTION, read=100).score == 5.0
    scores = [-1.0] * len(scores)
    assert known.ask(QUESTION, read=100).answer == ""


def test_one_plan_for_all_heads_is_the_span_heads_as_far_as_it_can_have_it(
    checkpoint_path: Path, tmp_path: Path
) -> None:
    """It reads the passage, all of its tokens, and together with the question; a plan that it was saved with stays."""

    def span(plan: str, folder: Path = checkpoint_path) -> str:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = str(Plait.from_pretrained(folder, plan=plan).plan("span"))
        assert bool(said) is (";" not in plan and ("mode=" in plan or "keep.passage" in plan or "compare" in plan))
        return found

    assert span("join=1,mode=oneway") == span("join=1,mode=frozen,states=kv") == "join=1,mode=joint,reader=passage"
    kept = "join=2,mode=joint,reader=passage,keep.query=3"
    assert span("join=2,keep.passage=4,keep.query=3") == kept
    assert "keep.passage=4" in span("score: join=2,keep.passage=4; span: join=2,keep.passage=4")
    Plait.from_pretrained(checkpoint_path, plan=kept).save_pretrained(tmp_path / "saved")
    assert span("join=1,mode=oneway", tmp_path / "saved") == span("join=3,compare=cosine", tmp_path / "saved") == kept
    assert span("join=1", tmp_path / "saved") == "join=1,mode=joint,reader=passage"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(checkpoint_path: Path, tmp_path: Path, dtype: str) -> None:
    """Scores are float32 and close to those of float32 weights, live and from a store."""
    half, whole = Plait.from_pretrained(checkpoint_path, dtype=dtype), Plait.from_pretrained(checkpoint_path)
    pairs = [(QUESTION, passage) for passage in PASSAGES]
    found = half.predict(pairs, activation_fn=raw)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, whole.predict(pairs, activation_fn=raw), atol=0.1)
    index = Index.create(tmp_path / "s.plait", half, name="", codec=dtype)
    index.add(Document(str(i), text) for i, text in enumerate(PASSAGES))
    hits = index.rank(QUESTION, first_stage="all").hits
    np.testing.assert_allclose([hit.score for hit in hits], [found[int(hit.id)] for hit in hits], atol=0.03)
    assert index.ask(QUESTION).answers and half.read(PASSAGES[1]).ask(QUESTION).answer


def test_a_text_gives_one_answer_however_many_passages_are_read(model: Plait) -> None:
    known = model.read(" ".join(PASSAGES * 3), passage_tokens=24, overlap=4)
    assert len(known.passages) > 3
    every = len(known.passages)
    best, more, fewer = (known.ask(QUESTION, read=read).score for read in (every, every + 7, every - 1))
    assert more == pytest.approx(best, abs=1e-5) and fewer <= best + 1e-5


@pytest.mark.parametrize(
    "said",
    [
        {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}},
        {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"},
    ],
    ids=["new", "old"],
)
def test_the_activation_that_a_config_names(checkpoint_path: Path, tmp_path: Path, said: dict[str, object]) -> None:
    folder = tmp_path / "bert"
    shutil.copytree(checkpoint_path, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | said))
    model, pairs = Plait.from_pretrained(folder), [(QUESTION, passage) for passage in PASSAGES]
    np.testing.assert_array_equal(model.predict(pairs), model.predict(pairs, activation_fn=raw))


def test_a_folder_that_sentence_transformers_wrote(checkpoint_path: Path, tmp_path: Path) -> None:
    """Version 6 says the activation in a file of its own, and how long a pair may be in the tokenizer's."""
    folder = tmp_path / "bert"
    shutil.copytree(checkpoint_path, folder)
    said = folder / "config_sentence_transformers.json"
    said.write_text(json.dumps({"activation_fn": "torch.nn.modules.linear.Identity", "prompts": {}}))
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"model_max_length": 20}))
    full = {"score": "join=0,positions=continue"}
    given = {"activation_fn": "torch.nn.modules.linear.Identity", "prompts": {"x": "query: "}}
    prompted = tmp_path / "prompted"
    shutil.copytree(folder, prompted)
    (prompted / said.name).write_text(json.dumps(given))
    Plait.from_pretrained(prompted)  # none is put before texts unless one is named
    (prompted / said.name).write_text(json.dumps(given | {"default_prompt_name": "x"}))
    with pytest.warns(FallbackWarning, match="puts the prompt 'query: ' before texts"):
        Plait.from_pretrained(prompted)
    model, whole = (Plait.from_pretrained(path, plan=full) for path in (folder, checkpoint_path))
    np.testing.assert_array_equal(
        model.predict((QUESTION, "river")), whole.predict((QUESTION, "river"), activation_fn=raw)
    )
    with pytest.warns(TruncationWarning, match="longer than the 20 tokens"):
        cut = model.predict((QUESTION, "river " * 40))
    room = 20 - 3 - len(model.tokenizer(QUESTION, add_special_tokens=False)["input_ids"])
    assert cut == pytest.approx(whole.predict((QUESTION, "river " * room), activation_fn=raw), abs=1e-5)
    model.save_pretrained(tmp_path / "saved")
    again = Plait.from_pretrained(tmp_path / "saved")
    np.testing.assert_array_equal(again.predict((QUESTION, "river")), model.predict((QUESTION, "river")))
    said.write_text("{")
    with pytest.warns(FallbackWarning, match="config_sentence_transformers.json of .* cannot be read"):
        Plait.from_pretrained(folder)


def test_what_a_plan_for_all_heads_means_is_said_where_it_was_given(checkpoint_path: Path) -> None:
    with pytest.warns(FallbackWarning, match="the span head .* for it cannot have") as told:
        Plait.from_pretrained(checkpoint_path, plan="join=1,mode=oneway")
    assert [one.filename for one in told] == [__file__]


def test_dropout_is_for_training(checkpoint_path: Path) -> None:
    model, pairs = Plait.from_pretrained(checkpoint_path), [(QUESTION, passage) for passage in PASSAGES]
    expected = model.predict(pairs)
    np.testing.assert_array_equal(model.train().predict(pairs), expected)


def test_one_plan_for_both_heads(checkpoint_path: Path) -> None:
    model = Plait.from_pretrained(checkpoint_path, plan="join=1")
    assert (model.plan("score").reader, model.plan("span").reader) == ("query", "passage")


def test_scores_of_half_precision_do_not_tie(checkpoint_path: Path) -> None:
    """A bfloat16 number has 8 bits: heads are computed in float32, and their scores are finer."""
    model = Plait.from_pretrained(checkpoint_path, dtype="bfloat16")
    scores = torch.from_numpy(model.predict([(QUESTION, passage) for passage in PASSAGES], activation_fn=raw))
    assert not torch.equal(scores, scores.bfloat16().float())
    assert {p.dtype for p in model.base.encoder.parameters()} == {torch.bfloat16}  # type: ignore[union-attr]


def test_saving_a_model_of_half_precision(checkpoint_path: Path, tmp_path: Path) -> None:
    Plait.from_pretrained(checkpoint_path, dtype="float16").save_pretrained(tmp_path / "half")
    saved = load_file(tmp_path / "half" / "model.safetensors")
    assert {weight.dtype for weight in saved.values()} == {torch.float16}
