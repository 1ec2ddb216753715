"""Law 3: what is stored answers as what is live: a lossless codec changes nothing, a lossy one keeps its bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from plait.data import Document
from plait.errors import PlaitError
from plait.index import Index
from plait.model import Plait
from plait.scoring import Timing, encode_query, score, spans
from plait.store import Codec
from tests.small import LAYERS, small_checkpoint
from tests.tokenizers import WORDS

MODES = (("joint", "hidden"), ("oneway", "hidden"), ("oneway", "kv"), ("frozen", "hidden"), ("frozen", "kv"))
SCORES = [
    (join, f"join={join},mode={mode}" + (",states=kv" if kind == "kv" else ""))
    for mode, kind in MODES
    for join in range(LAYERS)
]
SCORES += [
    (1, "join=1,mode=oneway,keep.passage=6"),
    (2, "join=2,keep.passage=0.4,selector=even,protect=ends"),
    (2, "join=2,keep.passage=9@1+4,keep.query=3,selector=nearest"),
    (1, "join=1,mode=oneway,keep.passage=5,selector=tome"),
    (1, "join=1,mode=frozen,states=kv,keep.passage=0.5,selector=kmeans"),
    (1, "join=1,keep.passage=5@2,selector=attention"),
    (1, "join=1,mode=oneway,bottleneck=12,keep.passage=7,selector=nearest"),
    (2, "join=2,mode=frozen,bottleneck=20"),
    (2, "join=3,compare=cosine,pool=mean"),
    (2, "join=3,compare=maxsim"),
    (2, "join=3,compare=maxsim,keep.passage=4,selector=ward"),
    (2, "join=3,compare=maxsim,bottleneck=12"),
    (2, "join=3,compare=cosine,bottleneck=20"),
]
QUERIES = [
    "who built the silver bridge?",
    "why",
    "What was found in the garden of the castle, and by which doctor on Sunday?",
]


def documents() -> list[Document]:
    """Twelve texts of 3 to 60 words, the longest of several passages."""
    chance = np.random.default_rng(7)
    words = [w for w in WORDS if w.isalpha()]
    texts = [" ".join(chance.choice(words, n)) for n in (3, 60, 4, 8, 15, 16, 33, 9, 20, 28, 5, 12)]
    return [Document(f"d{i}", text + ".") for i, text in enumerate(texts)]


def build(path: Path, model: Plait, codec: str) -> Index:
    index = Index.create(path, model, name="not loaded", codec=codec, passage_tokens=40, overlap=8)
    index.add(documents())
    return Index.open(path, model)


def planned(checkpoint_path: Path, plan: str, join: int, roles: str = "query+passage") -> Plait:
    """The span head can be joint only; both heads share the store. New heads allow for new bottlenecks."""
    plans = {"score": f"{plan},reader=query", "span": f"join={join},reader=passage"}
    plans = {head: f"{plan},roles={roles},known=passage" for head, plan in plans.items()}
    return Plait.from_pretrained(checkpoint_path, plan=plans, new_heads=("score",) if "bottleneck" in plan else ())


@pytest.mark.parametrize(("join", "plan"), SCORES, ids=[plan for _, plan in SCORES])
def test_a_lossless_store_answers_as_live_texts(checkpoint_path: Path, tmp_path: Path, join: int, plan: str) -> None:
    assert_stored_is_live(planned(checkpoint_path, plan, join), tmp_path)


FAMILIES = [
    (model_type, join, plan)
    for model_type in ("distilbert", "albert", "mpnet", "modernbert", "deberta-v2")
    for join, plan in SCORES
    if plan in ("join=0,mode=joint", "join=2,mode=oneway", "join=1,mode=frozen,states=kv")
    or "tome" in plan or "bottleneck=12" in plan or plan.endswith("maxsim")
] + [
    (model_type, 2, "join=2,mode=oneway")
    for model_type in ("roberta", "xlm-roberta", "camembert", "electra", "jina_embeddings_v3")
]  # fmt: skip


@pytest.mark.parametrize(("model_type", "join", "plan"), FAMILIES, ids=str)
def test_of_families_with_adapters_of_their_own(tmp_path: Path, model_type: str, join: int, plan: str) -> None:
    folder = small_checkpoint(tmp_path / "model", model_type, max_position_embeddings=128)
    assert_stored_is_live(planned(folder, plan, join), tmp_path)


@pytest.mark.parametrize("model_type", ["gte", "eurobert"])
@pytest.mark.parametrize(
    "plan", ["join=1", "join=1,mode=oneway,states=kv", "join=1,mode=oneway,keep.passage=5", "join=3,compare=maxsim"]
)
def test_of_families_without_spans(tmp_path: Path, model_type: str, plan: str) -> None:
    folder = small_checkpoint(tmp_path / "model", model_type, max_position_embeddings=128)
    model = Plait.from_pretrained(folder, plan={"score": plan}, heads=("score",))
    assert_scores_are_live(model, build(tmp_path / "s.plait", model, "float32"))


@pytest.mark.parametrize("plan", ["join=0,mode=joint", "join=2,mode=oneway", "join=1,mode=frozen,states=kv"])
@pytest.mark.parametrize("roles", ["query+passage", "passage+query"])
def test_of_a_family_whose_classification_token_stands_last(tmp_path: Path, roles: str, plan: str) -> None:
    """It is the query's, and reads, where the passage comes first; else the passage's, and plans are joint."""
    folder = small_checkpoint(tmp_path / "model", "xlnet")
    if roles == "passage+query" or "joint" in plan:
        assert_stored_is_live(planned(folder, plan, 1, roles), tmp_path)
        return
    with pytest.raises(PlaitError, match=r"reader is query; give roles=passage\+query,reader=query,known=passage"):
        planned(folder, plan, 1, roles)


def assert_scores_are_live(model: Plait, index: Index) -> None:
    ids = index.store.ids()
    assert len(ids) > 12
    for query in QUERIES:
        hits = index.rank(query, top_k=100, first_stage="all").hits
        assert sorted(hit.id for hit in hits) == sorted(ids)
        pairs = [{"query": query, "passage": hit.text} for hit in hits]
        live = model.predict([tuple(p[r] for r in model.text.roles) for p in pairs], activation_fn=lambda x: x)
        np.testing.assert_allclose([hit.score for hit in hits], live, atol=1e-5)
        assert np.ptp(live) > 0.01


def assert_stored_is_live(model: Plait, folder: Path) -> None:
    index = build(folder / "s.plait", model, "float32")
    assert_scores_are_live(model, index)
    passages = {p.id: p for p in index.store.passages(index.store.ids())}
    for query in QUERIES:
        for document in ("d1", "d4"):
            found = index.answer_in(query, document)
            texts = [passages[i].text for i in index.store.passage_ids(document)]
            best, where = max((_live_span(model, query, text), i) for i, text in enumerate(texts))
            assert found.answer == best[1] and found.score == pytest.approx(best[0], abs=1e-5)
            assert found.hit.text == texts[where]
        answers = index.ask(query, top_k=4, read=4, first_stage="all").answers
        for answer in answers:
            value, text = _live_span(model, query, answer.hit.text)
            assert answer.answer == text == answer.hit.text[answer.start : answer.end]
            assert answer.score == pytest.approx(value + answer.hit.score, abs=2e-5)


def test_spans_of_reduced_passages(checkpoint_path: Path, tmp_path: Path) -> None:
    """Only tokens that are left can begin or end an answer, and their places are those of the text."""
    plan = "join=1,reader=passage,keep.passage=6,selector=even"
    model = Plait.from_pretrained(checkpoint_path, plan={"score": "join=1,mode=oneway", "span": plan})
    index = build(tmp_path / "s.plait", model, "bfloat16")
    whole = Plait.from_pretrained(checkpoint_path, plan={"score": "join=1,mode=oneway", "span": "join=1"})
    everywhere = build(tmp_path / "w.plait", whole, "bfloat16")
    different = 0
    for query in QUERIES:
        for document in ("d0", "d1", "d6", "d9"):
            found = index.answer_in(query, document)
            assert found.answer == found.hit.text[found.start : found.end] != ""
            live = _live_span(model, query, found.hit.text)
            assert found.answer == live[1] and found.score == pytest.approx(live[0], abs=0.1)
            different += found.answer != everywhere.answer_in(query, document).answer
    assert different


def _live_span(model: Plait, query: str, text: str) -> tuple[float, str]:
    """The best span of one passage by the span head, from nothing that was stored."""
    pair = {"query": [query], "passage": [text]}
    segments = {role: model.segments(role, texts) for role, texts in pair.items()}
    states = {role: model.own(some, model.needs(role)) for role, some in segments.items()}
    with torch.inference_mode():
        [found] = model.spans(
            states, torch.tensor([[0, 0]]), [(text, np.array(segments["passage"][0].offsets, np.int32))]
        )
    return found.score, found.text


@pytest.mark.parametrize("first_stage", ["bm25", "vector"])
def test_the_first_stage_changes_no_score(checkpoint_path: Path, tmp_path: Path, first_stage: str) -> None:
    model = Plait.from_pretrained(checkpoint_path)
    index = Index.create(
        tmp_path / "s.plait", model, name="", codec="float32", passage_tokens=40, overlap=8, vectors="pooled"
    )
    index.add(documents())
    every = {hit.id: hit.score for hit in index.rank(QUERIES[0], 100, first_stage="all").hits}
    some = index.rank(QUERIES[0], 100, candidates=5, first_stage=first_stage).hits  # type: ignore[arg-type]
    assert 0 < len(some) <= 5
    for hit in some:
        assert hit.score == pytest.approx(every[hit.id], abs=1e-5)


@pytest.mark.parametrize("codec", ["float16", "bfloat16", "int8", "int4"])
@pytest.mark.parametrize("plan", ["join=1", "join=2,mode=oneway", "join=1,mode=frozen", "join=2,mode=oneway,states=kv"])
def test_a_lossy_store_stays_within_its_bound(checkpoint_path: Path, tmp_path: Path, codec: str, plan: str) -> None:
    """A score is off by at most the sum over all stored numbers of |gradient| times the codec's own bound on the
    number: the worst case to first order. The second order is left to a tenth of that: real errors have random signs
    and reach a small part of the worst case (see the last assertion), so that the tenth is never what decides.
    """
    model = planned(checkpoint_path, plan, 1)
    index = build(tmp_path / "s.plait", model, codec)
    worst = 0.0
    for query in QUERIES:
        for hit in index.rank(query, top_k=100, first_stage="all").hits[::4]:
            live, bound = _live_and_bound(model, query, hit.text, index.store.codec)
            assert abs(hit.score - live) <= 1.1 * bound + 1e-5
            worst = max(worst, abs(hit.score - live) / bound)
    assert 0 < worst < 0.5


def _live_and_bound(model: Plait, query: str, text: str, codec: Codec) -> tuple[float, float]:
    plan = model.plan("score")
    names = plan.needs("passage", model.layers)
    with torch.no_grad():
        asked = model.own(model.segments("query", [query]), plan.needs("query", model.layers))
        known = model.own(model.segments("passage", [text]), names)
    leaves = {name: known.tensors[name].clone().requires_grad_() for name in names}
    states = {"query": asked, "passage": type(known)(known.layout, leaves)}
    logit = model.logits("score", states, torch.tensor([[0, 0]]))[0].squeeze()
    logit.backward()
    bound = 0.0
    for leaf in leaves.values():
        if leaf.grad is not None:
            bound += float((leaf.grad.abs() * codec.bound(leaf.detach(), torch.float32)).sum())
    return logit.item(), bound


@pytest.mark.parametrize("codec", ["int8", "int4"])
def test_spans_of_a_lossy_store_are_spans_of_the_decoded_states(
    checkpoint_path: Path, tmp_path: Path, codec: str
) -> None:
    """A store answers exactly as the states that its codec gives back: nothing else is lost on the way."""
    model = planned(checkpoint_path, "join=2,mode=oneway", 1)
    index = build(tmp_path / "s.plait", model, codec)
    ids = index.store.ids()
    stored = index.store.passages(ids)
    names = model.needs("passage")
    decoded = [
        index.store.codec.decode([index.store.codec.encode(one.states)], [len(one.offsets)], dtype=torch.float32)
        for one in model.encode("passage", [p.text for p in stored], names)
    ]

    def fetch(batch: Sequence[int], wanted: Sequence[str]) -> Mapping[str, Tensor]:
        return {name: torch.cat([decoded[i][name] for i in batch]) for name in wanted}

    query = QUERIES[0]
    with torch.inference_mode():
        asked = encode_query(model, query)
        expected = score(model, asked, [len(p.offsets) for p in stored], fetch, Timing())[:, 0]
        found = spans(model, asked, [(p.text, p.offsets) for p in stored], fetch, Timing())
    hits = {hit.id: hit.score for hit in index.rank(query, 100, first_stage="all").hits}
    np.testing.assert_allclose([hits[id] for id in ids], expected, atol=1e-5)
    answers = index.ask(query, top_k=100, read=100, first_stage="all").answers
    by_id = dict(zip(ids, found, strict=True))
    for answer in answers:
        span = by_id[answer.hit.id]
        assert (answer.start, answer.end) == (span.start, span.end)
        assert answer.score - answer.hit.score == pytest.approx(span.score, abs=1e-4)
