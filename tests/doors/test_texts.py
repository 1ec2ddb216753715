"""`plait train` with the task `text`: a small T5 learns to write, resumes, and is measured; what is refused."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
import torch

from plait.config import TrainConfig
from plait.data import read_examples
from plait.errors import PlaitError
from plait.evaluate import quality
from plait.model import Plait
from plait.training import train
from tests.command import done, refused, run, toml
from tests.small import LAYERS, small_checkpoint, small_writer

WORDS = ["river", "stone", "copper", "lantern", "winter", "garden"]


def write(path: Path, count: int, seed: int) -> Path:
    """Two texts of two words, one of which both have: that is to be written."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        one, two, three = rng.sample(WORDS, 3)
        texts = [[one, two], [three, one]]
        for text in texts:
            rng.shuffle(text)
        rows.append({"query": " ".join(texts[0]), "passage": " ".join(texts[1]), "label": one})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def config(folder: Path, **changes: object) -> Path:
    fields: dict[str, object] = {
        "model": str(small_writer("t5", folder / "start")), "data": str(folder / "train.jsonl"),
        "output": str(folder / "out"), "task": "text", "text": "join=1", "epochs": 10.0, "learning_rate": 1e-2,
        "batch": 32, "save_steps": 1000, "freeze_embeddings": False, "bfloat16": False,
    } | changes  # fmt: skip
    return toml(folder / "config.toml", fields)


def test_a_model_learns_to_write_and_is_swept(tmp_path: Path) -> None:
    """The word that both texts share; chance is a sixth. The card, the command and the sweep know of it."""
    write(tmp_path / "train.jsonl", 400, seed=1)
    held_out = write(tmp_path / "dev.jsonl", 60, seed=2)
    done("train", config(tmp_path, dev=str(held_out)))
    final = tmp_path / "out" / "final"
    examples = read_examples(held_out)
    model = Plait.from_pretrained(final)
    found = quality(model, "text", examples)
    assert str(model.plan("text")) == "join=1,mode=joint" and found["em"] > 80 and found["examples"] == 60
    assert quality(model, "text", examples, "float32") == found
    card = (final / "README.md").read_text()
    assert "pipeline_tag: text-generation" in card and "| em | f1 | exact | examples |" in card
    assert f"| this model | {' | '.join(f'{value:.4g}' for value in found.values())} |" in card
    written = [
        json.loads(line)["text"] for line in done("generate", final, held_out, "--dtype", "float32").splitlines()
    ]
    right = sum(text == example.label for text, example in zip(written, examples, strict=True))
    assert 100 * right / len(examples) == pytest.approx(found["exact"]) == pytest.approx(found["em"])
    swept = done("sweep", final, held_out, "--task", "text", "--known", 3, "--min-quality", 0.5, "--json")
    points = json.loads(swept)["points"]
    assert [point["join"] for point in points] == list(range(LAYERS + 1)) and points[1]["metric"] == "em"


@pytest.mark.usefixtures("one_thread")
def test_a_stopped_training_ends_equal(tmp_path: Path) -> None:
    """With a teacher whose outputs are kept, the full plan beside, and gradients of two batches summed."""
    write(tmp_path / "train.jsonl", 100, seed=1)
    path = config(
        tmp_path, teacher=str(small_writer("t5", tmp_path / "teacher", d_ff=40)), full=0.5, batch=20, accumulate=2,
        epochs=2.0, save_steps=4, teacher_outputs=str(tmp_path / "kept"), dropout=0.1,
    )  # fmt: skip
    train(TrainConfig.read(path))
    kept = list((tmp_path / "kept").rglob("*.safetensors"))
    assert len(kept) == 5  # one a batch
    expected = Plait.from_pretrained(tmp_path / "out" / "final").state_dict()
    before = Plait.from_pretrained(tmp_path / "start").state_dict()
    assert any(not torch.equal(expected[name], before[name]) for name in expected)
    shutil.rmtree(tmp_path / "out" / "final")
    shutil.rmtree(tmp_path / "out" / "checkpoint-6")  # as if it had been stopped after step 4
    train(TrainConfig.read(path), resume=True)
    found = Plait.from_pretrained(tmp_path / "out" / "final").state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert sorted((tmp_path / "kept").rglob("*.safetensors")) == sorted(kept)


