"""Law 5: a budget at least as long as the group is a no-op, in order; selection never takes padding, never drops
protected tokens, and depends on nothing but the group.
"""

from __future__ import annotations

import math
import sys
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from plait.errors import PlaitError
from plait.keep import SCORED
from plait.layout import Layout
from plait.selection import SELECTORS, Kept, reduce
from tests.laws.cases import EXACT, MERGING, WIDTH, Case, drawn, few, parts


@pytest.mark.parametrize("selector", SELECTORS)
@few
@given(data=st.data())
def test_the_laws(selector: str, data: st.DataObject) -> None:
    case = drawn(data, selector)
    kept = case.reduce(selector)
    assert kept.layout.lengths == case.counts
    assert kept.rows.dtype == torch.int64 and kept.rows.shape == (kept.layout.tokens,)
    assert kept.states.shape == (kept.layout.tokens, WIDTH) and kept.states.dtype == case.x.dtype
    if case.counts != case.layout.lengths:
        assert kept.layout.tokens == case.layout.thinned(case.counts).tokens
        assert not kept.rows[kept.layout.used :].any()
        assert kept.sizes is None or bool((kept.sizes[kept.layout.used :] == 1).all())
    merged = False
    for group, here in enumerate(parts(kept)):
        start, length = int(case.layout.starts[group]), case.layout.lengths[group]
        own = slice(start, start + length)
        rows, states = kept.rows[here].tolist(), kept.states[here]
        assert rows == sorted(set(rows)) and all(start <= row < start + length for row in rows)
        fixed = [start + i for i in case.fixed(group)]
        assert set(fixed) <= set(rows)
        before = torch.ones(length) if case.sizes is None else case.sizes[own]
        after = torch.ones(len(rows)) if kept.sizes is None else kept.sizes[here]
        room = len(rows) > len(fixed) or selector == "mean"
        if len(rows) == length:
            assert rows == list(range(start, start + length))
            assert torch.equal(states, case.x[own]) and torch.equal(after, before)
        elif selector in MERGING and room:
            merged = True
            assert float(after.sum()) == float(before.sum())
        else:
            assert torch.equal(states, case.x[rows]) and torch.equal(after, before[[row - start for row in rows]])
        if selector != "mean":
            stay = [rows.index(row) for row in fixed]
            assert torch.equal(states[stay], case.x[fixed])
            assert torch.equal(after[stay], before[[row - start for row in fixed]])
    assert (kept.sizes is None) == (case.sizes is None and not merged)


@pytest.mark.parametrize("selector", SELECTORS)
def test_a_budget_as_long_as_every_group_gives_the_batch_itself(selector: str) -> None:
    lengths = [1, 0, 1] if selector == "mean" else [3, 0, 1, 7]
    layout = Layout.few_shapes(lengths, 8)
    x, sizes = torch.randn(layout.tokens, WIDTH), torch.ones(layout.tokens)
    kept = reduce(x, layout, lengths, selector, sizes=sizes, scores=torch.rand(layout.tokens))
    assert kept.states is x and kept.sizes is sizes
    assert torch.equal(kept.rows, torch.arange(layout.tokens)) and kept.layout.lengths == lengths
    assert kept.layout.tokens == layout.tokens


@pytest.mark.parametrize("selector", SELECTORS)
@few
@given(data=st.data())
def test_a_group_depends_on_itself_alone(selector: str, data: st.DataObject) -> None:
    case = drawn(data, selector, ("spread", "whole") if selector in EXACT else ("spread",))
    kept = case.reduce(selector)
    for group, here in enumerate(parts(kept)):
        check_alone(case, kept, group, here, selector)


