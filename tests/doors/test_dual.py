"""Dual encoders through the doors of a user: trained, saved, stored, ranked; and plans that are refused."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

from plait.data import Document, Example, read_examples
from plait.errors import FallbackWarning, PlaitError
from plait.evaluate import example_quality
from plait.index import Index
from plait.lessons import example_lessons
from plait.model import Plait
from plait.plan import Plan
from plait.teacher import Teacher
from tests.command import config, done, refused, run
from tests.copper import WORDS, write
from tests.small import small_checkpoint

ONE_THREAD = pytest.mark.usefixtures("one_thread")


@ONE_THREAD
@pytest.mark.parametrize(
    ("task", "plan", "metric", "chance"),
    [
        ("class", "join=3,compare=mlp,pool=mean", "accuracy", 60.0),
        ("rank", "join=3,compare=cosine,pool=mean", "rr10", 0.85),
        ("rank", "join=3,compare=maxsim,keep.passage=4,selector=nearest", "rr10", 0.85),
        ("class", "join=3,compare=mlp,bottleneck=16", "accuracy", 60.0),
        ("rank", "join=3,compare=maxsim,bottleneck=12", "rr10", 0.85),
        ("rank", "join=1,mode=oneway,keep.passage=4", "rr10", 0.85),
        ("rank", "join=1,mode=oneway,bottleneck=8", "rr10", 0.85),
        ("rank", "join=1,keep.passage=4@1+3@2,keep.query=2@2,selector=tome", "rr10", 0.85),
    ],
)
def test_it_learns_and_is_saved_whole(tmp_path: Path, task: str, plan: str, metric: str, chance: float) -> None:
    write(tmp_path / "train.jsonl", task, 150, seed=1)
    examples = read_examples(write(tmp_path / "dev.jsonl", task, 60, seed=2))
    done("train", config(tmp_path, task=task, score=plan))
    model = Plait.from_pretrained(tmp_path / "out" / "final")
    assert example_quality(model, task, examples)[metric] > chance
    model.save_pretrained(tmp_path / "again")
    again = Plait.from_pretrained(tmp_path / "again")
    pairs = [(e.texts[0], e.texts[1]) for e in examples[:8]]
    np.testing.assert_allclose(again.predict(pairs), model.predict(pairs), atol=1e-6)
    assert again.plans == model.plans
    if "compare" in plan:
        names = load_file(tmp_path / "again" / "model.safetensors").keys()
        assert any(n.startswith("compare.") for n in names) and not any(n.startswith("classifier.") for n in names)


def test_a_dual_encoder_learns_from_a_full_model(tmp_path: Path) -> None:
    """The teacher reads both texts together; the student never does."""
    write(tmp_path / "train.jsonl", "rank", 20, seed=1)
    teacher = small_checkpoint(tmp_path / "teacher", heads=("score",))
    done("train", config(tmp_path, task="rank", teacher=str(teacher), labels=0.0, margin=1.0, epochs=1.0,
                         score="join=3,compare=cosine"))  # fmt: skip
    assert Plait.from_pretrained(tmp_path / "out" / "final").plan("score").compare == "cosine"


def test_cosine_and_maxsim_are_the_formula(tmp_path: Path) -> None:
    folder = small_checkpoint(tmp_path / "m", heads=())
    pairs = [("river stone", "the engine of the garden"), ("music", "river")]
    for compare in ("cosine", "maxsim"):
        model = Plait.from_pretrained(folder, plan=f"join=3,compare={compare},pool=mean")
        found = model.predict(pairs, activation_fn=lambda x: x)
        for pair, score in zip(pairs, found, strict=True):
            texts = zip(("query", "passage"), pair, strict=True)
            u, v = (model.encode(role, [text], ["states.3"])[0].states["states.3"] for role, text in texts)
            if compare == "cosine":
                expected = torch.cosine_similarity(u.mean(0), v.mean(0), dim=0)
            else:
                expected = torch.stack([max(torch.cosine_similarity(x, y, dim=0) for y in v) for x in u]).mean()
            assert score == pytest.approx(20 * expected.item(), abs=1e-3)


@pytest.mark.parametrize("kind", ["bert", "roberta", "xlnet", "modernbert"])
@pytest.mark.parametrize("mode", ["cls", "mean"])
def test_vectors_are_those_of_sentence_transformers(tmp_path: Path, kind: str, mode: str) -> None:
    """Each text framed as the tokenizer frames it alone, pooled as the folder says, in its old or its new words."""
    folder = small_checkpoint(tmp_path / "m", kind, heads=())
    (folder / "1_Pooling").mkdir()
    names = {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens"}
    old = {name: key == mode for key, name in names.items()}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(old if mode == "cls" else {"pooling_mode": mode}))
    kinds = {"": "models.Transformer", "1_Pooling": "models.Pooling", "2_Normalize": "models.Normalize"}
    modules = [{"path": path, "type": f"sentence_transformers.{kind}"} for path, kind in kinds.items()]
    (folder / "modules.json").write_text(json.dumps(modules))
    model = Plait.from_pretrained(folder, plan="join=3,compare=cosine")
    oracle, tokenizer = AutoModel.from_pretrained(folder), model.tokenizer
    vectors = []
    pair = ("river stone", "the engine of the garden")
    for text in pair:
        with torch.no_grad():
            last = oracle(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        vectors.append(last[0] if mode == "cls" else last.mean(0))
    expected = 20 * torch.cosine_similarity(vectors[0], vectors[1], dim=0).item()
    assert model.predict(pair) == pytest.approx(expected, abs=1e-3)
    assert Plait.from_pretrained(folder, plan="join=3,compare=cosine,pool=first").plan("score").pool == "first"
    modules.append({"path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.warns(FallbackWarning, match="are made with Dense, which is left out here"):
        Plait.from_pretrained(folder, plan="join=3,compare=cosine")


def test_a_trained_dual_encoder_pools_as_it_was_trained(tmp_path: Path) -> None:
    """A plan in text form need not repeat it."""
    folder, plan = small_checkpoint(tmp_path / "m", heads=()), "join=3,compare=cosine,pool=first"
    Plait.from_pretrained(folder, plan=plan).save_pretrained(tmp_path / "d")
    assert Plait.from_pretrained(tmp_path / "d", plan="join=3,compare=cosine").plan("score").pool == "first"


def test_a_full_model_teaches_what_reads_texts_alone(tmp_path: Path) -> None:
    """The teacher reads the dual encoder's texts as the pair that it was trained on."""
    folder = small_checkpoint(tmp_path / "m", heads=("score",))
    dual = Plait.from_pretrained(folder, plan="join=3,compare=mlp", new_heads=["score"])
    teacher = Plait.from_pretrained(folder)
    example = Example("1", ("river stone", "the garden"), 1.0)
    [lesson] = example_lessons("value", [example], dual.text, classes=("0",), batch=1, candidates=2, longest=64,
                               longest_written=8, seed=0)  # fmt: skip
    [output] = Teacher(teacher, dual.plans, dual.text).outputs(lesson, lesson.targets)
    expected = teacher.predict(example.texts)
    assert output.logits.item() == pytest.approx(float(expected), abs=1e-4)


