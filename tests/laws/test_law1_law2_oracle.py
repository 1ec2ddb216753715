"""Laws 1 and 2: any plan equals the unmodified `transformers` model under a mask that forbids what the plan forbids."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.encoder import Answer, Encoder
from plait.families import adapter
from plait.plan import Mode, Plan, StatesKind
from plait.text import Tokens
from tests.small import LAYERS, of_role, oracle, random_segments, small_base, small_families

ROLES = ("query", "passage", "third")


@pytest.mark.parametrize("model_type", small_families())
def test_join_0_equals_transformers_own_forward(model_type: str) -> None:
    base = small_base(model_type)
    encoder = Encoder(adapter(base))
    shape = encoder.family.shape
    first = base.config.max_position_embeddings - shape.positions
    plan = Plan()
    for seed, (query, passage) in enumerate([(3, 9), (12, 4), (1, 1), (7, 40)]):
        example = [random_segments([n], i, shape.types, seed)[0] for i, n in enumerate((query, passage))]
        with torch.no_grad():
            states = {
                role: encoder.own(Tokens.pack([s]), ("states.0",)) for role, s in zip(plan.roles, example, strict=True)
            }
            ours, _ = encoder.join(plan, states, torch.tensor([[0, 0]]), "first")
            positions = torch.cat([torch.arange(query), torch.arange(passage)])[None] + first
            theirs = base(
                torch.tensor([example[0].ids + example[1].ids]),
                attention_mask=torch.ones(1, query + passage),
                token_type_ids=torch.tensor([[example[0].type] * query + [example[1].type] * passage]),
                position_ids=positions,
            ).last_hidden_state[0, :1]
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


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
    roles = ROLES[: data.draw(st.integers(1, 3))]
    reader = data.draw(st.sampled_from(roles))
    known = tuple(role for role in roles if role != reader)
    plan = Plan(join=data.draw(st.integers(0, LAYERS)), mode=mode, roles=roles, known=known, reader=reader, states=kind)
    counts = [data.draw(st.lists(st.integers(1, 20), min_size=1, max_size=4)) for _ in roles]
    multiple = data.draw(st.sampled_from([1, 8, 32]))
    answer: Answer = data.draw(st.sampled_from(["first", "all"]))
    types = encoder.family.shape.types
    segments = [random_segments(lengths, i, types, seed=i) for i, lengths in enumerate(counts)]
    rows = data.draw(st.lists(st.tuples(*(st.integers(0, len(c) - 1) for c in counts)), min_size=1, max_size=5))
    with torch.no_grad():
        states = {
            role: encoder.own(Tokens.pack(s, multiple=multiple), plan.needs(role, LAYERS))
            for role, s in zip(roles, segments, strict=True)
        }
        x, layout = encoder.join(plan, states, torch.tensor(rows), answer)
    begin = 0
    for row, length in zip(rows, layout.lengths, strict=True):
        example = [of[i] for of, i in zip(segments, row, strict=True)]
        with torch.no_grad():
            expected = of_role(oracle(base, plan, example), example, roles.index(reader))
        torch.testing.assert_close(x[begin : begin + length], expected[:length], atol=1e-5, rtol=1e-4)
        begin += length


@pytest.mark.parametrize("mode", ["oneway", "frozen"])
@pytest.mark.parametrize("kind", ["hidden", "kv"])
def test_training_and_inference_kernels_agree_and_give_gradients(mode: Mode, kind: StatesKind) -> None:
    base = small_base("bert")
    encoder = Encoder(adapter(base))
    plan = Plan(join=1, mode=mode, states=kind)
    segments = {"query": random_segments([4, 6], 0, 2, 1), "passage": random_segments([9, 3], 1, 2, 1)}

    def run() -> torch.Tensor:
        states = {r: encoder.own(Tokens.pack(s), plan.needs(r, LAYERS)) for r, s in segments.items()}
        return encoder.join(plan, states, torch.tensor([[0, 1], [1, 0], [1, 1]]), "first")[0]

    trained = run()
    with torch.no_grad():
        torch.testing.assert_close(trained, run(), atol=1e-5, rtol=1e-4)
    trained.square().sum().backward()
    for name, parameter in base.named_parameters():
        if "pooler" not in name and not name.endswith("key.bias"):  # softmax takes a key bias away again
            assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name
