"""In-batch negatives: what a batch puts together, and that pairs alone teach a ranking."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.config import TrainConfig
from plait.data import Example, read_examples
from plait.errors import DataWarning, PlaitError
from plait.evaluate import example_quality
from plait.lessons import example_lessons
from plait.lessons.in_batch import crossed
from plait.model import Plait
from plait.tasks import Lists
from plait.training import train
from tests.command import config, refused
from tests.copper import write
from tests.small import small_checkpoint

LABELS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.booleans()), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(LABELS)
def test_every_passage_once_and_none_that_is_right(found: Sequence[tuple[int, int, bool]]) -> None:
    examples = [Example(str(n), (f"q{q}", f"p{p}"), float(right)) for n, (q, p, right) in enumerate(found)]
    right = {f"q{q}": {(f"p{p}",) for other, p, yes in found if yes and other == q} for q in range(4)}
    right = {name: passages for name, passages in right.items() if passages}
    units = [[example] for example in examples]
    passages = {example.texts[1] for example in examples}
    for unit, [first] in zip(crossed(units, right), units, strict=True):
        assert unit[0] is first and {example.texts[0] for example in unit} == {first.texts[0]}
        wrong = [example.texts[1] for example in unit[1:]]
        assert len(set(wrong)) == len(wrong)
        assert {*wrong} == passages - {first.texts[1]} - {p for (p,) in right.get(first.texts[0], set())}


def test_lists_of_a_batch(model: Plait) -> None:
    """Three queries, one of them with two right passages, of which the other is no wrong one; nothing has a label."""
    pairs = [("river", "stone"), ("river", "copper"), ("music", "the sound"), ("winter", "the snow")]
    examples = [Example(str(n), pair, None) for n, pair in enumerate(pairs)]
    [lesson] = example_lessons("rank", examples, model.text, in_batch=True)
    [lists] = lesson.targets
    assert isinstance(lists, Lists) and lists.own == [1, 1, 1, 1]
    assert sorted(lists.lengths) == [3, 3, 4, 4] and len(lesson.segments["passage"]) == 4
    with pytest.warns(DataWarning, match="1 of 4 groups have no right candidate; they are left out"):
        example_lessons("rank", [*examples, Example("w", ("salt", "dust"), 0.0)], model.text, in_batch=True)


def test_answers_of_the_same_query_are_not_wrong(model: Plait) -> None:
    """Whatever groups the data say."""
    examples = [Example("1", ("river", "stone"), 1.0, "a"), Example("2", ("river", "copper"), 1.0, "b")]
    [lesson] = example_lessons(
        "rank", [*examples, Example("3", ("music", "snow"), 1.0, "c")], model.text, in_batch=True
    )
    [lists] = lesson.targets
    assert isinstance(lists, Lists) and sorted(lists.lengths) == [2, 2, 3]


def test_what_belongs_to_a_list_is_never_left_out(model: Plait) -> None:
    """Of triplets every one is learned from, its own wrong passage among what is scored; the batch's are a sample."""
    examples = [
        Example(f"{n} {label}", (f"river {n}", f"{'copper' if label else 'stone'} {n}"), label)
        for n in range(4) for label in (1.0, 0.0)
    ]  # fmt: skip
    [lesson] = example_lessons("rank", examples, model.text, in_batch=True)
    [lists] = lesson.targets
    assert isinstance(lists, Lists) and lists.lengths == [8] * 4 and lists.own == [2] * 4
    for negatives, length in ((0.0, 2), (1.0, 3), (3.0, 5)):
        few, rows = lists.thinned(negatives, torch.Generator().manual_seed(0))
        assert rows is not None and list(few.lengths) == [length] * 4 and few.own == [2] * 4
        firsts = rows.view(4, length)[:, :2]
        assert torch.equal(firsts, torch.tensor([[8 * n, 8 * n + 1] for n in range(4)]))


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("plan", ["join=3,compare=cosine,pool=mean", "join=1,mode=oneway", "join=0"])
def test_pairs_alone_teach(tmp_path: Path, plan: str) -> None:
    """Passages speak of the word that is asked for; no wrong one is ever given."""
    dev = read_examples(write(tmp_path / "dev.jsonl", "rank", 30, seed=2))
    words = sorted({example.texts[0] for example in dev})
    rows = [{"anchor": word, "positive": f"the {word} {other}"} for word in words for other in words if other != word]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = TrainConfig.read(config(tmp_path, task="rank", score=plan, in_batch=True, negatives=3.0, epochs=12.0))
    model = Plait.from_pretrained(train(said))
    others = [word for word in words if word != "stone"]
    lists = [Example(f"{w} {o}", (w, f"the {o} stone"), float(w == o), w) for w in others for o in others]
    found = example_quality(model, "rank", lists)
    assert found["rr10"] > 0.8, found


def test_what_a_user_is_told(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", "rank", 4, seed=1)
    (tmp_path / "pairs.jsonl").write_text('{"query": "river", "positive": "stone"}\n{"query": "a", "positive": "b"}\n')
    pairs = str(tmp_path / "pairs.jsonl")
    with pytest.warns(DataWarning, match="2 of 2 groups"), pytest.raises(PlaitError, match="set in_batch"):
        train(TrainConfig.read(config(tmp_path, task="rank", data=pairs)))
    assert "in_batch is heeded by tasks of rank, but task is class" in refused(
        "train", config(tmp_path, task="class", in_batch=True)
    )
    assert "room for two lists in a batch, but batch is 3" in refused(
        "train", config(tmp_path, task="rank", in_batch=True, batch=3)
    )
    turned = "join=1,mode=oneway,roles=passage+query,known=passage,reader=query"
    said = "a rank task needs the query's role first and the passage known, but the plan is join=1"
    assert said in refused("train", config(tmp_path, task="rank", score=turned))
    assert "negatives is heeded by in_batch and" in refused("train", config(tmp_path, task="rank", negatives=2.0))
    assert "none of the 2 groups" in refused("train", config(tmp_path, task="rank", in_batch=True, dev=pairs))


@pytest.mark.usefixtures("one_thread")
def test_batches_that_ask_nothing(tmp_path: Path) -> None:
    """A cross-encoder that goes on, a batch of which has one query, or by chance no list with a wrong passage."""
    start = small_checkpoint(tmp_path / "trained", heads=("score",), num_labels=1)
    write(tmp_path / "train.jsonl", "rank", 3, seed=1)
    said = config(tmp_path, task="rank", score="join=0", in_batch=True, batch=4, negatives=0.1, epochs=2.0)
    said.write_text(said.read_text().replace(str(tmp_path / "start"), str(start)))
    assert (
        str(Plait.from_pretrained(train(TrainConfig.read(said))).plan("score"))
        == "join=0,mode=joint,positions=continue"
    )
