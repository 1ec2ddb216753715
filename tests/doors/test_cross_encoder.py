"""Where other code expects sentence-transformers' CrossEncoder: its evaluators run, and texts are computed once."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import cross_encoder as theirs
from sentence_transformers.cross_encoder import evaluation

from plait import CrossEncoder, Plait, PlaitError
from plait.cross_encoder import _size
from plait.parts import Encoded
from plait.states import States
from plait.text import Segment
from tests.corpus import PASSAGES, QUESTION, raw
from tests.small import small_checkpoint

PAIRS = [(QUESTION, passage) for passage in PASSAGES]


def test_its_arguments_are_theirs() -> None:
    """In their order, with their defaults; without other devices than the model's and pools of processes. `rank` takes
    what theirs took in earlier versions too.
    """
    without = {"device", "pool", "chunk_size", "kwargs"}
    for name, more in (("predict", []), ("rank", ["convert_to_numpy", "convert_to_tensor"])):
        ours, those = (inspect.signature(getattr(of, name)).parameters for of in (CrossEncoder, theirs.CrossEncoder))
        shared = [name for name in those if name not in without]
        assert list(ours) == shared + more
        assert [ours[name].default for name in shared] == [those[name].default for name in shared]


@pytest.mark.parametrize("plan", ["join=0", "join=1", "join=2,mode=oneway", "join=3,compare=cosine"])
def test_it_scores_and_ranks_as_the_model_does(tmp_path: Path, plan: str) -> None:
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "m", heads=("score",)), plan={"score": plan})
    ours = CrossEncoder(model)
    for _ in range(2):  # computed, then remembered
        np.testing.assert_allclose(ours.predict(PAIRS), model.predict(PAIRS), atol=1e-6)
        assert ours.predict(PAIRS[0], activation_fn=raw) == pytest.approx(model.predict(PAIRS[0], activation_fn=raw))
        found = ours.rank(QUESTION, PASSAGES, top_k=3, return_documents=True)
        expected = model.rank(QUESTION, PASSAGES, 3, True)
        assert [row["text"] for row in found] == [row["text"] for row in expected]
        assert [row["score"] for row in found] == pytest.approx([row["score"] for row in expected])
        assert found == ours.rank(query=QUESTION, documents=PASSAGES, top_k=3, activation_fn=None,
                                  convert_to_numpy=True, return_documents=True)  # fmt: skip
    assert ours.predict([]).shape == (0,) and ours.num_labels == 1
    alone = ours.predict(PAIRS, activation_fn=lambda x: (x - x.min()) / (x.max() - x.min()))  # of all scores at once
    assert alone.min() == 0 and alone.max() == 1


@pytest.mark.parametrize(
    "plan", ["join=1,positions=24", "join=2,mode=oneway", "join=1,mode=frozen,roles=passage+query"]
)
def test_a_query_is_read_once(tmp_path: Path, plan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many batches its documents fill; scores are those of pairs that nothing was shared between."""
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "m", heads=("score",)), plan={"score": plan})
    first = model.segments(model.text.roles[0], [QUESTION])[0].ids
    own, read = model.own, list[int]()

    def counting(segments: Sequence[Segment], names: Sequence[str], multiple: int = 1) -> States:
        read.extend(segment.ids == first for segment in segments)
        return own(segments, names, multiple=multiple)

    monkeypatch.setattr(model, "own", counting)
    found = {row["corpus_id"]: row["score"] for row in model.rank(QUESTION, PASSAGES, batch_size=2)}
    assert sum(read) == 1 and len(read) == 1 + len(PASSAGES) > 3
    for number, passage in enumerate(PASSAGES):
        assert found[number] == pytest.approx(model.predict((QUESTION, passage)), abs=1e-5)


