"""attend: one result, whichever kernel computes it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from plait.attention import GROUPS, Hidden, KeyValue, attend
from plait.layout import Layout

HEADS, SIZE = 4, 8


def expected(query: torch.Tensor, layout: Layout, key: torch.Tensor, value: torch.Tensor, of: Layout) -> torch.Tensor:
    """Group by group, by the formula."""
    groups = []
    for group in range(len(of.lengths)):
        mine = query if len(layout.lengths) == 1 else query[layout.part(slice(group, group + 1))[0]]
        tokens = of.part(slice(group, group + 1))[0]
        scores = torch.einsum("mad,kad->amk", mine, key[tokens]) * 0.3
        groups.append(torch.einsum("amk,kad->mad", scores.softmax(-1), value[tokens]))
    return torch.cat(groups)


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("groups", [1, GROUPS, GROUPS + 3])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("form", ["key_value", "hidden, read", "hidden, formed"])
def test_attend_is_the_formula(gradients: bool, groups: int, shared: bool, form: str) -> None:
    generator = torch.Generator().manual_seed(groups)
    of = Layout([3 + group % 5 for group in range(groups)])
    few = 2 if form != "hidden, formed" else 9  # 9 queries of 4 heads are more than 32
    layout = Layout([few] if shared else [few - group % 2 for group in range(groups)])
    query = torch.randn(layout.tokens, HEADS, SIZE, generator=generator)
    states = torch.randn(of.tokens, HEADS * SIZE, generator=generator)
    weights = torch.randn(2, HEADS, SIZE, HEADS * SIZE, generator=generator)
    bias = torch.randn(HEADS, SIZE, generator=generator)
    key, value = (torch.einsum("th,adh->tad", states, weight) for weight in weights)
    value = value + bias
    source = KeyValue(of, key, value) if form == "key_value" else Hidden(of, states, weights[0], weights[1], bias)
    with torch.set_grad_enabled(gradients):
        found = attend(query, layout, [source], 0.3)
    torch.testing.assert_close(found, expected(query, layout, key, value, of), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("form", ["key_value", "hidden, read", "hidden, formed"])
def test_a_token_of_size_n_is_read_as_n_tokens(gradients: bool, form: str) -> None:
    """Two sources, one of which has sizes; rows that are chosen, and groups of different lengths."""
    generator = torch.Generator().manual_seed(1)
    sizes = torch.tensor([1, 3, 2, 1, 1, 4, 2, 1])
    weights = torch.randn(2, HEADS, SIZE, HEADS * SIZE, generator=generator)
    bias = torch.randn(HEADS, SIZE, generator=generator)
    states = torch.randn(8, HEADS * SIZE, generator=generator)
    other = torch.randn(5, HEADS * SIZE, generator=generator)
    rows = torch.tensor([7, 6, 0, 1, 2, 3, 4])
    of, few = Layout([2, 5]), 2 if form != "hidden, formed" else 9
    plain, query = Layout([4, 1]), torch.randn(2 * few, HEADS, SIZE, generator=generator)

    def source(x: torch.Tensor, layout: Layout, at: torch.Tensor | None, size: torch.Tensor | None) -> Any:
        if form != "key_value":
            return Hidden(layout, x, weights[0], weights[1], bias, at, size)
        key, value = (torch.einsum("th,adh->tad", x, weight) for weight in weights)
        return KeyValue(layout, key, value + bias, at, size)

    times = sizes[rows]
    long = Layout([int(times[:2].sum()), int(times[2:].sum())])
    with torch.set_grad_enabled(gradients):
        found = attend(
            query, Layout([few, few]), [source(states, of, rows, sizes.float()), source(other, plain, None, None)], 0.3
        )
        repeated = source(states, long, rows.repeat_interleave(times), None)
        same = attend(query, Layout([few, few]), [repeated, source(other, plain, None, None)], 0.3)
    torch.testing.assert_close(found, same, atol=1e-4, rtol=1e-4)
