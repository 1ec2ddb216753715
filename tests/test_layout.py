"""Layout: where tokens are, whatever stands between them."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from plait.layout import Layout, rounded

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=6)


@given(st.integers(1, 1 << 20))
def test_rounding_costs_little_and_leaves_few_shapes(tokens: int) -> None:
    found = rounded(tokens)
    assert tokens <= found < tokens + max(8, tokens / 7) and rounded(found) == found
    octave = 1 << (tokens.bit_length() - 1)
    assert len({rounded(n) for n in range(octave, 2 * octave, max(1, octave // 64))}) <= 9


@given(LENGTHS, st.sampled_from([1, 8, 64]))
def test_packing_undoes_padding(lengths: list[int], multiple: int) -> None:
    layout = Layout.few_shapes(lengths, multiple)
    x = torch.arange(layout.tokens * 2.0).view(-1, 2)
    padded = layout.pad(x)
    assert padded.shape == (len(lengths), layout.longest, 2)
    for group, (start, length) in enumerate(zip(layout.starts.tolist(), lengths, strict=True)):
        assert torch.equal(padded[group, :length], x[start : start + length])
        assert layout.mask[group].sum() == length
    packed = layout.pack(padded)
    assert packed.shape == x.shape and torch.equal(packed[: layout.used], x[: layout.used])


@given(LENGTHS, st.data())
def test_selected_groups_are_copies(lengths: list[int], data: st.DataObject) -> None:
    layout = Layout(lengths)
    groups = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=8))
    chosen, tokens = layout.select(torch.tensor(groups))
    assert chosen.lengths == [lengths[group] for group in groups] and len(tokens) == chosen.tokens
    expected = [t for g in groups for t in range(layout.starts[g], layout.starts[g] + lengths[g])]
    assert tokens[: chosen.used].tolist() == expected
