"""Encoder-decoder models: what they write from states of any plan, and how their checkpoints load and save."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
from transformers.modeling_outputs import BaseModelOutput

from plait.errors import PlaitError
from plait.index import Index
from plait.model import Plait
from plait.parts import states_of
from plait.plan import Plan
from tests.command import done, refused
from tests.kinds import WRITING
from tests.oracle import oracle
from tests.small import LAYERS, small_writer

PAIRS = [
    ("who built the bridge?", "a silver bridge of stone was built by the doctor in winter."),
    ("why", "the river"),
    ("which painter wrote the letters, and when?", "yellow lanterns: the painter village (on the mountain) 1843."),
]


@pytest.fixture(scope="module", params=WRITING)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_writer(request.param, tmp_path_factory.mktemp(request.param) / "model")


def theirs(folder: Path, beams: int = 1) -> list[str]:
    """What `transformers` writes of each pair."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    written = []
    for pair in PAIRS:
        ids = model.generate(
            **tokenizer(*pair, return_tensors="pt"), max_new_tokens=8, num_beams=beams, do_sample=False
        )
        written += tokenizer.batch_decode(ids, skip_special_tokens=True)
    return written


@pytest.mark.parametrize("beams", [1, 3])
def test_the_full_plan_writes_what_transformers_writes(folder: Path, beams: int) -> None:
    model = Plait.from_pretrained(folder)
    assert list(model.plans) == ["text"]
    expected = theirs(folder, beams)
    assert len(set(expected)) == len(PAIRS)  # not one answer to all
    assert model.generate(PAIRS, max_new_tokens=8, num_beams=beams) == expected
    assert model.generate(PAIRS, max_new_tokens=8, num_beams=beams, batch_size=2) == expected


@pytest.mark.parametrize("join", range(LAYERS + 1))
def test_any_join_writes_from_the_oracles_states(folder: Path, join: int) -> None:
    """The decoder of `transformers` on what its encoder gives under a mask; passages live, stored, and of one's own."""
    model = Plait.from_pretrained(folder, plan=f"join={join}")
    plan, decoder = model.plan("text"), AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    expected = []
    for pair in PAIRS:
        example = [model.segments(role, [text])[0] for role, text in zip(plan.roles, pair, strict=True)]
        with torch.no_grad():
            states = oracle(decoder.get_encoder(), plan, example)[None]
        ids = decoder.generate(encoder_outputs=BaseModelOutput(states), max_new_tokens=8, do_sample=False)
        expected += model.tokenizer.batch_decode(ids, skip_special_tokens=True)
    assert model.generate(PAIRS, max_new_tokens=8) == expected
    stored = model.encode("passage", [passage for _, passage in PAIRS])
    known = [(query, one) for (query, _), one in zip(PAIRS, stored, strict=True)]
    assert model.generate(known, max_new_tokens=8) == expected
    if join == LAYERS:
        assert expected != theirs(folder)  # splits change something


def test_states_in_the_whole_example_are_the_oracles(folder: Path) -> None:
    model = Plait.from_pretrained(folder)
    for join in range(LAYERS + 1):
        plan = Plan(join=join)
        states, examples = states_of(model, plan, PAIRS)
        with torch.no_grad():
            joined = model.encoder.join(plan, states, examples, "whole")
        begin = 0
        for pair, length in zip(PAIRS, joined.layout.lengths, strict=True):
            example = [model.segments(role, [text])[0] for role, text in zip(plan.roles, pair, strict=True)]
            with torch.no_grad():
                expected = oracle(model.base, plan, example)
            torch.testing.assert_close(joined.states[begin : begin + length], expected, atol=1e-5, rtol=1e-4)
            begin += length


def test_saved_as_transformers_saves_it(folder: Path, tmp_path: Path) -> None:
    model = Plait.from_pretrained(folder, plan="join=2")
    model.save_pretrained(tmp_path / "again")
    again = Plait.from_pretrained(tmp_path / "again")
    assert again.plans == model.plans and again.fingerprint == model.fingerprint
    assert again.generate(PAIRS, max_new_tokens=8) == model.generate(PAIRS, max_new_tokens=8)
    assert theirs(tmp_path / "again") == theirs(folder)
    with (
        safe_open(folder / "model.safetensors", "pt") as before,
        safe_open(tmp_path / "again" / "model.safetensors", "pt") as after,
    ):
        assert set(after.keys()) == set(before.keys())


def test_the_command_writes_a_line_for_each_pair(folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps({"query": query, "passage": passage}) + "\n" for query, passage in PAIRS))
    said = done("generate", folder, data, "--plan", "join=2", "--dtype", "float32", "--max-new-tokens", 8)
    expected = Plait.from_pretrained(folder, plan="join=2").generate(PAIRS, max_new_tokens=8)
    assert [json.loads(line) for line in said.splitlines()] == [
        {"texts": list(pair), "text": text} for pair, text in zip(PAIRS, expected, strict=True)
    ]
    assert "text-to-text" in refused("generate", "bundled:minilm-squad", data)


def test_generation_settings_are_kept(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    AutoModelForSeq2SeqLM.from_pretrained(folder).generation_config.save_pretrained(tmp_path / "model")
    settings = tmp_path / "model" / "generation_config.json"
    wanted = json.loads(settings.read_text()) | {"no_repeat_ngram_size": 1, "num_beams": 2, "num_return_sequences": 2}
    settings.write_text(json.dumps(wanted))
    model = Plait.from_pretrained(tmp_path / "model")
    model.save_pretrained(tmp_path / "again")
    again = Plait.from_pretrained(tmp_path / "again")
    written = model.generate(PAIRS, max_new_tokens=8, num_beams=2)
    assert len(written) == len(PAIRS) and again.generate(PAIRS, max_new_tokens=8, num_beams=2) == written
    assert json.loads((tmp_path / "again" / "generation_config.json").read_text())["no_repeat_ngram_size"] == 1


def test_refusals(folder: Path, tmp_path: Path) -> None:
    for plan in ("join=2,mode=oneway", "join=3,compare=cosine"):
        with pytest.raises(PlaitError, match="mode=joint and compare=none"):
            Plait.from_pretrained(folder, plan={"text": plan})
    with pytest.raises(PlaitError, match=r"has a text head, but .* was to have score"):
        Plait.from_pretrained(folder, new_heads=["score"])
    model = Plait.from_pretrained(folder)
    with pytest.raises(PlaitError, match="sequence-classification head, but its heads are: text"):
        model.predict(PAIRS)
    with pytest.raises(PlaitError, match="sequence-classification head, but its heads are: text"):
        Index.create(tmp_path / "store", Plait.from_pretrained(folder, plan="join=1"), name="t5")
    with pytest.raises(PlaitError, match="merges by tome"):
        Plait.from_pretrained(folder, plan="join=1,keep.passage=4,selector=tome")
    assert "mode=joint and compare=none" in refused("plan", folder, "--plan", "join=2,mode=oneway")
    assert done("plan", folder).startswith("join=2,mode=joint on ")
    with pytest.raises(PlaitError, match="max_new_tokens must be 1 or more, but is 0"):
        model.generate(PAIRS, max_new_tokens=0)
    model.save_pretrained(tmp_path / "cut")
    weights = load_file(tmp_path / "cut" / "model.safetensors")
    del weights["decoder.final_layer_norm.weight"]
    save_file(weights, tmp_path / "cut" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PlaitError, match=r"lacks 'decoder\.final_layer_norm\.weight'"):
        Plait.from_pretrained(tmp_path / "cut")
