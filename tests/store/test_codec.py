"""Blobs: what goes in comes out within the stated bound, and nonsense is refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plait import cost
from plait.errors import PlaitError
from plait.store import Codec
from plait.store.number import NUMBERS

CODECS = ["float32", "float16", "bfloat16", "int8", "int4"]
TENSORS = (("states.4", 6), ("keys", 3))
WIDER = (*TENSORS, ("kernel's", 128), ("groups", 71))
"""With a width that the compiled kernels take, and one of three groups, the last shorter and its end half a byte."""


@st.composite
def passages(draw: st.DrawFn) -> list[dict[str, torch.Tensor]]:
    """Passages whose tokens have very different sizes, zeros and subnormal numbers among them."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    found = []
    for length in draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)):
        size = 10.0 ** draw(st.integers(-42, 4))
        found.append({name: torch.randn(length, width, generator=generator) * size for name, width in WIDER})
    return found


@settings(max_examples=60, deadline=None)
@given(passages(), st.sampled_from(CODECS), st.sampled_from([torch.float32, torch.bfloat16]))
def test_round_trip_stays_within_the_bound(batch: list[dict[str, torch.Tensor]], name: str, dtype: torch.dtype) -> None:
    codec = Codec(name, WIDER)
    lengths = [len(states["keys"]) for states in batch]
    blobs = [codec.encode(states) for states in batch]
    assert [len(blob) for blob in blobs] == [n * codec.token_bytes for n in lengths]
    decoded = codec.decode(blobs, lengths, dtype=dtype)
    for key, width in WIDER:
        x = torch.cat([states[key] for states in batch])
        assert decoded[key].shape == (sum(lengths), width) and decoded[key].dtype == dtype
        assert ((decoded[key].double() - x.double()).abs() <= codec.bound(x, dtype).double()).all()


@pytest.mark.parametrize("name", CODECS)
def test_bound_is_the_documented_one(name: str) -> None:
    x = torch.randn(50, 71) * torch.logspace(-2, 2, 71)
    codec, size = Codec(name, TENSORS), x.abs()
    bound = codec.bound(x, torch.float32)
    of_group = torch.cat([group.amax(1, keepdim=True).expand_as(group) for group in size.split(32, dim=1)], dim=1)
    largest = {
        "float32": torch.zeros_like(x),
        "float16": size * 2**-11,
        "bfloat16": size * 2**-8,
        "int8": (size.amax(1, keepdim=True) / 254 * (1 + 1 / 128)).expand_as(x),
        "int4": of_group / 14 * (1 + 1 / 128),
    }[name]
    assert (bound <= largest * 1.001 + 1e-6).all()


def test_lossless_where_it_says_so() -> None:
    states = {name: torch.randn(4, width) for name, width in TENSORS}
    codec = Codec("float32", TENSORS)
    assert all(
        torch.equal(v, states[k]) for k, v in codec.decode([codec.encode(states)], [4], None, torch.float32).items()
    )
    half = {name: x.bfloat16() for name, x in states.items()}
    codec = Codec("bfloat16", TENSORS)
    assert all(torch.equal(v, half[k]) for k, v in codec.decode([codec.encode(half)], [4]).items())


@pytest.mark.parametrize("name", ["int8", "int4"])
def test_a_bigger_batch_changes_nothing(name: str) -> None:
    codec = Codec(name, WIDER)
    one, two = ({name: torch.randn(n, width) for name, width in WIDER} for n in (3, 5))
    blobs = [codec.encode(one), codec.encode(two)]
    both, alone = codec.decode(blobs, [3, 5]), codec.decode(blobs[1:], [5])
    assert all(torch.equal(both[name][3:], alone[name]) for name, _ in WIDER)


def test_only_some_tensors_and_no_passages() -> None:
    codec = Codec("int8", TENSORS)
    blob = codec.encode({name: torch.randn(3, width) for name, width in TENSORS})
    assert torch.equal(codec.decode([blob], [3], ["keys"])["keys"], codec.decode([blob], [3])["keys"])
    assert list(codec.decode([blob], [3], ["keys"])) == ["keys"]
    assert codec.decode([], [])["keys"].shape == (0, 3)


