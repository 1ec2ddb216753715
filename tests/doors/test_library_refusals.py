"""What the library refuses, in one sentence each, and what it only warns about."""

from __future__ import annotations

import math
import resource
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from plait import Document, Index, Plait, PlaitError, Plan, TruncationWarning, train
from plait.parts import states_of
from tests.corpus import PASSAGES, QUESTION, raw
from tests.small import LAYERS, small_checkpoint


@pytest.mark.parametrize("text", ["", "  \n\t", "\u3000"])
def test_empty_texts(model: Plait, tmp_path: Path, text: str) -> None:
    known = model.read("the river")
    index = Index.create(tmp_path / "s.plait", model, name="", passage_tokens=40, overlap=8)
    index.add([Document("a", "the river")])
    for call in (
        lambda: model.rank(text, PASSAGES),
        lambda: model.rank(QUESTION, [*PASSAGES, text]),
        lambda: model.predict((QUESTION, text)),
        lambda: model.encode("passage", [text]),
        lambda: model.read(text),
        lambda: known.ask(text),
        lambda: index.rank(text),
        lambda: index.ask(text),
        lambda: index.add([Document("b", text)]),
    ):
        with pytest.raises(PlaitError, match=r"character that|needs at least one word|must not be empty"):
            call()
    assert index.store.ids() == ["a"]