def test_a_vector_index_ranks_as_the_dual_encoder_does(tmp_path: Path) -> None:
    """The table's own vectors are those that the head compares, so that its search is the ranking."""
    folder = small_checkpoint(tmp_path / "m", heads=())
    rng = random.Random(1)
    documents = [Document(f"d{i}", " ".join(rng.sample(WORDS, 3))) for i in range(30)]
    for pool in ("first", "mean"):
        model = Plait.from_pretrained(folder, plan=f"join=3,compare=cosine,pool={pool}")
        index = Index.create(tmp_path / f"{pool}.plait", model, name=str(folder), codec="float32", vectors="pooled")
        index.add(documents)
        assert index.stats().state_bytes == 30 * 32 * 4  # one vector a passage
        every = index.rank("river of stone", 30, first_stage="all").hits
        some = index.rank("river of stone", 5, candidates=5, first_stage="vector").hits
        assert [hit.score for hit in some] == pytest.approx([hit.score for hit in every[:5]], abs=1e-4)


def test_rank_orders_by_what_a_sigmoid_would_tie(tmp_path: Path) -> None:
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "m", heads=()), plan="join=3,compare=maxsim")
    rng = random.Random(0)
    texts = [" ".join(rng.sample(WORDS, 4)) for _ in range(80)]
    logits = model.predict([("river stone", text) for text in texts], activation_fn=torch.nn.Identity())
    found = [hit["corpus_id"] for hit in model.rank("river stone", texts, activation_fn=torch.nn.Sigmoid())]
    assert found == np.argsort(-logits, kind="stable").tolist()


