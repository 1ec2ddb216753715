"""`plait train` on a small model and a few questions: what it makes, that it resumes, what it refuses."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForQuestionAnswering

import plait
from plait.config import TrainConfig
from plait.index import Index
from plait.model import Plait
from tests.command import done, refused, start, toml
from tests.small import small_checkpoint

CONFIGS = Path(__file__).parents[2] / "configs"
TEXTS = {
    "river": "The river was yellow. A sailor built the bridge of stone in winter for the queen.",
    "music": "A doctor wrote music for the market. The engine of the railway was silver.",
    "garden": "A painter found a garden on the mountain with a window to the harbour.",
}
ASKED = [("river", "who built it", "sailor"), ("river", "what is it of", "stone"), ("music", "who wrote it", "doctor"),
         ("music", "what is silver", "engine"), ("garden", "who found it", "painter")]  # fmt: skip


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Four articles of three paragraphs and five questions each, so that there are several batches."""
    articles = []
    for number in range(4):
        paragraphs = []
        for name, text in TEXTS.items():
            context = f"Number {number}: {text}"
            answers = [(i, q, a) for i, (of, q, a) in enumerate(ASKED) if of == name]
            qas = [
                {"id": f"{number}-{i}", "question": q, "answers": [{"text": a, "answer_start": context.index(a)}]}
                for i, q, a in answers
            ]
            paragraphs.append({"context": context, "qas": qas})
        articles.append({"title": f"article {number}", "paragraphs": paragraphs})
    path = tmp_path / "train.json"
    path.write_text(json.dumps({"version": "1.1", "data": articles}))
    return path


def config(folder: Path, model: object, questions: Path, **changes: object) -> Path:
    fields: dict[str, object] = {
        "model": str(model), "data": str(questions), "output": str(folder / "out"), "score": "join=2,mode=oneway",
        "span": "join=1", "full": 0.5, "epochs": 8, "passages": 4, "save_steps": 4, "learning_rate": 1e-3,
    } | changes  # fmt: skip
    return toml(folder / "config.toml", fields)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return Plait.from_pretrained(folder).state_dict()


@pytest.mark.usefixtures("one_thread")
def test_a_killed_training_resumes_and_ends_equal(tmp_path: Path, questions: Path, checkpoint_path: Path) -> None:
    whole = config(tmp_path / "whole", checkpoint_path, questions, teacher=str(checkpoint_path))
    said = done("train", whole)
    assert said.splitlines()[-1] == f"saved to {tmp_path / 'whole' / 'out' / 'final'}"
    expected = weights(tmp_path / "whole" / "out" / "final")
    before = weights(checkpoint_path)
    assert any(not torch.equal(expected[name], before[name]) for name in before)

    cut = config(tmp_path / "cut", checkpoint_path, questions, teacher=str(checkpoint_path))
    process = start("train", cut)
    first = tmp_path / "cut" / "out" / "checkpoint-4" / "trainer_state.json"
    while not (first.exists() and first.read_text().endswith("}\n")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert first.exists() and not (tmp_path / "cut" / "out" / "final").exists()
    assert "resume it, or choose another output" in refused("train", cut)
    for number, state in ((9998, ""), (9999, None)):  # what a kill in the midst of saving leaves
        cut_short = tmp_path / "cut" / "out" / f"checkpoint-{number}"
        cut_short.mkdir()
        if state is not None:
            (cut_short / "trainer_state.json").write_text(state)
    done("train", cut, "--resume")
    resumed = weights(tmp_path / "cut" / "out" / "final")
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)
    saved = Plait.from_pretrained(tmp_path / "cut" / "out" / "final")
    assert {head: str(plan) for head, plan in saved.plans.items()} == {
        "score": "join=2,mode=oneway",
        "span": "join=1,mode=joint,reader=passage",
    }


