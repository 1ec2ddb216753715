"""In-batch negatives: what a batch puts together, and that pairs alone teach a ranking."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
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

LABELS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.booleans()), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(LABELS)
def test_every_passage_once_and_none_that_is_right(found: Sequence[tuple[int, int, bool]]) -> None:
    examples = [Example(str(n), (f"q{q}", f"p{p}"), float(right)) for n, (q, p, right) in enumerate(found)]
    right = {f"q{q}": {(f"p{p}",) for other, p, yes in found if yes and other == q} for q in range(4)}
    units = [[example] for example in examples]
    passages = {example.texts[1] for example in examples}
    for unit, [first] in zip(crossed(units, right), units, strict=True):
        assert unit[0] is first and {example.texts[0] for example in unit} == {first.texts[0]}
        wrong = [example.texts[1] for example in unit[1:]]
        assert len(set(wrong)) == len(wrong)
        assert {*wrong} == passages - {first.texts[1]} - {p for (p,) in right[first.texts[0]]}


def test_lists_of_a_batch(model: Plait) -> None:
    """Three queries, one of them with two right passages, of which the other is no wrong one; nothing has a label."""
    pairs = [("river", "stone"), ("river", "copper"), ("music", "the sound"), ("winter", "the snow")]
    examples = [Example(str(n), pair, None) for n, pair in enumerate(pairs)]
    [lesson] = example_lessons("rank", examples, model.text, in_batch=True)
    [lists] = lesson.targets
    assert isinstance(lists, Lists) and lists.sampled
    assert sorted(lists.lengths) == [3, 3, 4, 4] and len(lesson.segments["passage"]) == 4
    with pytest.warns(DataWarning, match="1 of 4 groups have no right candidate; they are left out"):
        example_lessons("rank", [*examples, Example("w", ("salt", "dust"), 0.0)], model.text, in_batch=True)


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
    lists = [Example(f"{w} {o}", (w, f"the {o} stone"), float(w == o), w) for w in words for o in words]
    found = example_quality(model, "rank", [e for e in lists if "stone stone" not in e.texts[1]])
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
    assert "none of the 2 groups" in refused("train", config(tmp_path, task="rank", in_batch=True, dev=pairs))
