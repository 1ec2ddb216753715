"""Positions that begin at a number: all roles but the first, in every door."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from plait.config import TrainConfig
from plait.course import Course
from plait.data import Document, Example
from plait.errors import PlaitError, TruncationWarning
from plait.fitting import APART
from plait.index import Index
from plait.lessons import example_lessons
from plait.model import Plait
from plait.plan import FULL, Plan
from plait.teacher import Teacher
from tests.command import config, done, refused
from tests.small import small_checkpoint

PAIR = ("who built the bridge", "a silver bridge of stone was built by the doctor in winter")


def test_it_is_the_pair_model_for_a_query_of_that_length(tmp_path: Path) -> None:
    folder = small_checkpoint(tmp_path / "m", heads=("score",))
    theirs, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
    )
    with torch.no_grad():
        expected = theirs.eval()(**tokenizer(*PAIR, return_tensors="pt")).logits[0, 0]
    length = len(tokenizer(PAIR[0])["input_ids"])
    at, restart = (
        Plait.from_pretrained(folder, plan=f"join=0,positions={p}").predict(PAIR, activation_fn=lambda x: x)
        for p in (length, "restart")
    )
    assert at == pytest.approx(float(expected), abs=1e-5) and abs(restart - at) > 1e-3


def test_what_is_stored_is_what_is_live(tmp_path: Path) -> None:
    folder = small_checkpoint(tmp_path / "m", max_position_embeddings=64)
    plan = "score: join=1,mode=oneway,positions=20; span: join=1,positions=20"
    model = Plait.from_pretrained(folder, plan=plan)
    model.save_pretrained(tmp_path / "saved")
    again = Plait.from_pretrained(tmp_path / "saved")
    assert again.plans == model.plans and again.plan("score").positions == 20
    index = Index.create(tmp_path / "s.plait", again, name="", codec="float32", passage_tokens=30, overlap=0)
    index.add([Document("a", PAIR[1]), Document("b", "the river " * 30)])
    hits = index.rank(PAIR[0], 10, first_stage="all").hits
    live = model.predict([(PAIR[0], hit.text) for hit in hits], activation_fn=lambda x: x)
    np.testing.assert_allclose([hit.score for hit in hits], live, atol=1e-5)
    with pytest.raises(PlaitError):
        Index.open(tmp_path / "s.plait", Plait.from_pretrained(folder, plan=plan.replace("20", "restart")))
    for same in ("join=1", {"score": "join=0", "span": "join=2"}, '{"join": 1}'):  # as it was saved
        assert {p.positions for p in Plait.from_pretrained(tmp_path / "saved", plan=same).plans.values()} == {20}
    for other in ("join=1,positions=restart", Plan(join=1)):
        assert Plait.from_pretrained(tmp_path / "saved", plan=other).plan("score").positions == "restart"
    begun_anew = Plait.from_pretrained(tmp_path / "saved", plan="join=1,positions=restart")
    Index.create(tmp_path / "anew.plait", begun_anew, name=str(tmp_path / "saved"), codec="float32")
    assert Index.open(tmp_path / "anew.plait").model.plan("score").positions == "restart"  # not what is saved
    assert model.text.room("query") - model.text.room("passage") == 20 - 1  # a query has [CLS] too
    with pytest.warns(TruncationWarning, match="than the 43 tokens"):
        model.predict((PAIR[0], "stone " * 60))


def test_it_trains_and_joins_elsewhere(tmp_path: Path) -> None:
    folder = small_checkpoint(tmp_path / "m", heads=("score",))
    data = tmp_path / "d.csv"
    data.write_text("query,passage,label\n" + "river,the river,1\nriver,a castle,0\n" * 4)
    config = tmp_path / "c.toml"
    text = f'model = "{folder}"\ndata = "{data}"\noutput = "{tmp_path}/out"\ntask = "value"\nelastic = "oneway"\n'
    config.write_text(text + 'score = "join=1,mode=oneway,positions=9"\n')
    done("train", config)
    model = Plait.from_pretrained(tmp_path / "out" / "final")
    assert model.plan("score").positions == 9 and model.plan("score").at(2, "joint").positions == 9
    assert "positions: 9" in (tmp_path / "out" / "final" / "README.md").read_text()
    taught = config.with_name("taught.toml")  # whose teacher counts otherwise
    taught.write_text(
        text.replace("/out", "/again").replace("elastic", "# elastic")
        + f'teacher = "{tmp_path}/out/final"\nscore = "join=1,mode=oneway"\n'
    )
    done("train", taught)
    assert Plait.from_pretrained(tmp_path / "again" / "final").plan("score").positions == "restart"
    data.write_text(f"query,passage,label\nriver,{'stone ' * 59},1\n")
    taught.write_text(taught.read_text().replace("/again", "/long"))
    assert "it counts from 9 to 66 and a text has 60 tokens; lower longest by 3" in refused("train", taught)


def test_a_teacher_counts_as_it_learned_to(tmp_path: Path) -> None:
    """Whatever its student does: it gives what it gives by itself."""
    teacher = Plait.from_pretrained(small_checkpoint(tmp_path / "m", heads=("score",)), plan="join=0,positions=20")
    student = Plait.from_pretrained(tmp_path / "m", plan="join=1,mode=oneway")
    [lesson] = example_lessons("value", [Example("1", PAIR, 1.0), Example("2", PAIR[::-1], 0.0)], student.text)
    [output] = Teacher(teacher, student.plans, student.text).outputs(lesson, lesson.targets)
    expected = teacher.predict([PAIR, PAIR[::-1]])
    np.testing.assert_allclose(np.sort(output.logits.flatten()), np.sort(expected), atol=1e-5)


def test_a_new_pair_model_keeps_texts_apart(tmp_path: Path) -> None:
    """Where a table of learned positions has room, and nobody says otherwise; and what is made of it goes on so."""
    folder = small_checkpoint(tmp_path / "m", heads=(), max_position_embeddings=256)

    def begun(plan: str | dict[str, str], heads: tuple[str, ...] = ("score",), of: Path = folder) -> set[object]:
        return {p.positions for p in Plait.from_pretrained(of, plan=plan, new_heads=heads).plans.values()}

    assert begun("join=0") == begun('{"join": 0}') == begun("join=0", ("score", "span")) == {APART}
    assert begun("join=1,positions=9") == {9}
    for other in ("join=0,roles=text", "join=3,compare=mlp", "join=1,mode=oneway", "join=0,positions=restart"):
        assert begun(other) == {"restart"}
    assert begun({"score": "join=0", "span": "join=1"}, ("score", "span")) == {"restart"}
    assert begun("join=0", of=small_checkpoint(tmp_path / "short", heads=())) == {"restart"}
    distances = small_checkpoint(tmp_path / "d", "modernbert", heads=(), max_position_embeddings=256)
    assert begun("join=0", of=distances) == {"restart"}
    for said, full, split in (("restart", "restart", "restart"), ("continue", "continue", "restart"), ("7", 7, 7)):
        old = Plait.from_pretrained(folder, plan=f"join=0,positions={said}", new_heads=("score",))
        old.save_pretrained(tmp_path / said)
        assert begun("join=0", of=tmp_path / said) == {full} and begun("join=2", of=tmp_path / said) == {split}


@pytest.mark.usefixtures("one_thread")
def test_a_cross_encoder_is_trained_as_transformers_trains_it(tmp_path: Path) -> None:
    """One that was trained before, or any where its plan says so: the same loss, gradients and scores."""
    folder = small_checkpoint(tmp_path / "m", heads=("score",), max_position_embeddings=256)
    model = Plait.from_pretrained(folder, plan="join=0", new_heads=("score",), heads=("score",))
    assert model.plan("score") == FULL
    pairs, values = [PAIR, PAIR[::-1], ("a queen", "stone " * 9)], [1.0, 0.0, 0.5]
    examples = [Example(str(i), pair, value) for i, (pair, value) in enumerate(zip(pairs, values, strict=True))]
    theirs = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    read = AutoTokenizer.from_pretrained(folder)(
        [a for a, _ in pairs], [b for _, b in pairs], padding=True, return_tensors="pt"
    )
    expected = torch.nn.functional.mse_loss(theirs(**read).logits.squeeze(-1), torch.tensor(values))
    expected.backward()
    said = TrainConfig(model=str(folder), data="a.csv", output="out", task="value", score="join=0", bfloat16=False)
    [lesson] = example_lessons("value", examples, model.text)
    loss = Course(model, None, said)(lesson)["loss"]
    loss.backward()
    torch.testing.assert_close(loss, expected)
    gradients = dict(theirs.base_model.named_parameters())
    for name, weight in model.base.named_parameters():
        torch.testing.assert_close(weight.grad, gradients[name].grad, atol=1e-5, rtol=1e-4)

    data = tmp_path / "a.csv"
    data.write_text(
        "query,passage,label\n" + "".join(f"{a},{b},{v}\n" for (a, b), v in zip(pairs, values, strict=True))
    )
    fields = {"model": str(folder), "data": str(data), "task": "value", "score": "join=0", "learning_rate": 1e-9}
    done("train", config(tmp_path, **fields))
    trained = Plait.from_pretrained(tmp_path / "out" / "final")
    assert trained.plan("score").positions == "continue"
    after = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out" / "final")
    np.testing.assert_allclose(trained.predict(pairs), after(**read).logits.squeeze(-1).detach(), atol=1e-5)
    again = config(tmp_path, **fields, elastic="joint", output=str(tmp_path / "b"))
    assert "elastic needs positions=restart or a number" in refused("train", again)


@pytest.mark.parametrize("plan", ["join=0,keep.passage=0.7^2", "join=0,keep.passage=3@0", "join=0,mode=oneway"])
def test_what_a_cross_encoder_is_trained_on_is_what_it_answers(tmp_path: Path, plan: str) -> None:
    """With budgets too, in whatever layer, and where the query alone reads on."""
    folder = small_checkpoint(tmp_path / "m", heads=("score",), max_position_embeddings=256)
    model = Plait.from_pretrained(folder, plan=plan, new_heads=("score",), heads=("score",))
    assert model.plan("score").positions == "continue"
    pairs, values = [PAIR, PAIR[::-1], ("a queen", "stone " * 9)], [1.0, 0.0, 0.5]
    examples = [Example(str(i), pair, value) for i, (pair, value) in enumerate(zip(pairs, values, strict=True))]
    said = TrainConfig(model=str(folder), data="a.csv", output="out", task="value", score=plan, bfloat16=False)
    [lesson] = example_lessons("value", examples, model.text)
    loss = float(Course(model, None, said)(lesson)["loss"].detach())
    found = model.predict(pairs, activation_fn=torch.nn.Identity())
    assert loss == pytest.approx(float(((found - np.array(values)) ** 2).mean()), abs=1e-5)


def test_positions_that_cannot_be(tmp_path: Path) -> None:
    for wrong in ("0", "-3", "there", "1.5"):
        with pytest.raises(PlaitError, match="positions must be restart, continue or a number"):
            Plan.parse(f"join=1,positions={wrong}")
    folder = small_checkpoint(tmp_path / "m")
    with pytest.raises(PlaitError, match="must leave 8 of the 66"):
        Plait.from_pretrained(folder, plan="join=1,positions=60")
    with pytest.raises(PlaitError, match="must count positions alike"):
        Plait.from_pretrained(folder, plan="score: join=1,positions=9; span: join=1")
    with pytest.raises(PlaitError, match="deberta-v2 knows only how far apart"):
        Plait.from_pretrained(small_checkpoint(tmp_path / "d", "deberta-v2"), plan="join=1,positions=9")