def test_resuming_otherwise_is_refused(
    tmp_path: Path, questions: Path, checkpoint_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done("train", config(tmp_path / "run", checkpoint_path, questions, epochs=2, save_steps=2), "--device", "cpu")
    again = config(tmp_path / "run", checkpoint_path, questions, epochs=2, save_steps=2)
    assert "device was 'cpu' and is now 'auto'" in refused("train", again, "--resume")
    other = config(tmp_path / "run", checkpoint_path, questions, epochs=2, save_steps=2, span="join=2")
    assert "span was 'join=1' and is now 'join=2'" in refused("train", other, "--resume")
    again = config(tmp_path / "run", checkpoint_path, questions, epochs=2, save_steps=2, device="cpu")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "processes was 1 and is now 2" in refused("train", again, "--resume")
    monkeypatch.delenv("WORLD_SIZE")
    beside = tmp_path / "run" / "out" / "plait-train.json"
    beside.write_text(json.dumps(json.loads(beside.read_text()) | {"contents of data": "others"}))
    assert "contents of data was 'others'" in refused("train", again, "--resume")
    beside.write_text("{")
    assert "plait-train.json is not readable" in refused("train", other, "--resume")


@pytest.mark.usefixtures("one_thread")
def test_resuming_may_measure_save_and_watch_otherwise(tmp_path: Path, questions: Path, checkpoint_path: Path) -> None:
    """What was stopped goes on with a `dev` that it began without, and ends with the same weights."""
    whole = config(tmp_path / "run", checkpoint_path, questions, epochs=2, save_steps=2, teacher=str(checkpoint_path))
    done("train", whole)
    out = tmp_path / "run" / "out"
    expected = weights(out / "final")
    assert "Nothing was measured" in (out / "final" / "README.md").read_text()
    shutil.rmtree(out / "final")
    last = max(out.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    shutil.rmtree(last)  # as if it had been stopped before
    dev = tmp_path / "dev.json"
    dev.write_text(questions.read_text())
    others = config(
        tmp_path / "run", checkpoint_path, questions, epochs=2, save_steps=1, dev=str(dev), tensorboard=True,
        teacher=str(checkpoint_path),
        teacher_outputs=str(tmp_path / "kept"), save_dtype="bfloat16",
    )  # fmt: skip
    done("train", others, "--resume")
    assert "On `dev.json`, which was not trained on" in (out / "final" / "README.md").read_text()
    assert list((out / "runs").rglob("events.*")) and (out / f"checkpoint-{int(last.name[11:]) - 1}").is_dir()
    found = weights(out / "final")
    assert all(torch.equal(found[name], one.bfloat16().float()) for name, one in expected.items())
    again = config(tmp_path / "run", checkpoint_path, questions, epochs=2, save_steps=1, learning_rate=1e-4,
                   teacher=str(checkpoint_path))  # fmt: skip
    assert "learning_rate was 0.001 and is now 0.0001" in refused("train", again, "--resume")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"save_dtype": "int4"}, "dtype must be one of"),
        ({"epochs": "two"}, "epochs of a training must be of type float"),
        (
            {"elastic": "joint", "full": 0.0, "score": "join=0", "span": "join=0"},
            "give the deepest that is wanted, such as",
        ),
        ({"elastic": "joint", "full": 0.0}, "it is joint and the plan of the score head has mode=oneway; add that"),
        ({"elastic": "joint+oneway"}, "full is heeded by trainings that are not elastic"),
        ({"elastic": "joint+", "full": 0.0}, "elastic must be modes joined by"),
        ({"budgets": "all", "elastic": "joint", "full": 0.0}, "budgets is heeded by trainings that are not elastic"),
        ({"budgets": "all"}, "full is heeded by trainings of one budget"),
        ({"budgets": "all", "full": 0.0}, "no plan has one (join=2,mode=oneway"),
        ({"budgets": "all+x", "full": 0.0}, "budgets must be numbers or shares of tokens, or all"),
        (
            {"budgets": "all", "full": 0.0, "score": "join=1,keep.passage=8@0+4@1"},
            "where a role has one, but passage has several",
        ),
        ({"budgets": "9+4", "full": 0.0, "score": "join=1,keep.passage=4"}, "has that of the score head"),
        (
            {"budgets": "9", "full": 0.0, "score": "join=1,keep.passage=4", "listwise": 0.0, "distillation": 0.0},
            "leave budgets out",
        ),
        (
            {"budgets": "9", "full": 0.0, "score": "join=1,keep.passage=4", "listwise": 0.0},
            "nothing that the score head would learn from it has a weight; give listwise or margin one",
        ),
        ({"budgets": "9", "full": 0.0, "score": "join=1,keep.passage=4", "labels": 0.0}, "teacher is empty; name one"),
        ({"temperature": 3.0}, "temperature is heeded by trainings with a teacher"),
        ({"representation": 0.5}, "representation is heeded by trainings with a teacher"),
        ({"teacher_outputs": "kept"}, "teacher_outputs is heeded by trainings with a teacher"),
        ({"device": "tpu"}, "device must be one of auto, cpu"),
        ({"score": 3}, "score of a training must be of type str"),
        ({"wings": 2}, "'wings'"),
        ({"span": "join=1,mode=oneway"}, "mode=joint"),
        ({"score": "join=9"}, "join must be between 0 and 3"),
        ({"score": "join=3"}, "must be below 3"),
        ({"data": "nowhere.json"}, "nowhere.json"),
        ({"score": "join=1,roles=passage+query,known=passage", "span": ""}, "the question first and its passage known"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_configs_that_cannot_be(
    tmp_path: Path, questions: Path, checkpoint_path: Path, changes: dict[str, object], words: str
) -> None:
    assert words in refused("train", config(tmp_path / "run", checkpoint_path, questions, **changes))
    assert not (tmp_path / "run" / "out" / "final").exists()


def test_too_little_memory_is_said_in_a_sentence(
    tmp_path: Path, questions: Path, checkpoint_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("plait.trainer.Trainer.train", full)
    said = refused("train", config(tmp_path / "run", checkpoint_path, questions))
    assert "a batch must fit into the memory of cpu" in said and "lower batch" in said


def test_texts_longer_than_the_model_reads(tmp_path: Path, questions: Path, checkpoint_path: Path) -> None:
    squad = json.loads(questions.read_text())
    paragraph = squad["data"][0]["paragraphs"][0]
    paragraph["context"] += " The river was yellow." * 100
    questions.write_text(json.dumps(squad))
    done("train", config(tmp_path / "run", checkpoint_path, questions, epochs=1))


def test_questions_without_an_answer(tmp_path: Path, questions: Path) -> None:
    """SQuAD 2.0: what the model learned to leave unanswered it does, from a text, a store and a checkpoint alike."""
    squad = json.loads(questions.read_text())
    for article in squad["data"]:
        for number, paragraph in enumerate(article["paragraphs"]):
            qas = {"id": f"{article['title']} {number}", "question": "why why", "answers": [], "is_impossible": True}
            paragraph["qas"].append(qas)
    questions.write_text(json.dumps(squad))
    fresh = small_checkpoint(tmp_path / "start", heads=())
    changes = dict(span="join=1", score="join=1", full=0.0, epochs=40, learning_rate=3e-3, freeze_embeddings=False)
    changes["negatives"] = 8.0  # the whole batch
    done("train", config(tmp_path / "run", fresh, questions, save_steps=1000, bfloat16=False, **changes))
    final = tmp_path / "run" / "out" / "final"
    text = tmp_path / "text.txt"
    text.write_text(squad["data"][0]["paragraphs"][0]["context"])
    assert json.loads(done("ask", "--text", text, "--model", final, "why why", "--json"))["answer"] == ""
    assert "has no answer" in done("ask", "--text", text, "--model", final, "why why")
    assert json.loads(done("ask", "--text", text, "--model", final, "who built it", "--json"))["answer"]
    done("index", questions, "--model", final, "--store", tmp_path / "store")
    assert "have no answer" in done("ask", tmp_path / "store", "why why number")
    found = Index.open(tmp_path / "store")
    assert found.answer_in("why why", "article 0/1").answer == ""
    assert found.answer_in("who built it", "article 0/1").answer


def test_a_question_answering_checkpoint_teaches_spans_alone(tmp_path: Path, questions: Path) -> None:
    """DeFormer's own experiment: a `...ForQuestionAnswering` teacher, which has no score head, and nor has the student;
    it reads question and passage behind one another, so that the card says that it was not measured.
    """
    teacher = small_checkpoint(tmp_path / "reader", heads=("span",))
    settings = config(tmp_path, teacher, questions, teacher=str(teacher), score="", span="join=1", full=0.0, epochs=1,
                      dev="bundled:squad-dev")  # fmt: skip
    dev = tmp_path / "dev.json"
    dev.write_text(questions.read_text())
    settings.write_text(settings.read_text().replace("bundled:squad-dev", str(dev)))
    done("train", settings)
    final = tmp_path / "out" / "final"
    model = Plait.from_pretrained(final)
    assert list(model.plans) == ["span"] and model.plan("span").join == 1
    assert type(AutoModelForQuestionAnswering.from_pretrained(final)).__name__ == "BertForQuestionAnswering"
    card = (final / "README.md").read_text()
    assert "Its teacher cannot read a passage before its question" in card and "| its teacher |" not in card
    assert "base_model" not in card  # a folder is no model of the hub
    own = config(tmp_path / "own", final, questions, teacher=str(final), score="", span="join=2", full=0.0, epochs=1,
                 dev=str(dev))  # fmt: skip
    done("train", own)
    card = (tmp_path / "own" / "out" / "final" / "README.md").read_text()
    assert card.count("| its teacher |") == 1


def test_questions_teach_a_ranker_alone(tmp_path: Path, questions: Path) -> None:
    """With an empty span: the passages of a batch are one another's wrong candidates, and no answer is learned."""
    model = small_checkpoint(tmp_path / "ranker", heads=("score",))
    fields: dict[str, object] = {
        "score": "join=1,mode=oneway",
        "span": "",
        "hard": True,
        "epochs": 1,
        "weight_decay": 0.0,
    }
    data = json.loads(questions.read_text())
    data["data"][0]["paragraphs"][0]["qas"][0].update(is_impossible=True, answers=[])
    questions, alone = tmp_path / "impossible.json", tmp_path / "alone.json"
    questions.write_text(json.dumps(data))
    first = data["data"][0]
    alone.write_text(json.dumps({"data": [{**first, "paragraphs": first["paragraphs"][1:2]}]}))
    teacher = small_checkpoint(tmp_path / "t", heads=("score",))
    for name, how in (("plain", {"full": 0.5}), ("taught", {"full": 0.0, "teacher": str(teacher), "listwise": 1.0})):
        done("train", config(tmp_path / name, model, questions, **fields | how))
        trained = Plait.from_pretrained(tmp_path / name / "out" / "final")
        assert list(trained.plans) == ["score"] and str(trained.plans["score"]).startswith("join=1,mode=oneway")
        assert not trained.no_answer and trained.rank("who built it", ["the bridge", "the castle"])
        before, after = weights(model), trained.state_dict()
        assert any(not torch.equal(before[name], after[name]) for name in before)
        assert "pipeline_tag: text-ranking" in (tmp_path / name / "out" / "final" / "README.md").read_text()
    for wrong, says in (
        ({"score": ""}, "a qa task must have a plan of score or span, but has none"),
        ({"ranking": 0.0}, "lists are learned from labels or a teacher, but ranking is 0 and teacher empty"),
        ({"data": str(alone)}, "training needs at least one question with an answer, and another passage, but"),
        ({"dev": str(questions)}, "dev of a qa task is read by the span head, but span is empty"),
        ({"distillation": 2.0}, "distillation is heeded by trainings of a span head, but span is empty"),
        (
            {"teacher": str(model), "listwise": 0.0},
            "a teacher must have a say, but of listwise and margin and representation none",
        ),
    ):
        assert says in refused("train", config(tmp_path, model, questions, **fields | wrong))


def test_a_teacher_that_cannot_read_whole_examples(tmp_path: Path, questions: Path) -> None:
    """Spans and states are aligned token by token: refused at once, not at the first batch with a long example."""
    small = small_checkpoint(tmp_path / "reader", heads=("score", "span"), max_position_embeddings=24)
    wanted = "a teacher must read whole examples to teach spans or states, but one has"
    settings = config(tmp_path, small, questions, teacher=str(small))
    assert wanted in refused("train", settings)
    pairs = tmp_path / "pairs.jsonl"
    lines = [{"query": "river " * (3 + 15 * n), "passage": "stone " * 12, "label": float(n % 2)} for n in range(2)]
    pairs.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for weight, says in ((1.0, wanted), (0.0, "saved to")):
        fields = {"task": "value", "data": str(pairs), "score": "join=1", "representation": weight, "longest": 24}
        fields |= {"span": "join=0", "passages": 8}  # as they are unless said otherwise
        settings = config(tmp_path / str(weight), small, questions, teacher=str(small), **fields)
        assert says in (refused("train", settings) if weight else done("train", settings))


def test_the_library_trains_as_the_command_does(tmp_path: Path, questions: Path, checkpoint_path: Path) -> None:
    settings = config(tmp_path, checkpoint_path, questions, epochs=1)
    final = plait.train(plait.TrainConfig.read(settings))
    assert final == tmp_path / "out" / "final" and Plait.from_pretrained(final).plan("score").join == 2


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.name)
def test_the_committed_configs_can_be_read(path: Path) -> None:
    assert TrainConfig.read(path).output.startswith("runs/")
