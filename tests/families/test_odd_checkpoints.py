"""Checkpoints as people have them: adapters, pickled and sharded weights, heads of other tasks."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

from plait.errors import DataWarning, PlaitError
from plait.model import Plait
from tests.command import done, refused
from tests.small import small_config, small_pair, small_writer
from tests.tokenizers import small_tokenizer

PAIRS = [("who built the bridge?", "a silver bridge of stone was built by the doctor."), ("why", "the river")]
FULL = "join=0,positions=continue"
TARGETS = {"bert": ["query", "value"], "deberta-v2": ["query_proj", "key_proj"], "t5": ["q", "v"]}


@pytest.fixture(autouse=True)
def quiet_peft() -> Any:
    """It says what it cannot know of random models."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="peft")
        warnings.filterwarnings("ignore", category=FutureWarning)
        yield


def raw(x: torch.Tensor) -> torch.Tensor:
    return x


def scored(folder: Path, model_type: str = "bert", labels: int = 1) -> Any:
    """A random classifier, saved by `transformers` with its tokenizer."""
    scorer, _ = small_pair(model_type, labels)
    scorer.save_pretrained(folder)
    small_tokenizer(model_type).save_pretrained(folder)
    return scorer


def scores(model: Any, model_type: str = "bert") -> np.ndarray[Any, np.dtype[np.float32]]:
    """What a model of `transformers` gives for each pair."""
    tokenizer = small_tokenizer(model_type)
    with torch.no_grad():
        rows = [model(**tokenizer(*pair, return_tensors="pt")).logits[0] for pair in PAIRS]
    found: np.ndarray[Any, np.dtype[np.float32]] = torch.stack(rows).numpy()
    return found


def adapted(model: Any, base: Path, folder: Path, model_type: str, task: str) -> Any:
    """Save a random LoRA of a model, and give the model with it."""
    config = peft.LoraConfig(task_type=task, r=4, target_modules=TARGETS[model_type], base_model_name_or_path=str(base))
    torch.manual_seed(5)
    live = peft.get_peft_model(model, config).eval()
    for name, parameter in live.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    live.save_pretrained(str(folder))
    return live


def test_a_lora_with_a_weight_that_is_nowhere_is_refused(tmp_path: Path) -> None:
    """A head that neither the base nor the adapter holds would be random."""
    headless = AutoModel.from_config(small_config("deberta-v2", vocab_size=len(small_tokenizer("deberta-v2"))))
    headless.save_pretrained(tmp_path / "base")
    small_tokenizer("deberta-v2").save_pretrained(tmp_path / "base")
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
    adapted(base, tmp_path / "base", tmp_path / "lora", "deberta-v2", "SEQ_CLS")
    with pytest.raises(PlaitError, match=r"pooler\.dense\.\w+ of .* is in neither"):
        Plait.from_pretrained(tmp_path / "lora")
    scored(tmp_path / "bert")
    classifier = AutoModelForSequenceClassification.from_pretrained(tmp_path / "bert")
    adapted(classifier, tmp_path / "bert", tmp_path / "nameless", "bert", "SEQ_CLS")
    settings = tmp_path / "nameless" / "adapter_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"task_type": None}))
    with pytest.raises(PlaitError, match="has no place there"):
        Plait.from_pretrained(tmp_path / "nameless")


def test_a_lora_brings_its_own_number_of_labels(tmp_path: Path) -> None:
    scored(tmp_path / "base", "bert", 3)
    base = AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "base", num_labels=1, ignore_mismatched_sizes=True
    )
    live = adapted(base, tmp_path / "base", tmp_path / "lora", "bert", "SEQ_CLS")
    model = Plait.from_pretrained(tmp_path / "lora", plan=FULL)
    np.testing.assert_allclose(model.predict(PAIRS, activation_fn=raw)[:, None], scores(live), atol=1e-5)
    assert "join=2" in done("plan", tmp_path / "lora", "--plan", "join=2", "--lengths", "query=5,passage=20")


