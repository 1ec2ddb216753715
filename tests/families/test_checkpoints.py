"""Checkpoints of every family: what `transformers` saves loads and answers the same, and what is saved loads there."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from plait.data import Document
from plait.errors import DataWarning, PlaitError
from plait.index import Index
from plait.model import Plait
from plait.outputs import Asked, outputs
from plait.parts import states_of
from plait.plan import Plan
from tests.kinds import CLOSING, ROTATING
from tests.small import change_config, small_checkpoint, small_config, small_families, small_pair
from tests.tokenizers import small_tokenizer

FULL = "join=0,positions=continue"
PAIRS = [
    ("who built the bridge?", "A silver bridge of stone was built by the doctor in winter."),
    ("why", "the river"),
    ("Which painter wrote the letters, and when?", "Yellow lanterns: the painter's village (on the mountain) 1843."),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For every family: score1, score3 and span by transformers, both by Plait."""
    root = tmp_path_factory.mktemp("families")
    for model_type in small_families("score"):
        for labels in (1, 3):
            scorer, reader = small_pair(model_type, labels)
            scorer.save_pretrained(root / model_type / f"score{labels}")
            small_tokenizer(model_type).save_pretrained(root / model_type / f"score{labels}")
        if reader is not None:
            reader.save_pretrained(root / model_type / "span")
            small_tokenizer(model_type).save_pretrained(root / model_type / "span")
        small_checkpoint(root / model_type / "both", model_type)
    return root


def raw(x: torch.Tensor) -> torch.Tensor:
    return x


