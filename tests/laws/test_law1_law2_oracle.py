"""Laws 1 and 2: any plan equals the unmodified `transformers` model under a mask that forbids what the plan forbids."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.encoder import Answer, Encoder
from plait.families import adapter
from plait.keep import Keep, Protect, Selector
from plait.plan import Mode, Plan, Positions, StatesKind
from plait.text import Segment, Tokens
from tests.oracle import inputs, of_role, oracle, oracle_kept
from tests.small import LAYERS, random_segments, small_base, small_families

ROLES = ("query", "passage", "third")


@pytest.mark.parametrize("model_type", small_families())
def test_join_0_equals_transformers_own_forward(model_type: str) -> None:
    base = small_base(model_type)
    encoder = Encoder(adapter(base))
    shape = encoder.family.shape
    plan = Plan()
    for seed, (query, passage) in enumerate([(3, 9), (12, 4), (1, 1), (7, 40)]):
        example = [
            random_segments([n], i, shape.types, seed, closed=shape.last and i == 1)[0]
            for i, n in enumerate((query, passage))
        ]
        with torch.no_grad():
            states = {
                role: encoder.own(Tokens.pack([s]), ("states.0",)) for role, s in zip(plan.roles, example, strict=True)
            }
            ours = encoder.join(plan, states, torch.tensor([[0, 0]]), "first").states
            positions = torch.cat([torch.arange(query), torch.arange(passage)])
            theirs = base(**inputs(base, example, positions)).last_hidden_state[0]
            theirs = theirs[-1:] if shape.last else theirs[:1]
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


DEBERTAS: list[dict[str, Any]] = [
    {"position_buckets": -1, "share_att_key": False},
    {"pos_att_type": ["c2p"], "norm_rel_ebd": "none", "max_relative_positions": 5},
    {"pos_att_type": ["p2c"], "share_att_key": False, "position_biased_input": True, "type_vocab_size": 2},
    {"pos_att_type": [], "embedding_size": 24},
    {"relative_attention": False, "position_biased_input": True},
]


@pytest.mark.parametrize("changes", DEBERTAS, ids=str)
def test_every_kind_of_deberta_equals_transformers_own_forward(changes: dict[str, Any]) -> None:
    base = small_base("deberta-v2", **changes)
    encoder = Encoder(adapter(base))
    example = [random_segments([n], i, encoder.family.shape.types, 1)[0] for i, n in enumerate((7, 30))]
    states = {
        role: encoder.own(Tokens.pack([s], first_positions=[first]), ("states.0",))
        for role, s, first in zip(Plan().roles, example, (0, 7), strict=True)
    }
    with torch.no_grad():
        joined = encoder.join(Plan(), states, torch.tensor([[0, 0]]), "whole")
        given = {k: v for k, v in inputs(base, example, torch.arange(37)).items() if k != "position_ids"}
        theirs = base(**given).last_hidden_state[0]
    torch.testing.assert_close(joined.states[: joined.layout.used], theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("model_type", small_families())
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_plan_equals_the_oracle(model_type: str, data: st.DataObject) -> None:
    """Every mode, join 0 ... L, 1 to 3 roles, random lengths, shared segments, both answers, hidden and kv,
    rounding.
    """
    base = small_base(model_type)
    encoder = Encoder(adapter(base))
    mode: Mode = data.draw(st.sampled_from(["joint", "oneway", "frozen"]))
    kind: StatesKind = "hidden" if mode == "joint" else data.draw(st.sampled_from(["hidden", "kv"]))
    roles = tuple(data.draw(st.permutations(ROLES)))[: data.draw(st.integers(1, 3))]
    last = encoder.family.shape.last  # then a score is read from the last role, which must read the others
    reader = roles[-1] if last and mode != "joint" else data.draw(st.sampled_from(roles))
    known = tuple(role for role in roles if role != reader)
    positions: Positions = data.draw(st.sampled_from(["restart", 7, 30]))  # which encoders without a table do not see
    plan = Plan(
        join=data.draw(st.integers(0, LAYERS)), mode=mode, roles=roles, known=known, reader=reader, states=kind,
        positions=positions,
    )  # fmt: skip
    counts = [data.draw(st.lists(st.integers(1, 20), min_size=1, max_size=4)) for _ in roles]
    multiple = data.draw(st.sampled_from([1, 8, 32]))
    answer: Answer = data.draw(st.sampled_from(["first", "all"]))
    types = encoder.family.shape.types
    end = len(roles) - 1 if last else None
    segments = [
        random_segments(lengths, i, types, seed=i, closed=i == end, first=plan.offset if i else 0)
        for i, lengths in enumerate(counts)
    ]
    # An example may lack any text but the reader's.
    answering = roles[-1] if last and answer == "first" else reader
    there = (reader, answering)
    columns = [st.integers(0 if role in there else -1, len(c) - 1) for role, c in zip(roles, counts, strict=True)]
    rows = data.draw(st.lists(st.tuples(*columns), min_size=1, max_size=5))
    with torch.no_grad():
        states = {
            role: encoder.own(Tokens.pack(s, multiple=multiple), plan.needs(role, LAYERS))
            for role, s in zip(roles, segments, strict=True)
        }
        joined = encoder.join(plan, states, torch.tensor(rows), answer)
    x, layout = joined.states, joined.layout
    begin = 0
    for row, length in zip(rows, layout.lengths, strict=True):
        example = [of[i] if i >= 0 else Segment([], [], 0) for of, i in zip(segments, row, strict=True)]
        with torch.no_grad():
            expected = of_role(oracle(base, plan, example), example, roles.index(answering))
        expected = expected[-length:] if last else expected[:length]
        torch.testing.assert_close(x[begin : begin + length], expected, atol=1e-5, rtol=1e-4)
        begin += length


@pytest.mark.parametrize(
    "model_type",
    ["bert", "roberta", "distilbert", "albert", "mpnet", "modernbert", "deberta-v2", "xlnet", "gte", "eurobert", "t5"],
)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_plans_with_budgets_equal_the_oracle(model_type: str, data: st.DataObject) -> None:
    """Budgets at, below and (joint) above the join, of any role, the reader too."""
    base = small_base(model_type)
    encoder = Encoder(adapter(base))
    mode: Mode = data.draw(st.sampled_from(["joint", "oneway", "frozen"]))
    kind: StatesKind = "hidden" if mode == "joint" else data.draw(st.sampled_from(["hidden", "kv"]))
    roles = tuple(data.draw(st.permutations(ROLES)))[: data.draw(st.integers(1, 3))]
    last = encoder.family.shape.last  # then a score is read from the last role, which must read the others
    reader = roles[-1] if last and mode != "joint" else data.draw(st.sampled_from(roles))
    join = data.draw(st.integers(0, LAYERS - 1))
    budgets = []
    for role in roles:
        layers = st.integers(0, join if mode != "joint" else LAYERS - 1)
        for layer in sorted(data.draw(st.sets(layers, max_size=2))):
            budgets.append(Keep(role, data.draw(st.sampled_from([0.3, 0.5, 0.8, 1, 2, 3, 7, 50])), layer))
    selector: Selector = data.draw(st.sampled_from(["first", "norm"]))
    protect: Protect = data.draw(st.sampled_from(["ends"] if last else ["first", "ends"]))
    plan = Plan(
        join=join, mode=mode, roles=roles, known=tuple(r for r in roles if r != reader), reader=reader, states=kind,
        keep=tuple(budgets), selector=selector, protect=protect,
    )  # fmt: skip
    assert Plan.parse(str(plan)) == plan and Plan.from_dict(plan.to_dict()) == plan
    counts = [data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=3)) for _ in roles]
    answer: Answer = data.draw(st.sampled_from(["first", "all"]))
    types = encoder.family.shape.types
    end = len(roles) - 1 if last else None
    segments = [random_segments(lengths, i, types, seed=i, closed=i == end) for i, lengths in enumerate(counts)]
    answering = roles[-1] if last and answer == "first" else reader
    there = (reader, answering)
    columns = [st.integers(0 if role in there else -1, len(c) - 1) for role, c in zip(roles, counts, strict=True)]
    rows = data.draw(st.lists(st.tuples(*columns), min_size=1, max_size=4))
    with torch.set_grad_enabled(data.draw(st.booleans())):
        states = {
            role: encoder.own(Tokens.pack(s, multiple=data.draw(st.sampled_from([1, 8]))), plan.needs(role, LAYERS))
            for role, s in zip(roles, segments, strict=True)
        }
        joined = encoder.join(plan, states, torch.tensor(rows), answer)
    begin = 0
    for row, length in zip(rows, joined.layout.lengths, strict=True):
        example = [of[i] if i >= 0 else Segment([], [], 0) for of, i in zip(segments, row, strict=True)]
        with torch.no_grad():
            after, alive = oracle_kept(base, plan, example)
        expected, left = (of_role(x, example, roles.index(answering)) for x in (after, alive))
        places = left.nonzero().flatten()
        if answer == "first":
            places = places[-1:] if last else places[:1]
        if answer == "all" and joined.places is not None:
            assert joined.places[begin : begin + length].tolist() == places.tolist()
        torch.testing.assert_close(joined.states[begin : begin + length], expected[places], atol=1e-5, rtol=1e-4)
        begin += length


# ALBERT's layers share weights, whose gradients add up; so do those of MPNet's and DeBERTa's tables of distances.
@pytest.mark.parametrize(
    "model_type", ["bert", "albert", "mpnet", "modernbert", "deberta-v2", "xlnet", "gte", "eurobert", "t5"]
)
@pytest.mark.parametrize("multiple", [1, 8, 32])
@pytest.mark.parametrize(
    "plan",
    [
        Plan(),
        Plan(join=1),
        Plan(join=1, reader="passage"),
        Plan(join=1, mode="oneway"),
        Plan(join=2, mode="oneway", states="kv"),
        Plan(join=1, mode="frozen"),
        Plan(join=1, mode="frozen", states="kv"),
        Plan.parse("join=2,mode=oneway,keep.passage=5@1+3@2,selector=first"),
        Plan.parse("join=1,keep.passage=4@1+2@2,keep.query=3@2,selector=first"),
    ],
    ids=str,
)
def test_gradients_equal_the_oracles(plan: Plan, multiple: int, model_type: str) -> None:
    """Training sees the same model: shared segments, and tokens of nobody (from rounding), which must add nothing."""
    base = small_base(model_type)
    encoder = Encoder(adapter(base))
    last, asked = encoder.family.shape.last, plan.reader
    if last:
        known = plan.known if plan.mode == "joint" else ("query",)
        plan = replace(plan, protect="ends", reader="passage", known=known)
        if plan.mode != "joint" and plan.keep:
            plan = replace(plan, keep=tuple(replace(budget, role="query") for budget in plan.keep))
    reader = plan.reader
    types = encoder.family.shape.types
    segments = {
        "query": random_segments([4, 6], 0, types, 1),
        "passage": random_segments([9, 3, 12], 1, types, 1, closed=encoder.family.shape.last),
    }
    rows = [(0, 1), (1, 0), (1, 1), (0, 2)]
    answer: Answer = "all" if asked == "passage" else "first"
    states = {r: encoder.own(Tokens.pack(s, multiple=multiple), plan.needs(r, LAYERS)) for r, s in segments.items()}
    joined = encoder.join(plan, states, torch.tensor(rows), answer)
    x, layout = joined.states, joined.layout
    x[: layout.used].sin().sum().backward()
    ours = {name: p.grad for name, p in base.named_parameters()}
    base.zero_grad()
    for query, passage in rows:
        example = [segments["query"][query], segments["passage"][passage]]
        after = of_role(oracle(base, plan, example), example, plan.roles.index(reader))
        if answer == "first":
            after = after[-1:] if last else after[:1]
        after.sin().sum().backward()
    for name, parameter in base.named_parameters():
        if parameter.grad is not None:
            got = ours[name] if ours[name] is not None else torch.zeros_like(parameter)  # a key bias changes nothing
            assert torch.allclose(got, parameter.grad, atol=2e-4, rtol=1e-3), name
