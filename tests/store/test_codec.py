"""Blobs: what goes in comes out within the stated bound, and nonsense is refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.errors import PlaitError
from plait.store import Codec

CODECS = ["float32", "float16", "bfloat16", "int8"]
TENSORS = (("states.4", 6), ("keys", 3))


@st.composite
def passages(draw: st.DrawFn) -> list[dict[str, torch.Tensor]]:
    """Passages whose tokens have very different sizes, zeros and subnormal numbers among them."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    found = []
    for length in draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)):
        size = 10.0 ** draw(st.integers(-42, 4))
        found.append({name: torch.randn(length, width, generator=generator) * size for name, width in TENSORS})
    return found


@settings(max_examples=60, deadline=None)
@given(passages(), st.sampled_from(CODECS), st.sampled_from([torch.float32, torch.bfloat16]))
def test_round_trip_stays_within_the_bound(batch: list[dict[str, torch.Tensor]], name: str, dtype: torch.dtype) -> None:
    codec = Codec(name, TENSORS)
    lengths = [len(states["keys"]) for states in batch]
    blobs = [codec.encode(states) for states in batch]
    assert [len(blob) for blob in blobs] == [n * codec.token_bytes for n in lengths]
    decoded = codec.decode(blobs, lengths, dtype=dtype)
    for key, width in TENSORS:
        x = torch.cat([states[key] for states in batch])
        assert decoded[key].shape == (sum(lengths), width) and decoded[key].dtype == dtype
        assert ((decoded[key].double() - x.double()).abs() <= codec.bound(x, dtype).double()).all()


@pytest.mark.parametrize("name", CODECS)
def test_bound_is_the_documented_one(name: str) -> None:
    x = torch.randn(50, 6) * 3
    codec, size = Codec(name, TENSORS), x.abs()
    bound = codec.bound(x, torch.float32)
    largest = {
        "float32": torch.zeros_like(x),
        "float16": size * 2**-11,
        "bfloat16": size * 2**-8,
        "int8": (size.amax(1, keepdim=True) / 254 * (1 + 1 / 128)).expand_as(x),
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


def test_a_bigger_batch_changes_nothing() -> None:
    codec = Codec("int8", TENSORS)
    one, two = ({name: torch.randn(n, width) for name, width in TENSORS} for n in (3, 5))
    blobs = [codec.encode(one), codec.encode(two)]
    both, alone = codec.decode(blobs, [3, 5]), codec.decode(blobs[1:], [5])
    assert all(torch.equal(both[name][3:], alone[name]) for name, _ in TENSORS)


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


def test_other_nonsense_is_refused() -> None:
    with pytest.raises(PlaitError, match="float32, float16, bfloat16, int8"):
        Codec("int4", TENSORS)
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