def test_layout_is_the_written_one() -> None:
    x = torch.tensor([[1.0, -127.0], [0.0, 0.0]])
    assert Codec("int8", [("a", 2)]).encode({"a": x}) == bytes([1, 129, 0x80, 0x3F, 0, 0, 0, 0])
    assert Codec("float32", [("a", 2)]).encode({"a": x})[:4] == bytes([0, 0, 0x80, 0x3F])
    x = torch.zeros(1, 35)
    x[0, :3], x[0, 18], x[0, 34] = torch.tensor([7.0, -1, 3]), -7, -14  # scales 1 and 2; byte 0 has numbers 0 and 18
    packed = bytes([0x97, 0x0F, 0x03, *[0] * 13, 0x90, 0, 0x80, 0x3F, 0, 0x40])
    assert Codec("int4", [("a", 35)]).encode({"a": x}) == packed
    assert torch.equal(Codec("int4", [("a", 35)]).decode([packed], [1], None, torch.float32)["a"], x)


@pytest.mark.parametrize("name", ["int8", "int4"])
def test_a_scale_is_of_its_own_numbers_alone(name: str) -> None:
    """Zeros stay zeros; in int4 large numbers of another group of 32 leave no mark, in int8 those of another token."""
    x = torch.zeros(3, 96)
    x[0, 0], x[0, 40], x[1, 95] = 1e4, 1e-4, -1e-4
    found = Codec(name, [("a", 96)]).decode([Codec(name, [("a", 96)]).encode({"a": x})], [3], None, torch.float32)["a"]
    assert torch.equal(found == 0, x == 0) == (name == "int4")
    assert torch.equal(found[1:] == 0, x[1:] == 0)
    kept = (x != 0) & (found != 0)
    assert ((found - x).abs()[kept] <= x.abs()[kept] / 128).all()


@pytest.mark.parametrize(
    "states",
    [
        {"states.4": torch.ones(2, 6)},
        {"states.4": torch.ones(2, 6), "keys": torch.ones(3, 3)},
        {"states.4": torch.ones(2, 6), "keys": torch.ones(2, 4)},
        {"states.4": torch.ones(0, 6), "keys": torch.ones(0, 3)},
        {"states.4": torch.full((2, 6), torch.nan), "keys": torch.ones(2, 3)},
        {"states.4": torch.full((2, 6), torch.inf), "keys": torch.ones(2, 3)},
    ],
)
def test_bad_states_are_refused(states: dict[str, torch.Tensor]) -> None:
    with pytest.raises(PlaitError):
        Codec("int8", TENSORS).encode(states)


def test_too_large_for_float16_is_refused() -> None:
    with pytest.raises(PlaitError, match="to be stored as float16"):
        Codec("float16", [("a", 1)]).encode({"a": torch.tensor([[70000.0]])})


@pytest.mark.parametrize("name", ["int8", "int4"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nothing_finite_becomes_infinite(name: str, dtype: torch.dtype) -> None:
    codec = Codec(name, [("a", 128)])
    x = torch.linspace(-3.3, 3.3, 128)[None] * 1e38
    assert torch.isfinite(codec.decode([codec.encode({"a": x})], [1], None, dtype)["a"]).all()
    with pytest.raises(PlaitError, match="whole numbers times a bfloat16"):
        codec.encode({"a": torch.full((1, 128), torch.finfo(torch.float32).max)})


@pytest.mark.parametrize("width", [1, 2, 31, 32, 33, 64, 71, 384])
@pytest.mark.parametrize("name", CODECS)
def test_cost_counts_the_bytes_of_a_row(name: str, width: int) -> None:
    assert cost.row_bytes(name, width) == Codec(name, [("a", width)]).row_bytes["a"]
    assert cost.row_bytes(name, width) == len(Codec(name, [("a", width)]).encode({"a": torch.randn(1, width)}))
    assert set(cost.BYTES) == set(CODECS) == set(NUMBERS)


def test_other_nonsense_is_refused() -> None:
    with pytest.raises(PlaitError, match="float32, float16, bfloat16, int8, int4, but is 'int2'"):
        Codec("int2", TENSORS)
    for tensors in ([], [("a", 0)], [("a", 1), ("a", 2)]):
        with pytest.raises(PlaitError, match="stored tensors"):
            Codec("int8", tensors)
    codec = Codec("int8", TENSORS)
    blob = codec.encode({name: torch.randn(3, width) for name, width in TENSORS})
    with pytest.raises(PlaitError, match="4 tokens must have 52 bytes"):
        codec.decode([blob], [4])
    with pytest.raises(PlaitError, match="values"):
        codec.decode([blob], [3], ["values"])
    with pytest.raises(PlaitError, match="float16"):
        codec.decode([blob], [3], None, torch.float16)