def test_a_checkpoint_that_finds_no_room(model: Plait, tmp_path: Path) -> None:
    """A full disk, played by a limit on the size of files: what was saved before stays whole."""
    model.save_pretrained(tmp_path / "saved")
    before = {file.name: file.read_bytes() for file in (tmp_path / "saved").iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        with pytest.raises(PlaitError, match="free some space"):
            model.save_pretrained(tmp_path / "saved")
        with pytest.raises(PlaitError, match="free some space"):
            model.save_pretrained(tmp_path / "new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {file.name: file.read_bytes() for file in (tmp_path / "saved").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_what_cannot_be_asked(model: Plait, three: Plait, spans_only: Plait, tmp_path: Path) -> None:
    index_of_three = Index.create(tmp_path / "s.plait", three, name="", passage_tokens=40, overlap=8)
    index_of_three.add([Document("a", "the river")])
    index_of_both = Index.create(tmp_path / "b.plait", model, name="", passage_tokens=40, overlap=8)
    cases = {
        r"2 texts \(query, passage\), but number 0 has 3": lambda: model.predict([("a", "b", "c")]),
        "number 1 has 1": lambda: model.predict([("a", "b"), ("c",)]),
        "list of 2 texts .* but number 1 is 'cd'": lambda: model.predict([("a", "b"), "cd"]),
        "number 0 is {'query'": lambda: model.predict([{"query": "a", "passage": "b"}]),  # type: ignore[list-item]
        "examples must be a list of texts, but are None": lambda: model.predict(None),  # type: ignore[arg-type]
        "must have all of them, but number 1 has no passage": lambda: model.rank("a", ["b", None]),  # type: ignore[list-item]
        "not blank, but number 57 is ''": lambda: model.rank("a", [*"b" * 57, "", "c"]),
        "not blank, but number 57 is nan": lambda: model.rank("a", [*"b" * 57, float("nan")]),  # type: ignore[list-item]
        "documents must be a list of texts, but are 'bcd'": lambda: model.rank("a", "bcd"),
        "texts must be a list of texts, but are 'x'": lambda: model.encode("passage", "x"),
        "documents must be a list of ids, but are 'ab'": lambda: index_of_both.delete("ab"),
        "a head must be one of score, span, text, but is 'foo'": lambda: model.plan("foo"),
        "new_heads must be among .* but have scor": lambda: Plait.from_pretrained(tmp_path, heads=("scor",)),
        "a plan must be a text, but is None": lambda: Plan.parse(None),  # type: ignore[arg-type]
        "candidates must be 1 or more, but is 0": lambda: index_of_both.rank("a", candidates=0),
        "candidates must be a number, or documents by their ids, but are '5'; p": lambda: index_of_both.rank(
            "a", candidates="5"
        ),
        "documents by their ids, but are .3, 4.; pass .'a', 'b'. or": lambda: index_of_both.rank(
            "a",
            candidates=[3, 4],  # type: ignore[list-item]
        ),
        "candidates must have finite scores, but 'y' has nan": lambda: index_of_both.rank(
            "a", candidates={"x": 1.0, "y": math.nan}
        ),
        "finite scores, but 'x' has 1e.39; give numbers": lambda: index_of_both.rank("a", candidates={"x": 1e39}),
        "finite scores, but 'x' has 1000": lambda: index_of_both.rank("a", candidates={"x": 10**400}),
        "finite scores, but 'x' has None": lambda: index_of_both.rank("a", candidates={"x": None}),
        "or documents by their ids, but are <generator": lambda: index_of_both.rank(
            "a",
            candidates=(id for id in "ab"),  # type: ignore[arg-type]
        ),
        "first_stage must be one of auto, bm25, vector, all, but is 'bogus'": lambda: index_of_both.rank(
            "a",
            candidates=["a"],
            first_stage="bogus",  # type: ignore[arg-type]
        ),
        "scores if these are to count 2 times, but are ids alone": lambda: index_of_both.rank(
            "a", candidates=["a"], first_stage_weight=2
        ),
        "in place of a first stage, but there is first_stage=all too; leave": lambda: index_of_both.rank(
            "a", candidates=["a"], first_stage="all"
        ),
        "one label, but this one has 3": lambda: three.rank(QUESTION, PASSAGES),
        "sequence-classification head": lambda: spans_only.predict([("a", "b")]),
        "sequence-classification head, ": lambda: spans_only.rank("a", ["b"]),
        "one label, but this one has 3; train": lambda: index_of_three.rank(QUESTION),
        "read must be 1 or more, but is -5": lambda: index_of_both.ask("what?", read=-5),
        "half of a surrogate pair; check": lambda: model.predict([("a", "\udce9")]),
        "half of a surrogate pair; write": lambda: index_of_both.add([Document("b", "a \ud800 b")]),
        "the id must be a text, but is a number": lambda: index_of_both.add([Document(1, "x")]),  # type: ignore[arg-type]
        "the text must be a text, but is null": lambda: index_of_both.add([Document("c", None)]),  # type: ignore[arg-type]
        "metadata must be something that JSON": lambda: index_of_both.add([Document("d", "x", {"at": b"y"})]),
        "read must be 1 or more, but is 0": lambda: model.read("the river").ask("what?", read=0),
        "question-answering head": lambda: three.read("the river").ask("what?"),
        "top_k must be 1 or more, but is 0": lambda: model.rank(QUESTION, PASSAGES, top_k=0),
        "top_k must be 1 or more, but is -3": lambda: model.rank(QUESTION, PASSAGES, top_k=-3),
        "batch_size must be 1 or more, but is 0": lambda: model.predict([("a", "b")], batch_size=0),
        "role must be one of query, passage": lambda: model.encode("document", ["a"]),
        "must have all of them, but number 0 has no query": lambda: model.predict([(None, "b")]),
        "names must be one tensor or more": lambda: model.encode("passage", ["a"], []),
        "top_k must be 1 or more, but is None": lambda: index_of_both.ask("what?", top_k=None),  # type: ignore[arg-type]
        "first_stage=all has no candidates, but they are to be 3": lambda: index_of_both.rank(
            "a", candidates=3, first_stage="all"
        ),
        "a query's vector is for first_stage=vector, but that is bm25": lambda: index_of_both.rank(
            "a", first_stage="bm25", vector=np.ones(2, np.float32)
        ),
        "number 0 is 5": lambda: model.predict([("a", 5)]),  # type: ignore[list-item]
        "named by a folder or a hub id, but this is None": lambda: Plait.from_pretrained(None),  # type: ignore[arg-type]
        "config must be a TrainConfig, but is {}": lambda: train({}),  # type: ignore[arg-type]
        "overlap of at most half": lambda: model.read("the river", passage_tokens=4),
        "tokens is '40'": lambda: model.read("a", passage_tokens="40"),  # type: ignore[arg-type]
        "overlap": lambda: model.read("the river", passage_tokens=40, overlap=35),
        "reads [0-9]+ tokens of one, but passage_tokens is 9999": lambda: model.read("a", passage_tokens=9999),
        "of one, but passage_tokens is 9998; pass at most": lambda: Index.create(
            tmp_path / "c.plait", model, name="", passage_tokens=9998
        ),
        "one is 'states.9'": lambda: model.encode("passage", ["a"], ["states.9"]),
    }
    for words, call in cases.items():
        with pytest.raises(PlaitError, match=words) as told:
            call()
        assert "\n" not in str(told.value)


@pytest.mark.parametrize("plan", [f"score: join={LAYERS}; span: join=1", f"score: join=1; span: join={LAYERS}"])
def test_a_dual_encoder_answers_nothing(checkpoint_path: Path, tmp_path: Path, plan: str) -> None:
    """Its heads would read one text alone: states can be had, scores and answers are refused."""
    model = Plait.from_pretrained(checkpoint_path, plan=plan)
    assert model.encode("passage", PASSAGES)[0].states[f"states.{LAYERS}"].shape[1] == 32
    for call in (lambda: model.read("some text"), lambda: Index.create(tmp_path / "s.plait", model, name="")):
        with pytest.raises(PlaitError, match=f"must be below {LAYERS} .* but is {LAYERS}; pass join={LAYERS - 1}"):
            call()
    if plan.startswith(f"score: join={LAYERS}"):
        with pytest.raises(PlaitError, match="must be below"):
            model.predict([(QUESTION, PASSAGES[0])])
    assert not (tmp_path / "s.plait").exists()


def test_states_of_another_model_are_refused(model: Plait, checkpoint_path: Path) -> None:
    """Law 8 without a store: what `encode` gave knows whose it is."""
    known = model.encode("passage", PASSAGES)
    other = Plait.from_pretrained(checkpoint_path, plan=model.plans)
    other.predict([(QUESTION, known[0])])  # the same weights
    with torch.no_grad():
        next(other.base.parameters()).mul_(1.5)
    later = Plait.from_pretrained(
        checkpoint_path, plan={head: replace(plan, positions=7) for head, plan in model.plans.items()}
    )
    for stranger in (other, later):
        with pytest.raises(PlaitError, match="the states of a passage must come from the model that reads them"):
            stranger.predict([(QUESTION, known[0])])


def test_a_tokenizer_that_was_used_is_the_same(model: Plait, tmp_path: Path) -> None:
    """It remembers how it was last called, which is nothing that a model or a store goes by."""
    before = model.fingerprint
    index = Index.create(tmp_path / "s.plait", model, name="")
    known = model.encode("query", [QUESTION])
    model.tokenizer(["a", "b c"], padding=True, truncation=True, max_length=3)
    assert (
        model.fingerprint == before
        and Index.open(index.store.path, model).store.fingerprint.tokenizer == before["tokenizer"]
    )
    model.predict([(known[0], PASSAGES[0])])


def test_scores_that_are_no_numbers(checkpoint_path: Path) -> None:
    """They rank nothing and answer nothing."""
    broken = Plait.from_pretrained(checkpoint_path, plan="score: join=1,mode=oneway; span: join=1")
    with torch.no_grad():
        for head in broken.heads.values():
            next(head.parameters()).fill_(torch.nan)
    for call in (lambda: broken.rank(QUESTION, PASSAGES), lambda: broken.read(PASSAGES[0]).ask(QUESTION)):
        with pytest.raises(PlaitError, match="scores must be finite numbers, but"):
            call()


def test_a_plan_for_a_head_that_is_not_there(tmp_path: Path) -> None:
    folder = small_checkpoint(tmp_path / "m", heads=("score",))
    for plan in ({"span": "join=2"}, "score: join=1; span: join=2"):
        with pytest.raises(PlaitError, match=r"heads that the checkpoint has \(score\), but one is for 'span'"):
            Plait.from_pretrained(folder, plan=plan)
    Plait.from_pretrained(folder, plan="score: join=1; span: join=2", heads=("score",))


def test_a_model_that_leaves_known_texts_no_room(checkpoint_path: Path, tmp_path: Path) -> None:
    with pytest.raises(PlaitError, match="must have room for 8 tokens of a known text, but this one has"):
        room = Plait.from_pretrained(checkpoint_path).config.max_position_embeddings
        plan = f"join=1,positions={room - 8}"
        Index.create(tmp_path / "s", Plait.from_pretrained(checkpoint_path, plan=f"score: {plan}; span: {plan}"))


def test_plans_that_cannot_be(checkpoint_path: Path) -> None:
    for plan, words in {
        "join=9": "between 0 and 3 .*is 9; pass join=3",
        "join=1,mode=sideways": "mode must be one of joint, oneway, frozen, but is 'sideways'",
        "jion=1": "'jion'",
        "score: join=1; reading: join=2": "'reading'",
        "score: join=1; join=2": "names no head",
        "score: join=1; score: join=2": "names its head again",
        "join=1,roles=query+passage.1": "free of blanks and of the marks of plans, .* but one is 'passage.1'",
        '{"roles": 3}': "roles must be a list of names, but is 3",
        '{"known": [1]}': "known must be a list of names",
        "score: join=1,roles=a+b,known=b,reader=a; span: join=1": "read the same roles",
    }.items():
        with pytest.raises(PlaitError, match=words):
            Plait.from_pretrained(checkpoint_path, plan=plan)
    with pytest.raises(PlaitError, match="dtype must be one of"):
        Plait.from_pretrained(checkpoint_path, dtype="int3")


def test_long_texts_are_cut_with_a_warning(model: Plait, checkpoint_path: Path) -> None:
    long = "river " * 300
    with pytest.warns(
        TruncationWarning, match=r"1 of 1 passage texts are longer than the 127 tokens .* 173 tokens at their ends"
    ):
        cut = model.predict((QUESTION, long), activation_fn=raw)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cut == pytest.approx(model.predict((QUESTION, "river " * 127), activation_fn=raw), abs=1e-5)
    with pytest.warns(TruncationWarning, match="1 of 1 query texts"):
        model.rank(long, ["river"])
    with pytest.warns(TruncationWarning, match="query"):
        assert model.read("the river").ask(long).answer
    full = Plait.from_pretrained(checkpoint_path, plan={"score": "join=0,positions=continue"})
    with pytest.warns(
        TruncationWarning, match=r"1 of 2 examples are longer than the 128 tokens this model reads; 80 tokens"
    ):
        scores = full.predict([(QUESTION, "river " * 200), (QUESTION, "river")], activation_fn=raw)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fits = full.predict((QUESTION, "river " * (128 - 3 - 5)), activation_fn=raw)
    assert scores[0] == pytest.approx(fits, abs=1e-5)


@pytest.mark.parametrize("counts", [(500, 90), (90, 500), (500, 400), (400, 500), (5, 300), (300, 300), (62, 64)])
def test_both_texts_too_long_for_the_full_pair_model(checkpoint_path: Path, counts: tuple[int, int]) -> None:
    """As the tokenizer's own longest_first."""
    full = Plait.from_pretrained(checkpoint_path, plan={"score": "join=0,positions=continue"})
    texts = "river " * counts[0], "stone " * counts[1]
    with pytest.warns(TruncationWarning):
        states, _ = states_of(full, full.plan("score"), [texts])
    theirs = full.tokenizer(*texts, truncation=True, max_length=128)["token_type_ids"]
    lengths = [states[role].layout.lengths[0] for role in ("query", "passage")]
    assert lengths == [theirs.count(0), theirs.count(1)] and sum(lengths) == 128


def test_what_is_no_document_text_or_model_is_said_to_be_none(model: Plait, tmp_path: Path) -> None:
    index = Index.create(tmp_path / "s.plait", model)
    for wrong in ({"id": "a", "text": "b"}, "a text", ("a", "b")):
        with pytest.raises(PlaitError, match=r"documents must be plait.Document\(id, text\), but one is"):
            index.add([wrong])  # type: ignore[list-item]
    for call in (
        lambda: Index.create(tmp_path / "t.plait", "bert"),  # type: ignore[arg-type]
        lambda: Index.open(tmp_path / "s.plait", "bert"),  # type: ignore[arg-type]
    ):
        with pytest.raises(PlaitError, match="model must be a Plait"):
            call()
    with pytest.raises(PlaitError, match=r"use Plait\.from_pretrained"):
        Plait("bert")  # type: ignore[arg-type]
    with pytest.raises(PlaitError, match="documents must be several, but are the one 'a'"):
        index.add(Document("a", "river"))  # type: ignore[arg-type]
    with pytest.raises(PlaitError, match="a text to be read must be a str"):
        model.read(["a text"])  # type: ignore[arg-type]
    index.add([Document(str(n), "river stone") for n in range(12)])
    assert len(index.rank("river", None).hits) == 12 and len(index.rank("river").hits) == 10
