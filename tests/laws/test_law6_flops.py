"""Law 6: what `plait.cost` counts is what PyTorch counts of the executed program, and what a store writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from plait.attention import WIDTH
from plait.bottleneck import Bottleneck, bottleneck_key
from plait.compare import Compare
from plait.cost import BYTES, Shape, cost, reads_states
from plait.encoder import Answer, Encoder
from plait.families import adapter
from plait.families.deberta import Disentangled
from plait.families.xlnet import Shifted
from plait.keep import Keep, rows
from plait.plan import Mode, Plan, StatesKind
from plait.store import Codec
from plait.text import Tokens
from tests.small import LAYERS, random_segments, small_base


def _fused(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object, **__: object) -> int:
    return int(sdpa_flop_count(query, key, value))


# The counter knows attention's fused kernels of the GPU only; the CPU's does the same products.
CPU_KERNEL = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _fused}
KINDS: tuple[tuple[Mode, StatesKind], ...] = (
    ("joint", "hidden"), ("oneway", "hidden"), ("oneway", "kv"), ("frozen", "hidden"), ("frozen", "kv"),
)  # fmt: skip
PLANS = [
    Plan(join=join, mode=mode, roles=roles, known=roles[1:], reader=roles[0], states=kind)
    for roles in (("query", "passage"), ("claim", "first", "second"))
    for mode, kind in KINDS
    for join in range(LAYERS + 1)
]
PLANS += [
    Plan.parse(text)
    for text in (
        "join=1,mode=oneway,keep.passage=5", "join=1,mode=frozen,keep.passage=0.5,states=kv,selector=norm",
        "join=2,keep.passage=8@1+5,selector=first", "join=0,keep.passage=6@1+4@2",
        "join=1,keep.passage=6@2,selector=attention",
        "join=2,keep.passage=5,selector=attention", "join=1,keep.passage=60@2,selector=attention",
        "join=2,keep.passage=60,selector=attention", "join=3,compare=mlp",
        *(f"join=2,mode=oneway,keep.passage=5,selector={s}" for s in ("coreset-exact", "nearest", "ends")),
        "join=3,compare=maxsim", "join=3,compare=maxsim,keep.passage=4",
    )
]  # fmt: skip
SPANS = [Plan(join=join, reader="passage") for join in range(LAYERS + 1)]
PASSAGES = 5


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed lengths are rounded up to few shapes; the cost leaves that out."""
    monkeypatch.setattr("plait.layout.rounded", lambda tokens: tokens)


def executed(
    encoder: Encoder, plan: Plan, lengths: Mapping[str, int], passages: int, answer: Answer, train: bool
) -> tuple[int, int]:
    """Operations that PyTorch counts offline and online: own layers of known roles; of live ones, and the join."""
    segments = {
        role: random_segments([n] * (passages if role in plan.known else 1), i, encoder.family.shape.types, i)
        for i, (role, n) in enumerate(lengths.items())
    }
    states, counted = {}, {True: 0, False: 0}
    with torch.set_grad_enabled(train):
        for role, some in segments.items():
            with FlopCounterMode(display=False, custom_mapping=CPU_KERNEL) as counter:
                states[role] = encoder.own(Tokens.pack(some), plan.needs(role, LAYERS))
            counted[role in plan.known] += counter.get_total_flops()
        columns = [
            torch.arange(passages) if role in plan.known else torch.zeros(passages).long() for role in plan.roles
        ]
        with FlopCounterMode(display=False, custom_mapping=CPU_KERNEL) as counter:
            if plan.compare == "none":
                encoder.join(plan, states, torch.stack(columns, 1), answer)
            else:
                width = plan.bottleneck or encoder.family.shape.hidden
                Compare(plan.compare, width, 1)(plan, states, torch.stack(columns, 1))
    return counted[True], counted[False] + counter.get_total_flops()


@pytest.mark.parametrize(
    "plan",
    [
        "join=1,mode=oneway,bottleneck=8",
        "join=2,bottleneck=8,keep.passage=5",
        "join=3,compare=mlp,bottleneck=8",
        "join=3,compare=maxsim,bottleneck=8,keep.passage=5",
    ],
)
def test_cost_of_a_bottleneck(plan: str) -> None:
    parsed = Plan.parse(plan)
    base = small_base("bert")
    narrow = {bottleneck_key(layer, width): Bottleneck(32, width) for layer, width in parsed.bottlenecks(LAYERS)}
    assert_counts(Encoder(adapter(base), narrow), parsed, 5, True)


def assert_counts(encoder: Encoder, plan: Plan, query: int, train: bool, exact: bool = True) -> None:
    others = plan.roles[1:]
    lengths = {plan.roles[0]: query} | {role: 7 + 2 * i for i, role in enumerate(others)}
    lengths[others[0]] += (
        -sum(lengths.values()) % WIDTH
    )  # inference pads what is read to this; the cost leaves that out
    first: Answer = "mean" if encoder.family.shape.reads_all else "first"
    answer: Answer = "all" if plan.reader in plan.known else first
    offline, online = executed(encoder, plan, lengths, PASSAGES, answer, train)
    expected = cost(plan, encoder.family.shape, lengths, passages=PASSAGES)
    if exact:
        assert expected.online == online
        assert PASSAGES * expected.offline == offline
    else:
        assert expected.online == pytest.approx(online, rel=0.08)
        assert PASSAGES * expected.offline == pytest.approx(offline, rel=0.08)


def lengths_around(shape: Shape) -> tuple[int, int]:
    """The longest query that reads states, and the next, for which keys and values are formed."""
    few = max(n for n in range(1, 100) if reads_states(shape.hidden, shape.heads, n))
    return few, few + 1


