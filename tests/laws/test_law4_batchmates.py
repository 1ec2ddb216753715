"""Law 4: batchmates, order, packing, batch size and query length change nothing that is stored, and no score beyond
rounding.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from plait.encoder import Answer, Encoder
from plait.families import adapter
from plait.keep import recipe_of
from plait.layout import Layout
from plait.model import Plait
from plait.parts import states_of
from plait.plan import Plan
from plait.scoring import Timing, encode_query, score
from plait.text import Tokens
from tests.small import LAYERS, random_segments, small_base, small_families
from tests.tokenizers import WORDS

ALL = (*(f"states.{layer}" for layer in range(LAYERS + 1)), "key.2@1", "value.2@1", "key.1@1", "value.1@1")
REDUCED = (
    "states.2~coreset:6@1", "states.3~norm:0.5@1+norm:3@2", "key.2@1~nearest/ends:5@1", "sizes~nearest/ends:5@1",
    "places~nearest/ends:5@1", "states.2~attention:4@2", "states.3~mean:1@3", "states.2~tome:0.3@0", "sizes~tome:0.3@0",
)  # fmt: skip
PLANS = ["join=0", "join=1", "join=1,mode=oneway", "join=2,mode=oneway,states=kv", "join=1,mode=frozen"]
PLANS += ["join=1,keep.passage=7,keep.query=0.5@2", "join=1,mode=oneway,keep.passage=5,selector=kmeans"]
text = st.lists(st.sampled_from(WORDS), min_size=1, max_size=40).map(" ".join)


def raw(x: Tensor) -> Tensor:
    return x


@pytest.mark.parametrize("model_type", small_families())
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_what_a_segment_knows_is_its_own(model_type: str, data: st.DataObject) -> None:
    """Every tensor that can be stored, in any company, place and packing, is that of the segment alone. In double
    precision, where rounding (which does depend on shapes) hides nothing. Budgets know no families.
    """
    names = ALL + (REDUCED if model_type == "bert" else ())
    encoder = Encoder(adapter(small_base(model_type).double()))
    lengths = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=6))
    segments = random_segments(lengths, 1, encoder.family.shape.types, seed=len(lengths))
    order = data.draw(st.permutations(range(len(lengths))))
    multiple = data.draw(st.sampled_from([1, 8, 32, 64]))
    with torch.no_grad():
        alone = [encoder.own(Tokens.pack([segment]), names) for segment in segments]
        together = encoder.own(Tokens.pack([segments[i] for i in order], multiple=multiple), names)
    for place, i in enumerate(order):
        for name in names:
            tokens, part = together.rows(recipe_of(name)).part(slice(place, place + 1))
            found, mine = together.tensors[name][tokens], alone[i].tensors[name][: part.used]
            torch.testing.assert_close(found, mine, atol=1e-12, rtol=1e-12)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_is_stored_of_a_text_is_its_own(model: Plait, data: st.DataObject) -> None:
    """`Plait.encode`, which an index stores from: any other texts, any order, any batch size."""
    mine = data.draw(text)
    others = data.draw(st.lists(text, max_size=12))
    place = data.draw(st.integers(0, len(others)))
    batch_tokens = data.draw(st.sampled_from([1, 50, 300, 4096]))
    [alone] = model.encode("passage", [mine])
    together = model.encode("passage", [*others[:place], mine, *others[place:]], batch_tokens=batch_tokens)[place]
    np.testing.assert_array_equal(alone.offsets, together.offsets)
    assert alone.states.keys() == together.states.keys()
    for name, expected in alone.states.items():
        torch.testing.assert_close(together.states[name], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("plan", PLANS)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_no_query_changes_what_is_known_of_a_passage(checkpoint_path: str, plan: str, data: st.DataObject) -> None:
    model = load(checkpoint_path, plan)
    passage = data.draw(text)
    queries = data.draw(st.lists(text, min_size=1, max_size=4, unique=True))
    with torch.no_grad():
        states, examples = states_of(model, model.plan("score"), [(query, passage) for query in queries])
        expected = model.own(model.segments("passage", [passage]), model.needs("passage", ["score"]))
    assert examples[:, 1].tolist() == [0] * len(queries)
    assert states["passage"].layout.lengths == expected.layout.lengths
    for name, tensor in expected.tensors.items():
        assert torch.equal(states["passage"].tensors[name], tensor)


def test_with_the_pair_models_positions_a_query_would_change_it(checkpoint_path: str) -> None:
    """What makes the test above worth its name: contiguous positions hold for one query length only."""
    model = load(checkpoint_path, "join=0,positions=continue")
    plan = model.plan("score")
    with torch.no_grad():
        short, long = (states_of(model, plan, [(q, "the river")])[0]["passage"] for q in ("why", "why and where"))
    assert (short.tensors["states.0"] - long.tensors["states.0"]).abs().max() > 0.1


@pytest.mark.parametrize("plan", [*PLANS, "join=0,positions=continue"])
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_scores_do_not_depend_on_company(checkpoint_path: str, plan: str, data: st.DataObject) -> None:
    model = load(checkpoint_path, plan)
    pool = data.draw(st.lists(text, min_size=1, max_size=5, unique=True))
    pairs = data.draw(st.lists(st.tuples(st.sampled_from(pool), st.sampled_from(pool)), min_size=1, max_size=8))
    order = data.draw(st.permutations(range(len(pairs))))
    size = data.draw(st.integers(1, 9))
    alone = [float(model.predict(pair, activation_fn=raw)) for pair in pairs]
    together = model.predict([pairs[i] for i in order], batch_size=size, activation_fn=raw)
    np.testing.assert_allclose(together, [alone[i] for i in order], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("plan", PLANS)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_ranking_scores_do_not_depend_on_the_other_candidates(
    checkpoint_path: str, plan: str, data: st.DataObject
) -> None:
    """`scoring.score`, which an index and a known text rank with, sorts and cuts candidates its own way."""
    model = load(checkpoint_path, plan)
    texts = data.draw(st.lists(text, min_size=1, max_size=8))
    question = data.draw(text)
    encoded = model.encode("passage", texts, model.needs("passage", ["score"]))
    with torch.inference_mode():
        query = encode_query(model, question)

        def fetch(batch: list[int], names: list[str]) -> dict[str, Tensor]:
            return {name: torch.cat([encoded[i].states[name] for i in batch]) for name in names}

        found = score(model, query, [len(e.offsets) for e in encoded], fetch, Timing())  # type: ignore[arg-type]
    expected = model.predict([(question, one) for one in texts], batch_size=1, activation_fn=raw)
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("model_type", small_families())
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_what_stands_in_padding_reaches_nobody(model_type: str, data: st.DataObject) -> None:
    """Tokens of nobody, which rounding adds, may hold anything: no state of a segment and no joined state sees them."""
    encoder = Encoder(adapter(small_base(model_type).double()))
    lengths = data.draw(st.lists(st.integers(1, 20), min_size=1, max_size=4))
    types = encoder.family.shape.types
    plan = Plan.parse(data.draw(st.sampled_from(PLANS)))
    last = len(plan.roles) - 1 if encoder.family.shape.last else None
    segments = {role: random_segments(lengths, i, types, 3, closed=i == last) for i, role in enumerate(plan.roles)}
    examples = torch.arange(len(lengths))[:, None].expand(-1, 2)

    def run(spoil: bool) -> tuple[Tensor, Layout]:
        states = {}
        for role, some in segments.items():
            tokens = Tokens.pack(some, multiple=32)
            if spoil:
                tokens.ids[tokens.layout.used :] = 7
            states[role] = encoder.own(tokens, plan.needs(role, LAYERS))
            if spoil:
                for tensor in states[role].tensors.values():
                    tensor[tokens.layout.used :] = 1e4
        joined = encoder.join(plan, states, examples, "all")
        return joined.states, joined.layout

    with torch.no_grad():
        (clean, layout), (spoilt, _) = run(False), run(True)
    torch.testing.assert_close(spoilt[: layout.used], clean[: layout.used], atol=1e-12, rtol=1e-12)


_MODELS: dict[str, Plait] = {}


def load(path: str, plan: str) -> Plait:
    """The shared checkpoint under another plan of its score head, loaded once."""
    if plan not in _MODELS:
        _MODELS[plan] = Plait.from_pretrained(path, plan={"score": plan})
    return _MODELS[plan]


@pytest.mark.parametrize("answer", ["first", "all", "whole", "mean"])
@pytest.mark.parametrize(
    "plan",
    [
        "join=1",
        "join=1,keep.passage=5@1+3@2,keep.query=4@2,selector=tome,protect=ends",
        "join=1,keep.passage=10@2,protect=ends",
    ],  # some runs lose nothing by it
)
@pytest.mark.parametrize("model_type", ["bert", "modernbert", "xlnet"])
def test_a_join_cut_into_runs(model_type: str, plan: str, answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Examples of a large batch are joined some at a time: the same states, layouts, places and parts."""
    encoder = Encoder(adapter(small_base(model_type).double()))
    shape, parsed = encoder.family.shape, Plan.parse(plan)
    segments = {
        role: random_segments([9, 4, 13, 6, 11], i, shape.types, 3, closed=shape.last and i == 1)
        for i, role in enumerate(parsed.roles)
    }
    states = {r: encoder.own(Tokens.pack(s), parsed.needs(r, LAYERS)) for r, s in segments.items()}
    examples = torch.tensor([[0, 1], [1, 4], [2, 2], [3, 3], [4, 0], [0, 2]])
    found = []
    with torch.no_grad():
        for tokens in (10_000, 30):
            monkeypatch.setattr("plait.encoder.joint.TOKENS", tokens)
            found.append(encoder.join(parsed, states, examples, answer))
    one, cut = found
    assert one.layout.lengths == cut.layout.lengths
    torch.testing.assert_close(cut.states[: cut.layout.used], one.states[: one.layout.used])
    assert (one.places is None) == (cut.places is None)
    if one.places is not None and cut.places is not None:
        assert torch.equal(one.places[: one.layout.used], cut.places[: cut.layout.used])
    assert len(one.parts) == len(cut.parts) == (2 if answer == "whole" else 0)
    for ours, theirs in zip(cut.parts, one.parts, strict=True):
        assert ours.layout.lengths == theirs.layout.lengths
        for kind in ("sizes", "places"):
            assert torch.equal(ours.numbers(kind)[: ours.layout.used], theirs.numbers(kind)[: theirs.layout.used])
