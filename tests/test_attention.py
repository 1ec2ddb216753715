"""attend: one result, whichever kernel computes it."""

from __future__ import annotations

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
