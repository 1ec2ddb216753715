"""Saliency: fitted to gradients, kept with the model, bound to its stores; it leaves what answers depend on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from plait.config import TrainConfig
from plait.data import Document, read_examples
from plait.errors import PlaitError
from plait.index import Index
from plait.model import Plait
from plait.plan import Plan
from plait.saliency import RIDGE, Saliency
from plait.sweep import sweep
from plait.training import train
from tests.bound import saved_and_bound
from tests.command import config, done, refused
from tests.copper import labelled, write
from tests.corpus import PASSAGES
from tests.small import small_checkpoint, small_writer

TEXTS = ["the river of stone", "the garden in winter", "a letter of the queen", "music in the village stone"]
PLAN = "join=1,mode=oneway,keep.passage=3,selector=saliency"


def weight(model: Plait, layer: str) -> torch.Tensor:
    found = model.saliency[layer]
    assert isinstance(found, Saliency)
    return found.weight


def values(folder: Path, **changes: object) -> TrainConfig:
    """A training of nothing, with single texts, in one batch."""
    rows = [{"text": text, "label": float(number)} for number, text in enumerate(TEXTS)]
    (folder / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    settings = TrainConfig(
        model=str(small_checkpoint(folder / "start", heads=("score",), num_labels=1)), data=str(folder / "data.jsonl"),
        output=str(folder / "out"), task="value", texts="text", score="join=0,roles=text,keep.text=3,selector=saliency",
        epochs=0.0, bfloat16=False,
    )  # fmt: skip
    return replace(settings, **changes)  # type: ignore[arg-type]


def test_it_is_the_regression_of_log_gradients_on_embeddings(tmp_path: Path) -> None:
    settings = values(tmp_path)
    found = weight(Plait.from_pretrained(train(settings)), "0").numpy()
    model = AutoModelForSequenceClassification.from_pretrained(settings.model).eval()
    tokenizer = AutoTokenizer.from_pretrained(settings.model)
    xs, ys = [], []
    for text in TEXTS:
        kept: list[torch.Tensor] = []
        hook = model.bert.embeddings.register_forward_hook(lambda _, __, out, kept=kept: kept.append(out))
        logits = model(**tokenizer(text, return_tensors="pt")).logits
        hook.remove()
        [gradient] = torch.autograd.grad(logits.sum(), kept)
        x, y = kept[0][0, 1:].detach().numpy(), np.log(gradient[0, 1:].norm(dim=1).numpy())
        xs.append(x - x.mean(0))
        ys.append(y - y.mean())
    x, y = np.concatenate(xs).astype(np.float64), np.concatenate(ys).astype(np.float64)
    moments = x.T @ x
    expected = np.linalg.solve(moments + RIDGE * moments.diagonal().mean() * np.eye(len(moments)), x.T @ y)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_what_was_fitted_stays(tmp_path: Path) -> None:
    settings = values(tmp_path)
    first, start = (Plait.from_pretrained(path) for path in (train(settings), settings.model))
    assert all(torch.equal(weight, first.base.state_dict()[name]) for name, weight in start.base.state_dict().items())
    with torch.no_grad():
        weight(first, "0").fill_(0.5)
    first.save_pretrained(tmp_path / "changed")
    again = replace(settings, model=str(tmp_path / "changed"), output=str(tmp_path / "again"), epochs=1.0)
    assert torch.equal(weight(Plait.from_pretrained(train(again)), "0"), torch.full((32,), 0.5))


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("whole", "selector"),
    [
        ("join=0", "saliency"),
        ("join=0,positions=continue", "saliency"),
        ("join=1,mode=oneway", "saliency"),
        ("join=1,bottleneck=8", "saliency"),
        ("join=1,mode=oneway", "salient-coreset"),
    ],
)
def test_the_word_that_counts_is_kept(tmp_path: Path, whole: str, selector: str) -> None:
    """A model that was trained with all tokens knows that copper is what is asked for; a budget of one then leaves it,
    beside the first token, which is never dropped.
    """
    labelled(tmp_path / "train.jsonl", "class", 200, seed=1)
    examples = read_examples(labelled(tmp_path / "dev.jsonl", "class", 80, seed=2))
    texts = [example.texts[1] for example in examples if example.label == "yes"]
    done("train", config(tmp_path, task="class", score=whole))
    plan = f"{whole},keep.passage=2@0,selector={selector}"
    few = config(tmp_path, task="class", score=plan, epochs=0.0, output=str(tmp_path / "few"))
    few.write_text(few.read_text().replace(str(tmp_path / "start"), str(tmp_path / "out" / "final")))
    done("train", few)
    model = Plait.from_pretrained(tmp_path / "few" / "final")
    segments = model.text.segments("passage", texts)
    with torch.no_grad():
        places = model.own(segments, [f"places~{selector}:2@0"]).tensors[f"places~{selector}:2@0"][: 2 * len(texts)]
    kept = [
        model.tokenizer.decode([segment.ids[i] for i in row])
        for segment, row in zip(segments, places.long().view(-1, 2).tolist(), strict=True)
    ]
    assert len(kept) > 30 and sum("copper" in words for words in kept) > 0.9 * len(kept), kept


@pytest.mark.parametrize("selector", ["salient-coreset", "salient-kmeans"])
def test_a_passage_alone_in_company_and_stored(tmp_path: Path, selector: str) -> None:
    folder = small_checkpoint(tmp_path / "m", heads=("score",))
    plan = f"join=1,mode=oneway,keep.passage=5,selector={selector}"
    model = Plait.from_pretrained(folder, plan=plan, new_heads=("score",))
    with torch.no_grad():
        weight(model, "1").normal_(generator=torch.Generator().manual_seed(1))
    pairs = [("who built it?", text) for text in PASSAGES]
    together = model.predict(pairs, activation_fn=lambda x: x)
    alone = [float(model.predict(pair, activation_fn=lambda x: x)) for pair in pairs]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    index = Index.create(tmp_path / "s.plait", model, name="", codec="float32")
    index.add(Document(str(number), text) for number, text in enumerate(PASSAGES))
    hits = index.rank("who built it?", None, first_stage="all").hits
    found = {int(hit.id): hit.score for hit in hits}
    np.testing.assert_allclose([found[number] for number in range(len(PASSAGES))], together, atol=1e-5)


def test_it_is_the_models_and_its_stores(tmp_path: Path) -> None:
    folder = small_checkpoint(tmp_path / "m", heads=("score",))
    with pytest.raises(PlaitError, match="the checkpoint has none at layer 1"):
        Plait.from_pretrained(folder, plan=PLAN)
    models = []
    for seed in (1, 2):
        model = Plait.from_pretrained(folder, plan=PLAN, new_heads=("score",))
        with torch.no_grad():
            weight(model, "1").normal_(generator=torch.Generator().manual_seed(seed))
        models.append(model)
    models, index = saved_and_bound(tmp_path, models, "float32")
    [best, *_] = index.rank("river").hits
    assert best.score == pytest.approx(
        float(models[0].predict(("river", best.text), activation_fn=lambda x: x)), abs=1e-4
    )
    for name in ("states.1~saliency:3@1", "states.2~saliency:3@2"):
        if "@1" in name:
            assert len(models[0].encode("passage", ["the river of stone"], [name])) == 1
        else:
            with pytest.raises(PlaitError, match="states have names like"):
                models[0].encode("passage", ["the river of stone"], [name])


def test_it_is_of_one_layer(tmp_path: Path) -> None:
    folder = small_checkpoint(tmp_path / "m", heads=("score",))
    model = Plait.from_pretrained(folder, plan=PLAN, new_heads=("score",))
    examples = read_examples(write(tmp_path / "data.jsonl", "rank", 4, seed=1))
    points = sweep(model, "rank", examples, codecs=["int8"], known=3)
    assert [point.plan for point in points if "keep" in point.plan] == [PLAN]
    settings = {"task": "rank", "score": PLAN, "data": str(tmp_path / "data.jsonl")}
    assert "but the score head of this one is new" in refused("train", config(tmp_path, **settings))
    settings |= {"elastic": "oneway", "model": str(folder)}
    assert "its saliency was trained for join=1" in refused("train", config(tmp_path, **settings))
    model.save_pretrained(tmp_path / "salient")
    whole, salient = (Plait.from_pretrained(tmp_path / "salient", plan=plan) for plan in ("join=1,mode=oneway", None))
    assert list(whole.saliency) == list(salient.saliency) == ["1"]
    assert whole.fingerprint == Plait.from_pretrained(folder).fingerprint != salient.fingerprint
    settings = {"task": "rank", "score": "join=1,mode=oneway", "data": str(tmp_path / "data.jsonl")}
    done("train", config(tmp_path, **settings, model=str(tmp_path / "salient"), epochs=1.0))
    assert not Plait.from_pretrained(tmp_path / "out" / "final").saliency
    with pytest.raises(PlaitError, match="a selector without saliency"):
        Plait.from_pretrained(folder, plan="join=1,keep.passage=3@2,selector=saliency", new_heads=("score",))


def test_of_single_texts_it_stays_where_it_is(tmp_path: Path) -> None:
    plan = "join=2,roles=text,known=,keep.text=3@2,selector=saliency"
    settings = values(tmp_path, score=plan)
    model = Plait.from_pretrained(train(settings))
    points = sweep(model, "value", read_examples(settings.data, texts=["text"]), known=2)
    assert [point.plan for point in points][1:] == [str(Plan.parse(plan))]


@pytest.mark.parametrize("kind", ["t5", "xlnet"])
def test_embeddings_that_are_not_trained_say_it_too(tmp_path: Path, kind: str) -> None:
    """In these families they are a table of tokens alone, which a training leaves as it is unless it is told to."""
    if kind == "t5":
        start = small_writer(kind, tmp_path / "start")
    else:
        start = small_checkpoint(tmp_path / "start", kind, heads=("score",), num_labels=1)
    rows = [{"query": "river", "passage": text, "label": "stone" if kind == "t5" else 1.0} for text in TEXTS]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    plan = "join=2,keep.passage=3@0,selector=saliency,protect=ends"
    settings = TrainConfig(
        model=str(start), data=str(tmp_path / "data.jsonl"), output=str(tmp_path / "out"), epochs=0.0, bfloat16=False,
        task="text" if kind == "t5" else "value", text=plan if kind == "t5" else "join=0",
        score="join=0" if kind == "t5" else plan,
    )  # fmt: skip
    assert float(weight(Plait.from_pretrained(train(settings)), "0").abs().max()) > 0