def test_pickled_weights_do_not_come_in_by_an_adapter(tmp_path: Path) -> None:
    scorer = scored(tmp_path / "base")
    adapted(AutoModelForSequenceClassification.from_pretrained(tmp_path / "base"), tmp_path / "base",
            tmp_path / "lora", "bert", "SEQ_CLS")  # fmt: skip
    (tmp_path / "base" / "model.safetensors").unlink()
    torch.save(scorer.state_dict(), tmp_path / "base" / "pytorch_model.bin")
    with pytest.raises(PlaitError, match="weights must be in safetensors"):
        Plait.from_pretrained(tmp_path / "lora")
    assert Plait.from_pretrained(tmp_path / "lora", use_safetensors=False).predict(PAIRS).shape == (2,)


def test_a_live_lora_of_a_fused_matrix(tmp_path: Path) -> None:
    """ModernBERT's queries, keys and values are rows of one matrix."""
    scored(tmp_path / "base", "modernbert")
    model = Plait.from_pretrained(tmp_path / "base", plan="join=1,mode=oneway")
    before = model.predict(PAIRS, activation_fn=raw)
    config = peft.LoraConfig(r=4, target_modules=["Wqkv"], init_lora_weights=False)
    live = peft.inject_adapter_in_model(config, model.base).eval()
    unmerged = model.predict(PAIRS, activation_fn=raw)
    assert np.abs(unmerged - before).max() > 0.01
    for module in live.modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            module.merge()
    np.testing.assert_allclose(model.predict(PAIRS, activation_fn=raw), unmerged, atol=1e-5)


@pytest.mark.parametrize("labels", [1, 3])
@pytest.mark.parametrize("model_type", ["bert", "deberta-v2"])
def test_a_lora_is_merged_into_its_base(tmp_path: Path, model_type: str, labels: int) -> None:
    before = scores(scored(tmp_path / "base", model_type, labels), model_type)
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
    live = adapted(base, tmp_path / "base", tmp_path / "lora", model_type, "SEQ_CLS")
    assert not (tmp_path / "lora" / "config.json").exists()
    expected = scores(live, model_type)
    assert np.abs(expected - before).max() > 0.1
    model = Plait.from_pretrained(tmp_path / "lora", plan=FULL)
    np.testing.assert_allclose(model.predict(PAIRS, activation_fn=raw).reshape(expected.shape), expected, atol=1e-5)
    split = Plait.from_pretrained(tmp_path / "lora", plan="join=2,mode=oneway")
    split.save_pretrained(tmp_path / "merged")
    again = Plait.from_pretrained(tmp_path / "merged")
    np.testing.assert_allclose(again.predict(PAIRS), split.predict(PAIRS), atol=1e-6)


def test_a_lora_that_is_left_live_is_not_read_past(tmp_path: Path) -> None:
    """A split model of one query reads states by the projections' own matrices, which a LoRA's are not alone."""
    scored(tmp_path / "base")
    model = Plait.from_pretrained(tmp_path / "base", plan="join=1,mode=oneway")
    merged = Plait.from_pretrained(tmp_path / "base", plan="join=1,mode=oneway")
    config = peft.LoraConfig(r=4, target_modules=["key", "value"], init_lora_weights=False)
    torch.manual_seed(5)
    live = peft.inject_adapter_in_model(config, model.base).eval()
    torch.manual_seed(5)
    other = peft.inject_adapter_in_model(config, merged.base).eval()
    with torch.no_grad():
        for (_, mine), (_, theirs) in zip(live.named_parameters(), other.named_parameters(), strict=True):
            theirs.copy_(mine)
    for module in other.modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            module.merge()
    base: Any = merged.base
    for layer in base.encoder.layer:
        attention = layer.attention.self
        attention.key, attention.value = attention.key.base_layer, attention.value.base_layer
    plain = Plait.from_pretrained(tmp_path / "base", plan="join=1,mode=oneway").predict(PAIRS, activation_fn=raw)
    got = model.predict(PAIRS, activation_fn=raw)
    assert np.abs(got - plain).max() > 0.01
    np.testing.assert_allclose(got, merged.predict(PAIRS, activation_fn=raw), atol=1e-5)