# Inference pads what a reader reads to multiples of WIDTH. A passage's length can be chosen for that, a budget cannot.
CASES = [(plan, train) for plan in PLANS for train in (True, False) if train or not plan.keep or plan.mode == "joint"]


@pytest.mark.parametrize(("plan", "train"), CASES, ids=str)
def test_cost_is_what_pytorch_counts(plan: Plan, train: bool) -> None:
    encoder = Encoder(adapter(small_base("bert")))
    for query in (1, *lengths_around(encoder.family.shape)):
        assert_counts(encoder, plan, query, train)


@pytest.mark.parametrize("train", [True, False], ids=["trained", "inference"])
@pytest.mark.parametrize("plan", SPANS, ids=lambda plan: f"span-{plan.join}")
def test_cost_of_answers_that_are_spans(plan: Plan, train: bool) -> None:
    assert_counts(Encoder(adapter(small_base("bert"))), plan, 6, train)


OTHERS = [("roberta", {}), ("electra", {}), ("electra", {"embedding_size": 32}), ("distilbert", {})]
OTHERS += [("albert", {}), ("albert", {"embedding_size": 32}), ("mpnet", {}), ("modernbert", {})]
OTHERS += [("eurobert", {}), ("gte", {}), ("jina_embeddings_v3", {}), ("t5", {}), ("mt5", {})]


@pytest.mark.parametrize(("model_type", "changes"), OTHERS, ids=str)
def test_cost_of_other_families(model_type: str, changes: dict[str, int]) -> None:
    """ELECTRA projects embeddings that are narrower than its layers, ALBERT any; mT5's feed-forward is gated."""
    encoder = Encoder(adapter(small_base(model_type, **changes)))
    for plan in (Plan(join=0), Plan(join=1, mode="oneway"), Plan(join=1, mode="oneway", states="kv"), Plan(join=3)):
        assert_counts(encoder, plan, 4, False)


@pytest.mark.parametrize("kinds", [["c2p", "p2c"], ["c2p"], []], ids=str)
def test_cost_of_products_with_distances(kinds: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of DeBERTa, without the projections of distances, which a batch shares."""

    def unprojected(self: Disentangled, role: str, table: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return table.to(like.dtype).view(len(table), *like.shape[2:])

    monkeypatch.setattr(Disentangled, "_projected", unprojected)
    encoder = Encoder(adapter(small_base("deberta-v2", pos_att_type=kinds, position_buckets=-1)))
    for plan in (Plan(join=0), Plan(join=1), Plan(join=1, mode="oneway"), Plan(join=3)):
        assert_counts(encoder, plan, 12, True, exact=not kinds)


def test_cost_of_a_classification_token_that_stands_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of XLNet, without the projections of distances, which a batch shares; passages first, and the longer ones."""
    none = "_projected", lambda self, distances, like: like.new_zeros(len(distances), *like.shape[2:])
    monkeypatch.setattr(Shifted, *none)
    encoder = Encoder(adapter(small_base("xlnet")))
    for plan in (Plan(join=0), Plan(join=1), Plan(join=1, mode="oneway"), Plan(join=3)):
        assert_counts(
            encoder,
            replace(plan, roles=("passage", "query"), reader="query", known=("passage",)),
            44,
            True,
            exact=False,
        )


def test_cost_of_a_score_that_reads_the_mean() -> None:
    encoder = Encoder(adapter(small_base("modernbert", classifier_pooling="mean")))
    for plan in (Plan(join=0), Plan(join=2), Plan(join=1, mode="oneway"), Plan(join=3)):
        assert_counts(encoder, plan, 4, True)


def test_the_full_model_is_counted_as_it_runs() -> None:
    """`Cost.full`, what every gain is measured against, is the plan join=0 with nothing known."""
    encoder = Encoder(adapter(small_base("electra")))
    lengths = {"query": 6, "passage": 11}
    for reader, answer in (("query", "first"), ("passage", "all")):
        full = Plan(join=0, reader=reader, known=())
        _, online = executed(encoder, full, lengths, 1, answer, False)  # type: ignore[arg-type]
        for join in range(LAYERS + 1):
            split = cost(Plan(join=join, reader=reader), encoder.family.shape, lengths, passages=4)
            assert split.full == 4 * online
            assert split.gain == split.full / max(split.online, 1)


@pytest.mark.parametrize("codec", sorted(BYTES))
@pytest.mark.parametrize(("mode", "kind"), KINDS)
def test_bytes_are_what_a_codec_writes(codec: str, mode: Mode, kind: StatesKind) -> None:
    encoder = Encoder(adapter(small_base("bert")))
    shape: Shape = encoder.family.shape
    tokens = Tokens.pack(random_segments([9], 1, shape.types, 1))
    plans = [Plan(join=join, mode=mode, states=kind) for join in range(LAYERS + 1)]
    plans += [replace(plan, keep=(Keep("passage", 4),), selector="nearest") for plan in plans]
    plans += [Plan(join=LAYERS, compare="cosine"), Plan(join=LAYERS, compare="maxsim", keep=(Keep("passage", 0.5),))]
    for plan in plans:
        states = encoder.own(tokens, plan.stored("passage", LAYERS)).tensors
        writer = Codec(codec, [(name, x.shape[1]) for name, x in states.items()])
        counted = cost(plan, shape, {"query": 3, "passage": 9}, codec=codec)
        assert counted.bytes_per_token == {"passage": sum(writer.row_bytes.values())}
        blob = writer.encode({name: x[: rows(name, 9)] for name, x in states.items()}, 9)
        assert counted.bytes_per_example == len(blob)