@pytest.mark.parametrize("selector", SELECTORS)
def test_more_groups_than_are_worked_on_at_once(selector: str) -> None:
    dice = torch.Generator().manual_seed(3)
    lengths = torch.randint(25, 41, (900,), generator=dice).tolist()
    layout = Layout.few_shapes(lengths)
    counts = [1 if selector == "mean" else length // 4 for length in lengths]
    x, scores = torch.randn(layout.tokens, WIDTH, generator=dice), torch.rand(layout.tokens, generator=dice)
    case = Case(x, layout, counts, None, None, scores)
    kept = case.reduce(selector)
    every = parts(kept)
    for group in range(0, 900, 60):
        check_alone(case, kept, group, every[group], selector)


def check_alone(case: Case, kept: Kept, group: int, here: slice, selector: str) -> None:
    alone = case.alone(group).reduce(selector)
    used = alone.layout.used
    assert (kept.rows[here] - case.layout.starts[group]).tolist() == alone.rows[:used].tolist()
    torch.testing.assert_close(kept.states[here], alone.states[:used], atol=1e-6, rtol=1e-6)
    sizes = [None if x is None else x.tolist() for x in (alone.sizes, kept.sizes)]
    if sizes[1] is not None:
        assert sizes[1][here] == ([1.0] * used if sizes[0] is None else sizes[0][:used])
    else:
        assert sizes[0] is None


@pytest.mark.parametrize("selector", SELECTORS)
@few
@given(data=st.data())
def test_gradients_reach_what_is_kept(selector: str, data: st.DataObject) -> None:
    """The sum of a kept state passes 1 to its token, or shares it out among the tokens that it stands for."""
    case = drawn(data, selector)
    case.sizes = None
    case.x.requires_grad_()
    kept = case.reduce(selector)
    torch.autograd.backward(kept.states[: kept.layout.used].sum())
    assert case.x.grad is not None
    passed = case.x.grad[:, 0]
    assert not passed[case.layout.used :].any()
    expected = torch.zeros(case.layout.tokens)
    expected[kept.rows[: kept.layout.used]] = 1
    for group, here in enumerate(parts(kept)):
        begin, length = int(case.layout.starts[group]), case.layout.lengths[group]
        own = slice(begin, begin + length)
        if selector in MERGING and (case.counts[group] > len(case.fixed(group)) or selector == "mean"):
            assert bool((passed[own] > 0).all())
            assert float(passed[own].sum()) == pytest.approx(case.counts[group], abs=1e-4)
            if kept.sizes is not None and length and selector != "salient-kmeans":  # whose shares are no sizes
                assert float(passed[own].min()) == pytest.approx(1 / float(kept.sizes[here].max()))
        else:
            assert torch.equal(passed[own], expected[own])


@pytest.mark.parametrize("selector", MERGING[:-1])
def test_without_room_for_a_merge_the_others_are_dropped(selector: str) -> None:
    x = torch.randn(12, WIDTH)
    protected = torch.zeros(12, dtype=torch.bool)
    protected[[4, 9]] = True
    kept = reduce(x, Layout([6, 6]), [2, 2], selector, protected=protected, scores=torch.rand(12))
    assert kept.sizes is None and kept.rows[:4].tolist() == [0, 4, 6, 9]
    assert torch.equal(kept.states[:4], x[[0, 4, 6, 9]])


@few
@given(data=st.data())
def test_scores_and_orders(data: st.DataObject) -> None:
    for selector in ("first", "ends", "norm", "attention", "saliency"):
        case = drawn(data, selector, ("spread", "whole"))
        kept = case.reduce(selector)
        for group, here in enumerate(parts(kept)):
            alone, fixed = case.alone(group), case.fixed(group)
            scores = {
                "first": [-i for i in range(alone.layout.used)],
                "ends": [-min(i, alone.layout.used - 1 - i) for i in range(alone.layout.used)],
                "norm": alone.x.square().sum(1).tolist(),
                "attention": alone.scores.tolist(),
                "saliency": alone.scores.tolist(),
            }[selector]
            order = sorted(range(alone.layout.used), key=lambda i: (i not in fixed, -scores[i], i))
            found = (kept.rows[here] - case.layout.starts[group]).tolist()
            assert found == sorted(order[: case.counts[group]])


@given(st.integers(2, 60), st.data())
def test_even_takes_equal_steps(length: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, length - 1))
    rows = reduce(torch.zeros(length, 1), Layout([length]), [count], "even").rows[:count].tolist()
    step = (length - 1) / max(1, count - 1)
    gaps = [b - a for a, b in pairwise(rows[1:])]
    assert all(math.floor(step) <= gap <= math.ceil(step) for gap in gaps)
    if count > 1:  # and as much is left out before the first as after the last one
        assert abs((rows[1] - 1) - (length - 1 - rows[-1])) <= 1


def test_random_is_the_same_in_every_run_whatever_the_states() -> None:
    layout = Layout([30, 30, 50])
    one = reduce(torch.randn(110, 2), layout, [10, 10, 10], "random").rows
    assert torch.equal(one, reduce(torch.randn(110, 2), layout, [10, 10, 10], "random").rows)
    assert torch.equal(one[:10] + 30, one[10:20])
    more = reduce(torch.randn(110, 2), layout, [20, 20, 20], "random").rows
    assert set(one[:30].tolist()) < set(more.tolist())
    assert one[:10].tolist() != list(range(10))


@pytest.mark.parametrize("selector", SELECTORS)
def test_number_types(selector: str) -> None:
    """Half precision stays so, and what is kept is what float32 keeps, under autocast too."""
    x = torch.randn(60, 64, generator=torch.Generator().manual_seed(5)).bfloat16()
    counts = [1, 1] if selector == "mean" else [9, 12]
    expected = reduce(x.float(), Layout([25, 35]), counts, selector, scores=torch.arange(60.0))
    with torch.autocast("cpu", torch.bfloat16):
        found = reduce(x, Layout([25, 35]), counts, selector, scores=torch.arange(60.0))
    assert found.states.dtype == torch.bfloat16 and torch.equal(found.rows, expected.rows)
    assert torch.equal(found.states, expected.states.bfloat16())


def refused(*said: str, counts: list[int], selector: str = "coreset", protected: list[int] | None = None) -> None:
    fixed = torch.zeros(8, dtype=torch.bool)
    fixed[protected or []] = True
    with pytest.raises(PlaitError) as told:
        reduce(torch.randn(8, 2), Layout([5, 0, 3]), counts, selector, protected=fixed)
    assert "\n" not in str(told.value) and all(part in str(told.value) for part in said)


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    refused("between 1 and 5", "group 0 is 6", counts=[6, 0, 1])
    refused("between 1 and 5", "group 0 is 0", counts=[0, 0, 1])
    refused("between 0 and 0", "group 1 is 1", counts=[2, 1, 1])
    refused("3 groups", "there are 2", counts=[2, 1])
    refused(*SELECTORS, "'best'", counts=[2, 0, 1], selector="best")
    for selector in SCORED:
        refused("pass scores", selector, counts=[2, 0, 1], selector=selector)
    refused("mean", "group 0 is 2", counts=[2, 0, 1], selector="mean")
    for selector in {*SELECTORS} - {*SCORED, "mean"}:
        refused("group 0 has 3", "count is 2", counts=[2, 0, 1], selector=selector, protected=[2, 4])
    refused("group 2 has 2", "count is 1", counts=[1, 0, 1], selector="mean", protected=[6])
    monkeypatch.setitem(sys.modules, "scipy.cluster.hierarchy", None)
    refused("scipy", "plait[train]", counts=[2, 0, 1], selector="ward")