def test_a_lora_of_a_model_that_writes(tmp_path: Path) -> None:
    small_writer("t5", tmp_path / "base")
    base = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "base")
    live = adapted(base, tmp_path / "base", tmp_path / "lora", "t5", "SEQ_2_SEQ_LM")
    tokenizer = small_tokenizer("t5")
    expected = []
    for pair in PAIRS:
        ids = live.generate(**tokenizer(*pair, return_tensors="pt"), max_new_tokens=8, do_sample=False)
        expected += tokenizer.batch_decode(ids, skip_special_tokens=True)
    assert expected != Plait.from_pretrained(tmp_path / "base").generate(PAIRS, max_new_tokens=8)
    assert Plait.from_pretrained(tmp_path / "lora").generate(PAIRS, max_new_tokens=8) == expected


def test_an_adapter_that_cannot_be_merged_is_refused(tmp_path: Path) -> None:
    scored(tmp_path / "base")
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
    adapted(base, tmp_path / "base", tmp_path / "lora", "bert", "SEQ_CLS")
    settings = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    (tmp_path / "lora" / "adapter_config.json").write_text(json.dumps(settings | {"task_type": "CAUSAL_LM"}))
    with pytest.raises(PlaitError, match="is for 'CAUSAL_LM'"):
        Plait.from_pretrained(tmp_path / "lora")
    gone = settings | {"base_model_name_or_path": str(tmp_path / "gone")}
    (tmp_path / "lora" / "adapter_config.json").write_text(json.dumps(gone))
    assert "gone" in refused("predict", tmp_path / "lora", tmp_path / "pairs.jsonl")


def test_pickled_weights_are_read_only_when_they_may_be(tmp_path: Path) -> None:
    scorer = scored(tmp_path / "old")
    (tmp_path / "old" / "model.safetensors").unlink()
    torch.save(scorer.state_dict(), tmp_path / "old" / "pytorch_model.bin")
    with pytest.raises(PlaitError, match="weights must be in safetensors"):
        Plait.from_pretrained(tmp_path / "old")
    model = Plait.from_pretrained(tmp_path / "old", plan=FULL, use_safetensors=False)
    np.testing.assert_allclose(model.predict(PAIRS, activation_fn=raw)[:, None], scores(scorer), atol=1e-5)
    model.save_pretrained(tmp_path / "new")
    again = Plait.from_pretrained(tmp_path / "new")
    assert again.fingerprint == model.fingerprint
    np.testing.assert_allclose(again.predict(PAIRS), model.predict(PAIRS), atol=1e-6)


def test_sharded_and_half_precision_weights(tmp_path: Path) -> None:
    scorer = scored(tmp_path / "one")
    scorer.half().save_pretrained(tmp_path / "many", max_shard_size="20KB")
    small_tokenizer("bert").save_pretrained(tmp_path / "many")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 1
    found = Plait.from_pretrained(tmp_path / "many", plan=FULL).predict(PAIRS, activation_fn=raw)
    np.testing.assert_allclose(found[:, None], scores(scorer.float()), atol=1e-5)
    whole = Plait.from_pretrained(tmp_path / "one", plan=FULL).predict(PAIRS, activation_fn=raw)
    np.testing.assert_allclose(found, whole, atol=0.05)


def test_a_head_that_nothing_reads_is_named(tmp_path: Path) -> None:
    AutoModelForMaskedLM.from_config(small_config("bert", vocab_size=len(small_tokenizer()))).save_pretrained(tmp_path)
    small_tokenizer().save_pretrained(tmp_path)
    with pytest.warns(DataWarning, match=r"that nothing here reads: cls \(\d+\)"):
        model = Plait.from_pretrained(tmp_path)
    with pytest.raises(PlaitError, match="but its heads are: none"):
        model.predict(PAIRS)
