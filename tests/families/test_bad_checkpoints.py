"""Checkpoints that cannot be: one sentence each, with the rule, the value and the fix."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import (
    XLNetForQuestionAnswering,
)

from plait.errors import DataWarning, PlaitError
from plait.families import MODEL_TYPES
from plait.model import Plait
from tests.small import change_config, small_checkpoint, small_config
from tests.tokenizers import small_tokenizer


def refused(folder: Path | str, words: str) -> None:
    with pytest.raises(PlaitError, match=words) as told:
        Plait.from_pretrained(folder)
    assert "\n" not in str(told.value) and len(str(told.value)) < 600


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small_checkpoint(tmp_path / "bert")


def test_an_unknown_family_is_refused_with_the_list(folder: Path) -> None:
    change_config(folder, model_type="gpt2", architectures=["GPT2ForSequenceClassification"])
    refused(folder, f"one of {', '.join(MODEL_TYPES)}, but this checkpoint's is 'gpt2'")
    change_config(folder, model_type="no-such-thing")
    refused(folder, "no-such-thing")


@pytest.mark.parametrize("name", ["missing", "deep/er/missing"])
def test_a_missing_folder_is_refused(tmp_path: Path, name: str) -> None:
    refused(tmp_path / name, "there is no folder")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "is not")


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.5, 0.999])
def test_truncated_weights_are_refused(folder: Path, keep: float) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: int(weights.stat().st_size * keep)])
    refused(folder, "check the path and that the files are whole")


def test_a_config_without_weights_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    refused(folder, "bert")


def test_missing_encoder_weights_are_refused(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    lost = next(name for name in state if "layer.1.output.dense.weight" in name)
    del state[lost]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    refused(folder, "every weight of the encoder")


def test_a_config_that_does_not_fit_its_weights_is_refused(folder: Path) -> None:
    change_config(folder, intermediate_size=52)
    refused(folder, "bert")


def test_a_missing_tokenizer_is_refused(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()
    refused(folder, "must hold its tokenizer")


def test_a_broken_tokenizer_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")
    refused(folder, "bert")


def test_a_tokenizer_larger_than_the_vocabulary_is_refused(tmp_path: Path) -> None:
    refused(
        small_checkpoint(tmp_path / "bert", vocab_size=100),
        "no more tokens than the model's table of 100",
    )


def test_a_broken_config_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": ')
    refused(folder, "config")


def test_a_decoder_is_refused(folder: Path) -> None:
    change_config(folder, is_decoder=True)
    refused(folder, "encoder")


def test_saved_plans_that_cannot_be_are_refused(folder: Path) -> None:
    change_config(folder, plait={"plans": {"score": {"join": 9}}})
    refused(folder, "join must be between 0 and 3")
    change_config(folder, plait={"plans": {"score": {"jion": 1}}})
    refused(folder, "jion")


def test_a_checkpoint_without_heads_says_so_when_asked(folder: Path) -> None:
    model = Plait.from_pretrained(small_checkpoint(folder.parent / "span", heads=("span",)))
    with pytest.raises(PlaitError, match="sequence-classification head, but its heads are: span"):
        model.predict([("a", "b")])
    shutil.rmtree(folder.parent / "span")
    model = Plait.from_pretrained(small_checkpoint(folder.parent / "score", heads=("score",)), plan="join=1")
    with pytest.raises(PlaitError, match="question-answering head, but its heads are: score"):
        model.read("some text").ask("what?")


def test_a_span_head_of_another_make_is_left_out(tmp_path: Path) -> None:
    """XLNet has one that searches beams; a head with random weights in its place would answer anything."""
    tokenizer = small_tokenizer("xlnet")
    XLNetForQuestionAnswering(small_config("xlnet", vocab_size=len(tokenizer))).save_pretrained(tmp_path / "beams")
    tokenizer.save_pretrained(tmp_path / "beams")
    with pytest.warns(DataWarning, match="start_logits"):
        assert not Plait.from_pretrained(tmp_path / "beams").plans
    small_checkpoint(tmp_path / "span", "xlnet", heads=("span",))
    assert json.loads((tmp_path / "span" / "config.json").read_text())["architectures"] == [
        "XLNetForQuestionAnsweringSimple"
    ]


def test_rotations_that_depend_on_other_texts_are_refused(tmp_path: Path) -> None:
    folder = small_checkpoint(tmp_path / "gte", "gte")
    rope = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 2.0}
    change_config(folder, rope_parameters=rope)
    with pytest.raises(PlaitError, match="rope_type is dynamic"):
        Plait.from_pretrained(folder)