def test_bottlenecks_and_joins_up_to_the_decoder(tmp_path: Path) -> None:
    """What is trained beside the decoder is saved beside it; texts that meet in the decoder alone are trained too."""
    write(tmp_path / "train.jsonl", 40, seed=1)
    done("train", config(tmp_path, text=f"join={LAYERS},bottleneck=8", epochs=2.0, bfloat16=True))
    model = Plait.from_pretrained(tmp_path / "out" / "final")
    assert model.plan("text").join == LAYERS and list(model.bottlenecks) == [f"{LAYERS}/8"]
    assert len(model.generate([("river stone", "stone copper")])) == 1


def test_numbers_in_cells_are_texts(tmp_path: Path) -> None:
    table = tmp_path / "train.csv"
    table.write_text("query,passage,label\nwhen,a bridge of 1843,1843\nwho,the doctor,007\nwhat,a river,the river\n")
    assert [example.label for example in read_examples(table, numbers=False)] == ["1843", "007", "the river"]
    done("train", config(tmp_path, data=str(table), epochs=1.0))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"representation": 0.5},
            "class, value, rank, choice, but task is text and representation is 0.5; leave it out",
        ),
        ({"longest_written": 1}, "longest_written must be between 2"),
        ({"text": "join=4"}, "join must be between 0 and 3"),
        ({"text": "join=1,mode=oneway"}, "needs mode=joint and compare=none"),
        ({"model": "{bert}"}, "a text head is the decoder of an encoder-decoder model"),
        ({"teacher": "{bert}"}, "tokenizer"),
        ({"teacher": "{wide}"}, "a teacher must write the same tokens"),
        ({"teacher": "{wide}", "distillation": 0.0}, "a teacher must have a say, but of distillation none"),
        ({"task": "class", "text": "join=0"}, "a model with a decoder has a text head"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_trainings_that_cannot_be(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    write(tmp_path / "train.jsonl", 8, seed=1)
    places = {
        "{bert}": lambda: small_checkpoint(tmp_path / "bert", heads=("score",)),
        "{wide}": lambda: small_writer("t5", tmp_path / "wide", vocab_size=256),
    }
    given = {key: str(places[value]()) if value in places else value for key, value in changes.items()}
    found = run("train", config(tmp_path, **given))
    assert found.code == 1 and words in found.err and "Traceback" not in found.err, found.err


def test_labels_that_cannot_be_written(tmp_path: Path) -> None:
    data = tmp_path / "train.jsonl"
    for label in ("", ', "label": null', ', "label": "  "'):
        data.write_text('{"query": "a", "passage": "b"' + label + "}\n")
        assert "needs a label that is not blank" in refused("train", config(tmp_path))
        assert "needs labelled examples" in refused("sweep", tmp_path / "start", data, "--task", "text")
    write(data, 8, seed=1)
    encoder = small_checkpoint(tmp_path / "bert", heads=("score",))
    assert "text-to-text head" in refused("sweep", encoder, data, "--task", "text")


def test_labels_are_texts_as_they_stand(tmp_path: Path) -> None:
    """Whole numbers of JSON too; how others were written is lost, and '-' is a text."""
    data = tmp_path / "d.jsonl"
    data.write_text('{"query": "a", "passage": "b", "label": 12345678901234567891}\n')
    data.write_text(data.read_text() + '{"query": "a", "passage": "c", "label": "-"}\n')
    assert [example.label for example in read_examples(data, numbers=False)] == ["12345678901234567891", "-"]
    for wrong in ("3.10", "true", "[1]"):
        data.write_text('{"query": "a", "passage": "b", "label": ' + wrong + "}\n")
        with pytest.raises(PlaitError, match="must be a text, but is"):
            read_examples(data, numbers=False)