def their_scores(folder: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    theirs = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        rows = [theirs(**tokenizer(*pair, return_tensors="pt")).logits[0] for pair in PAIRS]
    found: np.ndarray[Any, np.dtype[np.float32]] = torch.stack(rows).numpy()
    return found


def assert_scores_agree(folder: Path, labels: int) -> None:
    ours = Plait.from_pretrained(folder, plan=FULL).predict(PAIRS, activation_fn=raw)
    assert ours.dtype == np.float32 and ours.shape == ((3,) if labels == 1 else (3, labels))
    theirs = their_scores(folder)
    assert np.ptp(theirs) > 0.1  # scores that are all alike would prove nothing
    np.testing.assert_allclose(ours.reshape(theirs.shape), theirs, atol=1e-5)


def saved_names(folder: Path) -> set[str]:
    with safe_open(folder / "model.safetensors", "pt") as weights:
        return set(weights.keys())


def assert_same_names(ours: Path, theirs: Path) -> None:
    """As `transformers` saved them; of a family whose published names it translates, as it calls them itself, which it
    reads too.
    """
    if AutoConfig.from_pretrained(ours).model_type in ROTATING:
        _, info = AutoModel.from_pretrained(ours, output_loading_info=True)
        assert not [name for name in info["missing_keys"] if "pooler" not in name]
    else:
        assert saved_names(ours) == saved_names(theirs)


def assert_spans_agree(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    theirs = AutoModelForQuestionAnswering.from_pretrained(folder, num_labels=2).eval()
    ours = Plait.from_pretrained(folder, plan=FULL)
    states, examples = states_of(ours, ours.plan("span"), PAIRS)
    with torch.no_grad():
        logits, layout = ours.logits("span", states, examples)
        begin = 0
        for pair, length in zip(PAIRS, layout.lengths, strict=True):
            out = theirs(**tokenizer(*pair, return_tensors="pt"))
            expected = torch.stack([out.start_logits[0], out.end_logits[0]], -1)
            assert expected.std() > 0.1
            torch.testing.assert_close(logits[begin : begin + length], expected[-length:], atol=1e-5, rtol=1e-5)
            begin += length


def assert_own_spans_agree(folder: Path, tmp_path: Path) -> None:
    """Of a folder with a score head too. ModernBERT's two heads have the same names: `transformers` finds the first."""
    alone = Plait.from_pretrained(folder, heads=["span"])
    alone.save_pretrained(tmp_path / "alone")
    assert_spans_agree(tmp_path / "alone")
    states, examples = states_of(alone, alone.plan("span"), PAIRS)
    both = Plait.from_pretrained(folder, plan={"span": alone.plan("span")})
    assert torch.equal(both.logits("span", states, examples)[0], alone.logits("span", states, examples)[0])
    if "modernbert" not in (folder / "config.json").read_text():
        assert_spans_agree(folder)


@pytest.mark.parametrize("labels", [1, 3])
@pytest.mark.parametrize("model_type", small_families("score"))
def test_scores_are_those_of_transformers(folders: Path, tmp_path: Path, model_type: str, labels: int) -> None:
    folder = folders / model_type / f"score{labels}"
    assert list(Plait.from_pretrained(folder).plans) == ["score"]
    assert_scores_agree(folder, labels)
    Plait.from_pretrained(folder).save_pretrained(tmp_path / "again")
    # Where weights lie in memory moves the last bit on some processors.
    np.testing.assert_allclose(their_scores(tmp_path / "again"), their_scores(folder), atol=1e-6, rtol=1e-6)
    assert_same_names(tmp_path / "again", folder)


@pytest.mark.parametrize("model_type", small_families("span"))
def test_spans_are_those_of_transformers(folders: Path, tmp_path: Path, model_type: str) -> None:
    folder = folders / model_type / "span"
    assert list(Plait.from_pretrained(folder).plans) == ["span"]
    assert_spans_agree(folder)
    Plait.from_pretrained(folder).save_pretrained(tmp_path / "again")
    assert_spans_agree(tmp_path / "again")
    assert_same_names(tmp_path / "again", folder)
    ours = Plait.from_pretrained(folder).state_dict()
    again = Plait.from_pretrained(tmp_path / "again").state_dict()
    assert all(torch.equal(ours[name], again[name]) for name in ours)


@pytest.mark.parametrize("model_type", small_families("span"))
def test_one_folder_carries_both_heads(folders: Path, tmp_path: Path, model_type: str) -> None:
    folder = folders / model_type / "both"
    mode = "joint" if model_type in CLOSING else "oneway"
    model = Plait.from_pretrained(folder, plan=f"score: join=2,mode={mode}; span: join=1")
    assert set(model.plans) == {"score", "span"}
    assert_scores_agree(folder, 1)
    assert_own_spans_agree(folder, tmp_path)
    model.save_pretrained(tmp_path / "again")
    again = Plait.from_pretrained(tmp_path / "again")
    assert again.plans == model.plans and again.fingerprint == model.fingerprint
    assert_scores_agree(tmp_path / "again", 1)
    assert_own_spans_agree(tmp_path / "again", tmp_path)


@pytest.mark.parametrize("model_type", small_families("span"))
def test_a_new_score_head_is_saved_whole(folders: Path, tmp_path: Path, model_type: str) -> None:
    """Whatever modules the family's head is made of: one left out would be random again in `transformers`."""
    model = Plait.from_pretrained(folders / model_type / "span", new_heads=["score"], labels=["no", "yes"])
    ours = model.predict(PAIRS, activation_fn=raw)
    model.save_pretrained(tmp_path / "new")
    again = Plait.from_pretrained(tmp_path / "new")
    assert set(again.plans) == {"score", "span"}
    np.testing.assert_allclose(again.predict(PAIRS, activation_fn=raw), ours, atol=1e-6)
    again.save_pretrained(tmp_path / "again")
    np.testing.assert_allclose(their_scores(tmp_path / "again"), their_scores(tmp_path / "new"), atol=1e-6, rtol=1e-6)
    assert_own_spans_agree(tmp_path / "again", tmp_path)


@pytest.mark.parametrize("model_type", ["bert", "modernbert"])
def test_a_dual_encoder_with_a_span_head_is_saved_whole(folders: Path, tmp_path: Path, model_type: str) -> None:
    plan = {"score": "join=3,compare=cosine", "span": "join=1"}
    model = Plait.from_pretrained(folders / model_type / "span", plan=plan, new_heads=["score"])
    before = model.predict(PAIRS)
    model.save_pretrained(tmp_path / "dual")
    np.testing.assert_array_equal(model.predict(PAIRS), before)
    again = Plait.from_pretrained(tmp_path / "dual")
    assert again.plans == model.plans and again.config.num_labels == 1
    np.testing.assert_allclose(again.predict(PAIRS), before, atol=1e-6)
    spans = [Plait.from_pretrained(folder, plan={"span": "join=1"}, heads=["span"])
             for folder in (tmp_path / "dual", folders / model_type / "span")]  # fmt: skip
    assert len({one.read(PAIRS[0][1]).ask(PAIRS[0][0]).answer for one in spans}) == 1
    assert torch.equal(*(torch.cat([p.flatten() for p in one.heads["span"].parameters()]) for one in spans))


def test_rotations_stay_exact_in_bfloat16(tmp_path: Path) -> None:
    """Frequencies rounded to bfloat16 would be a radian off at 1,000 tokens."""
    for model_type in ("modernbert", "gte", "eurobert"):
        folder = small_checkpoint(tmp_path / model_type, model_type, max_position_embeddings=2048)
        exact, half = (Plait.from_pretrained(folder, dtype=dtype).encoder for dtype in ("float32", "bfloat16"))
        x = torch.randn(1, 3, 4, 8)
        for encoder, other in ((exact, half),):
            relations = [one.family.relation(0) for one in (encoder, other)]
            places = torch.tensor([[5, 700, 2000]])
            assert all(relation is not None for relation in relations)
            first, second = (relation.turned(x, places) for relation in relations if relation is not None)
            torch.testing.assert_close(first, second)


def test_merged_tokens_where_all_are_read_alike_are_refused(tmp_path: Path) -> None:
    folder = small_checkpoint(tmp_path / "mean", "modernbert", classifier_pooling="mean")
    plan = "join=1,mode=oneway,keep.passage=4,selector="
    for fits in (plan + "norm", plan + "ward", "join=3,compare=maxsim,keep.passage=4,selector=ward"):
        Plait.from_pretrained(folder, plan={"score": fits}, heads=["score"])  # the mean is of the reader's tokens alone
    for wrong in ("join=1,keep.passage=4,selector=ward", "join=1,mode=oneway,keep.query=4,selector=ward"):
        with pytest.raises(PlaitError, match="the plan of the score head merges by ward"):
            Plait.from_pretrained(folder, plan={"score": wrong}, heads=["score"])


@pytest.mark.parametrize("labels", [1, 3])
@pytest.mark.parametrize("pooling", ["bos", "mean", "late"])
def test_what_eurobert_pools(tmp_path: Path, pooling: str, labels: int) -> None:
    folder = small_checkpoint(tmp_path / pooling, "eurobert", num_labels=labels, classifier_pooling=pooling)
    assert_scores_agree(folder, labels)
    change_config(folder, classifier_pooling="max")
    with pytest.raises(PlaitError, match=r"classifier_pooling must be one of bos, mean, late, but .* 'max'; mend"):
        Plait.from_pretrained(folder)


@pytest.mark.parametrize(
    ("model_type", "pooling"), [("modernbert", "mean"), ("eurobert", "mean"), ("eurobert", "late")]
)
def test_a_score_read_from_the_mean_of_all_tokens(tmp_path: Path, model_type: str, pooling: str) -> None:
    """As classifiers of these can; a reader that others do not read has the mean of its own."""
    folder = small_checkpoint(tmp_path / "mean", model_type, classifier_pooling=pooling)
    assert_scores_agree(folder, 1)
    model = Plait.from_pretrained(folder, plan={"score": "join=1,mode=oneway"}, heads=["score"])
    (query, passage) = PAIRS[0]
    plan = model.plan("score")
    states, examples = states_of(model, plan, PAIRS[:1])
    with torch.no_grad():
        last = model.encoder.join(plan, states, examples, "all")
        expected = model.read_out("score", model.before_mean(last.states[: last.layout.used]).mean(0, keepdim=True))
    np.testing.assert_allclose(model.predict([(query, passage)], activation_fn=raw), expected[0].numpy(), atol=1e-5)
    for other in ("join=0", "join=1", "join=1,mode=oneway", "join=2,mode=frozen,states=kv"):  # training reads the same
        plans = {"score": Plan.parse(other)}
        states, examples = states_of(model, plans["score"], PAIRS)
        logits, _ = model.logits("score", states, examples, plans["score"])
        for upper in (False, True):
            [taught] = outputs(model, plans, states, [Asked("score", examples)], upper=upper)
            torch.testing.assert_close(taught.logits, logits, atol=1e-5, rtol=1e-5)
    index = Index.create(tmp_path / "store", model, name=str(folder), codec="float32")
    index.add([Document(str(i), text) for i, (_, text) in enumerate(PAIRS)])
    ranked = {hit.document: hit.score for hit in index.rank(query, first_stage="all").hits}
    scores = model.predict([(query, text) for _, text in PAIRS], activation_fn=raw)
    assert [ranked[str(i)] for i in range(len(PAIRS))] == pytest.approx(scores.tolist(), abs=1e-5)


def test_albert_runs_every_layer_of_a_group(tmp_path: Path) -> None:
    """Groups of two layers, run in two turns, are four layers, of each of which a plan can speak."""
    folder = small_checkpoint(tmp_path / "albert", "albert", num_hidden_layers=2, inner_group_num=2)
    assert Plait.from_pretrained(folder).layers == 4
    assert_scores_agree(folder, 1)
    assert_spans_agree(folder)
    model = Plait.from_pretrained(folder, plan={"score": "join=3,mode=oneway,bottleneck=8"}, new_heads=["score"])
    model.save_pretrained(tmp_path / "again")
    again = Plait.from_pretrained(tmp_path / "again")
    assert again.plans == model.plans
    np.testing.assert_allclose(again.predict(PAIRS), model.predict(PAIRS), atol=1e-6)


@pytest.mark.parametrize("model_type", small_families("score"))
def test_segments_are_the_tokenizers_own_pair(folders: Path, model_type: str) -> None:
    model = Plait.from_pretrained(folders / model_type / "score1")
    for query, passage in PAIRS:
        segments = [
            model.text.segments(role, [text])[0] for role, text in zip(model.text.roles, (query, passage), strict=True)
        ]
        pair = model.tokenizer(query, passage)
        assert segments[0].ids + segments[1].ids == pair["input_ids"]
        types = [s.type for s in segments for _ in s.ids]
        known = model.encoder.family.shape.types  # DeBERTa v3's tokenizer gives types that its model does not have
        assert types == [min(t, known - 1) for t in pair.get("token_type_ids", [0] * len(types))]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_weights_stay_what_they_are(tmp_path: Path, dtype: str) -> None:
    small_checkpoint(tmp_path / "one")
    model = Plait.from_pretrained(tmp_path / "one", dtype=dtype)
    model.save_pretrained(tmp_path / "half")
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == dtype
    assert AutoModelForSequenceClassification.from_pretrained(tmp_path / "half").dtype == getattr(torch, dtype)


# What cannot be loaded is refused in one sentence


@pytest.mark.parametrize("model_type", ["bert", "modernbert", "xlnet"])
def test_heads_that_share_a_pass_say_what_each_says_alone(tmp_path: Path, model_type: str) -> None:
    folder = small_checkpoint(tmp_path / "m", model_type)
    for keep in ("", ",keep.passage=9@2,protect=ends"):
        model = Plait.from_pretrained(folder, plan=f"join=1{keep}")
        states, examples = states_of(model, model.plan("score"), PAIRS)
        with torch.no_grad():
            found = outputs(model, model.plans, states, [Asked("score", examples), Asked("span", examples)])
            for one, head in zip(found, ("score", "span"), strict=True):
                alone, layout = model.logits(head, states, examples)
                assert one.layout.lengths == layout.lengths or head == "score"
                torch.testing.assert_close(one.logits[: layout.used], alone[: layout.used], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "model_type", ["bert", "roberta", "electra", "distilbert", "albert", "mpnet", "modernbert", "deberta-v2", "xlnet"]
)
def test_multiple_choice_is_that_of_transformers(tmp_path: Path, model_type: str) -> None:
    """Its head scores each option by itself, with one label; what is saved is a multiple-choice model again."""
    tokenizer = small_tokenizer(model_type)
    torch.manual_seed(0)
    theirs = AutoModelForMultipleChoice.from_config(small_config(model_type, vocab_size=len(tokenizer))).eval()
    for name, parameter in theirs.named_parameters():
        if "norm" not in name.lower():
            torch.nn.init.normal_(parameter, std=0.2)
    theirs.save_pretrained(tmp_path / "theirs")
    tokenizer.save_pretrained(tmp_path / "theirs")
    with torch.no_grad():
        logits = [
            theirs(**{k: v[None] for k, v in tokenizer(*pair, return_tensors="pt").items()}).logits[0, 0]
            for pair in PAIRS
        ]
    model = Plait.from_pretrained(tmp_path / "theirs", plan=FULL)
    np.testing.assert_allclose(model.predict(PAIRS, activation_fn=raw), torch.stack(logits).numpy(), atol=1e-5)
    model.save_pretrained(tmp_path / "ours")
    assert_same_names(tmp_path / "ours", tmp_path / "theirs")
    again = AutoModelForMultipleChoice.from_pretrained(tmp_path / "ours")
    assert all(torch.equal(x, again.state_dict()[name]) for name, x in theirs.state_dict().items())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # of the head that gives way
        classes = Plait.from_pretrained(tmp_path / "theirs", new_heads=["score"], labels=["no", "yes", "unknown"])
    assert classes.predict(PAIRS).shape == (3, 3)