@pytest.mark.parametrize("memory", [0, 5_000, 1 << 30])
def test_it_remembers_as_much_as_it_may(checkpoint_path: Path, memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Plait.from_pretrained(checkpoint_path)
    ours, expected = CrossEncoder(model, memory=memory), model.predict(PAIRS)
    computed: list[str] = []
    encode = model.encode

    def counting(role: str, texts: Sequence[str], names: Sequence[str]) -> list[Encoded]:
        computed.extend(texts)
        return encode(role, texts, names)

    monkeypatch.setattr(model, "encode", counting)
    for _ in range(3):
        np.testing.assert_allclose(ours.predict(PAIRS), expected, atol=1e-6)
    assert ours.used <= memory
    assert len(computed) == 4 if memory == 1 << 30 else len(computed) > 4
    ours.predict(PAIRS[:1])
    with torch.no_grad():
        dict(model.named_parameters())["base.embeddings.LayerNorm.weight"].mul_(1.1)
    np.testing.assert_allclose(ours.predict(PAIRS), model.predict(PAIRS), atol=1e-6)


def test_threads_may_share_it(checkpoint_path: Path) -> None:
    """What one remembers no other forgets meanwhile, and each text counts once."""
    model = Plait.from_pretrained(checkpoint_path)
    texts = [(QUESTION, f"{passage} {n}") for passage in PASSAGES for n in range(3)]
    for memory in (30_000, 1 << 30):
        ours = CrossEncoder(model, memory=memory)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(ours.predict, [texts[n % 7 :][:5] for n in range(40)]))
        for n, some in enumerate(found):
            np.testing.assert_allclose(some, model.predict(texts[n % 7 :][:5]), atol=1e-5)
        assert ours.used == sum(_size(text, one) for (_, text), one in ours._known.items()) <= memory


def test_their_evaluators_take_it(tmp_path: Path) -> None:
    model = Plait.from_pretrained(small_checkpoint(tmp_path / "m", heads=("score",)), plan="join=1")
    ours: Any = CrossEncoder(model)
    samples: list[Any] = [{"query": QUESTION, "positive": PASSAGES[:1], "negative": PASSAGES[1:]}]
    ranked = evaluation.CrossEncoderRerankingEvaluator(samples, name="some", write_csv=False)(ours)
    place = [row["corpus_id"] for row in model.rank(QUESTION, PASSAGES)].index(0)
    assert ranked["some_mrr@10"] == pytest.approx(1 / (place + 1))
    assert ours.model_card_data.metrics["some"] == ranked
    labels = [0.1, 0.9, 0.4, 0.3]
    values = evaluation.CrossEncoderCorrelationEvaluator([*map(list, PAIRS)], labels, write_csv=False)(ours)
    assert np.isfinite(list(values.values())).all()
    classes = evaluation.CrossEncoderClassificationEvaluator([*map(list, PAIRS)], [0, 1, 0, 1], write_csv=False)(ours)
    assert 0 <= next(iter(classes.values())) <= 1


def test_what_it_refuses(model: Plait) -> None:
    ours = CrossEncoder(model)
    for keys, words in (
        ({"prompt": "query: "}, "prompts have no place in a plan, but one is 'query: '"),
        ({"prompt_name": "web"}, "one is 'web'"),
        ({"convert_to_tensor": True}, "call torch.from_numpy"),
        ({"convert_to_numpy": False}, "call torch.from_numpy"),
    ):
        with pytest.raises(PlaitError, match=words):
            ours.predict(PAIRS, **keys)
    with pytest.raises(PlaitError, match="write it before the texts"):
        ours.rank(QUESTION, PASSAGES, prompt="query: ")
    with pytest.raises(PlaitError, match=r"load it with Plait\.from_pretrained"):
        CrossEncoder("bundled:minilm-squad")  # type: ignore[arg-type]
    for memory in (-1, "1GB", None, True):
        with pytest.raises(PlaitError, match="memory must be 0 or more bytes, but is"):
            CrossEncoder(model, memory=memory)  # type: ignore[arg-type]
    with pytest.raises(PlaitError, match="passage"):
        ours.predict([(QUESTION, " ")])