def test_a_checkpoint_goes_from_one_head_to_another(tmp_path: Path) -> None:
    """A plain encoder compares at once; a dual encoder can be trained on as another, or split."""
    AutoModel.from_pretrained(small_checkpoint(tmp_path / "m", heads=())).save_pretrained(tmp_path / "plain")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "plain" / file).write_bytes((tmp_path / "m" / file).read_bytes())
    plain = Plait.from_pretrained(tmp_path / "plain", plan="join=3,compare=cosine")
    assert plain.predict(("river", "stone")).shape == ()
    plain.save_pretrained(tmp_path / "dual")
    write(tmp_path / "train.jsonl", "rank", 4, seed=1)
    start = str(tmp_path / "dual")
    for name, plan in (("split", "join=1"), ("mlp", "join=3,compare=mlp")):
        done("train", config(tmp_path, task="rank", model=start, score=plan, epochs=1.0, output=str(tmp_path / name)))
        begun = Plait.from_pretrained(start, plan=plan, new_heads=["score"])
        start = str(tmp_path / name / "final")
        model = Plait.from_pretrained(start)
        assert model.plan("score") == Plan.parse(plan)
        # What was a dual encoder's text alone is a pair's second one where texts meet.
        assert begun.text.single == model.text.single == ("compare" in plan)
    write(tmp_path / "train.jsonl", "class", 8, seed=1)
    result = run("train", config(tmp_path, task="class", model=start, score="join=3,compare=mlp", epochs=1.0))
    assert result.code == 0 and "takes its place, untrained" in result.err
    said = refused(
        "train", config(tmp_path, task="class", teacher=start, score="join=1", output=str(tmp_path / "taught"))
    )
    assert "must read both texts together" in said


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        ("keep.passage=inf", "1 or more whole tokens"),
        ("keep.passage=1.0", "whole tokens"),
        ('{"join": 1, "keep": [{"role": ["passage"], "tokens": 3}]}', "names its role"),
        ('{"join": 1, "keep": [{"role": "passage"}]}', "must be a list of budgets"),
        ("keep.passage=0", "1 or more whole tokens"),
        ("keep.passage=-3", "1 or more whole tokens"),
        ("keep.passage=2.5", "in whole tokens"),
        ("keep.passage=many", "must be a number"),
        ("keep.passage=3@x", "layer number"),
        ("keep.passage=1.5^2", "share^layers"),
        ("keep.nobody=3", "the role of a budget must be one of query, passage"),
        ("join=1,keep.passage=4@2,keep.passage=3", "names each key once"),
        ("join=1,keep.passage=4@2+3", "in order"),
        ("join=1,mode=oneway,keep.passage=4@2", "needs mode=joint"),
        ("join=1,keep.passage=4@3", "between 0 and 2"),
        ("selector=best", "selector must be one of coreset"),
        ("keep.passage=4@0,selector=attention", "needs a layer before"),
        ("join=2,compare=cosine", "join=3"),
        ("join=3,mode=oneway,compare=cosine", "needs mode=joint"),
        ("join=3,compare=mlp,keep.passage=4", "one vector of a segment"),
        ("join=3", "compare=cosine, mlp or maxsim"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(tmp_path: Path, plan: str, why: str) -> None:
    folder = small_checkpoint(tmp_path / "m", heads=("score",))
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('["river", "stone river"]\n')
    assert why in refused("predict", folder, pairs, "--plan", plan)


def test_heads_that_do_not_fit_a_plan(tmp_path: Path) -> None:
    bare, scorer = small_checkpoint(tmp_path / "b", heads=()), small_checkpoint(tmp_path / "s", heads=("score",))
    with pytest.raises(PlaitError, match="train a checkpoint with this one"):
        Plait.from_pretrained(bare, plan="join=3,compare=mlp")
    Plait.from_pretrained(scorer, plan="join=3,compare=maxsim").save_pretrained(tmp_path / "d")
    with pytest.raises(PlaitError, match="must have compare=maxsim"):
        Plait.from_pretrained(tmp_path / "d", plan="join=1")
    with pytest.raises(PlaitError, match="must have all of them, but number 0 has no passage"):
        Plait.from_pretrained(tmp_path / "d").predict([("river", None)])
    split = Plait.from_pretrained(scorer, plan="join=1")
    for wrong in ("coreset:32", "coreset:1.2.3@1", "coreset:e@1", "coreset:2.5@1", "coreset:0@1", "coreset:0.0@1"):
        with pytest.raises(PlaitError, match="ends like ~coreset:32@4"):
            split.encode("passage", ["river"], [f"states.1~{wrong}"])
    with pytest.raises(PlaitError, match="the span head reads answers"):
        Plait.from_pretrained(small_checkpoint(tmp_path / "q"), plan="join=3,compare=cosine")
    write(tmp_path / "train.jsonl", "rank", 4, seed=1)
    for changes in ({"full": 0.5}, {"elastic": "joint"}, {"representation": 1.0, "teacher": str(scorer)}):
        said = refused("train", config(tmp_path, task="rank", score="join=3,compare=cosine", **changes))
        assert "set it to 0" in said or "never do" in said


def test_an_index_of_cosines_searches_by_its_vectors(tmp_path: Path) -> None:
    """Without being told to; a query need not share a word with what it finds."""
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "m", heads=("score",)), plan="join=3,compare=cosine")
    documents = [Document("a", "river stone music"), Document("b", "winter garden")]
    index = Index.create(tmp_path / "s.plait", model)
    index.add(documents)
    found = index.rank("lantern")
    scores = model.predict([("lantern", hit.text) for hit in found.hits])
    assert len(found.hits) == 2 and [hit.score for hit in found.hits] == pytest.approx(scores.tolist(), abs=0.2)
    assert found.hits == index.rank("lantern", first_stage="vector").hits
    assert not index.rank("lantern", first_stage="bm25").hits
    words = Index.create(tmp_path / "t.plait", model, vectors="none")
    words.add(documents)
    assert not words.rank("lantern").hits and len(words.rank("river").hits) == 1
