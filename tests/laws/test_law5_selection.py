"""Law 5: a budget at least as long as the group is a no-op, in order; selection never takes padding, never drops
protected tokens, and depends on nothing but the group.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor

from plait.errors import PlaitError
from plait.layout import Layout
from plait.selection import SELECTORS, Kept, reduce

MERGING = ("nearest", "tome", "kmeans", "ward", "mean")
CHOOSING = tuple(selector for selector in SELECTORS if selector not in MERGING)
EXACT = ("coreset", "coreset-exact", "first", "random", "even", "norm", "attention", "nearest")
"""Selectors that compute nothing but whole numbers of states that are whole numbers: equal values stay equal."""
WIDTH = 6
few = settings(max_examples=20, deadline=None)


@dataclass
class Case:
    """A batch, what to keep of it, and all that may be said about its tokens."""

    x: Tensor
    layout: Layout
    counts: list[int]
    sizes: Tensor | None
    protected: Tensor | None
    received: Tensor

    def reduce(self, selector: str) -> Kept:
        return reduce(
            self.x,
            self.layout,
            self.counts,
            selector,
            sizes=self.sizes,
            protected=self.protected,
            received=self.received,
        )

    def alone(self, group: int) -> Case:
        """A batch of this group only, without a token of nobody."""
        begin, length = int(self.layout.starts[group]), self.layout.lengths[group]
        part = slice(begin, begin + length)
        return Case(
            self.x[part],
            Layout([length]),
            [self.counts[group]],
            None if self.sizes is None else self.sizes[part],
            None if self.protected is None else self.protected[part],
            self.received[part],
        )

    def fixed(self, group: int) -> list[int]:
        """Numbers within the group of the tokens that are protected."""
        part = self.alone(group)
        length = part.layout.used
        return [i for i in range(length) if i == 0 or (part.protected is not None and bool(part.protected[i]))]


def drawn(data: st.DataObject, selector: str, kinds: tuple[str, ...] = ("spread", "equal", "whole")) -> Case:
    """Groups of 0 to 14 tokens; what stands at tokens of nobody would be taken first if it could be."""
    lengths = data.draw(st.lists(st.integers(0, 14), min_size=1, max_size=5))
    layout = Layout.few_shapes(lengths, data.draw(st.sampled_from([1, 8, 32])))
    dice = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    kind = data.draw(st.sampled_from(kinds))
    if kind == "spread":
        x = torch.randn(layout.tokens, WIDTH, generator=dice)
    elif kind == "whole":  # many equal distances and some equal states
        x = torch.randint(-1, 2, (layout.tokens, WIDTH), generator=dice).float()
    else:
        x = torch.ones(layout.tokens, WIDTH)
    if selector == "mean":
        counts = [min(1, length) for length in lengths]
        protected = None
    else:
        counts = [data.draw(st.integers(min(1, length), length)) for length in lengths]
        protected = torch.zeros(layout.tokens, dtype=torch.bool)
        for start, length, count in zip(layout.starts.tolist(), lengths, counts, strict=True):
            more = data.draw(st.integers(0, max(0, min(3, count - 1))))
            protected[start + torch.randperm(length, generator=dice)[:more]] = True
        protected[layout.used :] = True
    sizes = torch.randint(1, 5, (layout.tokens,), generator=dice).float() if data.draw(st.booleans()) else None
    received = torch.rand(layout.tokens, generator=dice)
    x[layout.used :], received[layout.used :] = 1e4, 1e4
    return Case(x, layout, counts, sizes, protected, received)


def parts(kept: Kept) -> list[slice]:
    starts = kept.layout.starts.tolist()
    return [slice(start, start + length) for start, length in zip(starts, kept.layout.lengths, strict=True)]


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
    kept = reduce(x, layout, lengths, selector, sizes=sizes, received=torch.rand(layout.tokens))
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
    x, received = torch.randn(layout.tokens, WIDTH, generator=dice), torch.rand(layout.tokens, generator=dice)
    case = Case(x, layout, counts, None, None, received)
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


@few
@given(data=st.data())
def test_core_set_is_greedy_k_center(data: st.DataObject) -> None:
    case = drawn(data, "coreset-exact", ("whole", "spread", "equal"))
    kept, rounds = case.reduce("coreset-exact"), case.reduce("coreset")
    for group, here in enumerate(parts(kept)):
        alone, count = case.alone(group), case.counts[group]
        begin = int(case.layout.starts[group])
        assert [row - begin for row in kept.rows[here].tolist()] == naive_centres(alone, count, 1)
        assert [row - begin for row in rounds.rows[here].tolist()] == naive_centres(alone, count, max(1, count // 8))


def naive_centres(case: Case, count: int, step: int) -> list[int]:
    """The farthest token, the first of several, until there are enough; `step` of them before looking again."""
    points, chosen = case.x.double().tolist(), case.fixed(0) if case.layout.used else []
    while len(chosen) < count:
        gaps = {
            i: min(sum((a - b) ** 2 for a, b in zip(point, points[c], strict=True)) for c in chosen)
            for i, point in enumerate(points)
            if i not in chosen
        }
        chosen = chosen + sorted(gaps, key=lambda i: (-gaps[i], i))[: min(step, count - len(chosen))]
    return sorted(chosen)


def test_rounds_of_several_centres() -> None:
    """The groups above are too short for more than one centre a round. The last token of the first group is the
    farthest: in padding, copies of it would be as far.
    """
    x = torch.randint(-3, 4, (150, WIDTH), generator=torch.Generator().manual_seed(0)).float()
    x[39] = 9
    lengths, counts = [40, 90, 20], [25, 64, 9]
    case = Case(x, Layout(lengths), counts, None, None, torch.rand(150))
    kept = case.reduce("coreset")
    for group, here in enumerate(parts(kept)):
        expected = naive_centres(case.alone(group), counts[group], max(1, counts[group] // 8))
        assert (kept.rows[here] - case.layout.starts[group]).tolist() == expected
        if counts[group] >= 16:
            assert expected != naive_centres(case.alone(group), counts[group], 1)


def test_core_set_leaves_no_token_farther_than_random_does() -> None:
    def radius(selector: str) -> float:
        near = torch.cdist(x.view(40, 100, 8), reduce(x, layout, [32] * 40, selector).states[:1280].view(40, 32, 8))
        return float(near.amin(2).amax(1).mean())

    dice = torch.Generator().manual_seed(1)
    layout = Layout([100] * 40)
    places = 5 * torch.randn(10, 8, generator=dice)
    often = 1 / torch.arange(1, 11).float()  # some clusters are rare
    x = places[torch.multinomial(often, 4000, True, generator=dice)] + torch.randn(4000, 8, generator=dice)
    assert radius("coreset-exact") <= radius("coreset") * 1.02
    assert radius("coreset") < 0.95 * radius("random")


@pytest.mark.parametrize("selector", ("nearest", "tome", "kmeans", "ward"))
@pytest.mark.parametrize("count", [3, 4, 9, 20, 39])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_merge_is_the_mean_of_its_cluster(selector: str, count: int, weighted: bool) -> None:
    """Against clusters found by plain loops (or by scipy from the states themselves)."""
    dice = torch.Generator().manual_seed(count)
    x = torch.randn(40, WIDTH, generator=dice)
    sizes = torch.randint(1, 5, (40,), generator=dice).float() if weighted else torch.ones(40)
    protected = torch.zeros(40, dtype=torch.bool)
    protected[[7]] = True
    kept = reduce(x, Layout([40]), [count], selector, sizes=sizes, protected=protected)
    free = [i for i in range(40) if i not in (0, 7)]
    clusters = {"nearest": naive_nearest, "tome": naive_tome, "kmeans": naive_kmeans, "ward": scipy_ward}[selector](
        x.double().numpy(), sizes.double().numpy(), free, count - 2
    )
    expected = sorted([(0, [0]), (7, [7]), *clusters])
    assert sorted(i for _, members in expected for i in members) == list(range(40))
    assert kept.rows[:count].tolist() == [place for place, _ in expected]
    assert kept.sizes is not None
    for slot, (_, members) in enumerate(expected):
        mean = (x[members] * sizes[members, None]).sum(0) / sizes[members].sum()
        torch.testing.assert_close(kept.states[slot], mean, atol=1e-5, rtol=1e-5)
        assert float(kept.sizes[slot]) == float(sizes[members].sum())


Clusters = list[tuple[int, list[int]]]
"""The place of each, and its members."""
Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def grouped(label: dict[int, int]) -> dict[int, list[int]]:
    return {name: [i for i in label if label[i] == name] for name in sorted(set(label.values()))}


def at_the_mean(x: Array, sizes: Array, label: dict[int, int]) -> Clusters:
    found = []
    for members in grouped(label).values():
        mean = np.average(x[members], axis=0, weights=sizes[members])
        away = [float(((x[i] - mean) ** 2).sum()) for i in members]
        # The first of equal ones, as the two members of a pair are.
        found.append((next(i for i, far in zip(members, away, strict=True) if far < min(away) + 1e-5), members))
    return found


def start(x: Array, count: int) -> list[int]:
    """Free core-set centres; tokens 0 and 7 are protected."""
    protected = torch.zeros(40, dtype=torch.bool)
    protected[7] = True
    case = Case(torch.from_numpy(x), Layout([40]), [count + 2], None, protected, torch.zeros(40))
    return [i for i in naive_centres(case, count + 2, max(1, (count + 2) // 8)) if i not in (0, 7)]


def naive_nearest(x: Array, sizes: Array, free: list[int], count: int) -> Clusters:
    centres = start(x, count)
    label = {i: i if i in centres else min(centres, key=lambda c: float(((x[i] - x[c]) ** 2).sum())) for i in free}
    return list(grouped(label).items())


def naive_kmeans(x: Array, sizes: Array, free: list[int], count: int) -> Clusters:
    means = {c: x[c] for c in start(x, count)}
    label: dict[int, int] = {}
    for _ in range(10):
        label = {i: min(means, key=lambda c: float(((x[i] - means[c]) ** 2).sum())) for i in free}
        for name, members in grouped(label).items():
            means[name] = np.average(x[members], axis=0, weights=sizes[members])
    assert len(set(label.values())) == count  # else choose another seed: this oracle fills no empty cluster
    return at_the_mean(x, sizes, label)


def naive_tome(x: Array, sizes: Array, free: list[int], count: int) -> Clusters:
    clusters = {i: [i] for i in free}

    def alike(a: int, b: int) -> float:
        u, v = (np.average(x[clusters[i]], axis=0, weights=sizes[clusters[i]]) for i in (a, b))
        return float(u @ v / math.sqrt((u @ u) * (v @ v)))

    while len(clusters) > count:
        order = sorted(clusters)
        first, second = order[::2], order[1::2]
        partner = {a: max(second, key=lambda b: alike(a, b)) for a in first}
        best = sorted(first, key=lambda a: -alike(a, partner[a]))
        for a in best[: min(len(order) // 2, len(order) - count)]:
            clusters[partner[a]] = clusters[partner[a]] + clusters.pop(a)
    return [(place, sorted(members)) for place, members in clusters.items()]


def scipy_ward(x: Array, sizes: Array, free: list[int], count: int) -> Clusters:
    units = x[free] / np.linalg.norm(x[free], axis=1, keepdims=True)
    labels = fcluster(linkage(units, "ward"), count, "maxclust").tolist()
    return at_the_mean(x, sizes, dict(zip(free, labels, strict=True)))


@pytest.mark.parametrize("weighted", [False, True])
def test_mean_is_the_mean_of_all(weighted: bool) -> None:
    lengths, layout = [3, 0, 5, 1], Layout.few_shapes([3, 0, 5, 1])
    x = torch.randn(layout.tokens, WIDTH)
    sizes = torch.arange(1.0, layout.tokens + 1) if weighted else None
    kept = reduce(x, layout, [1, 0, 1, 1], "mean", sizes=sizes)
    weights = torch.ones(layout.tokens) if sizes is None else sizes
    assert kept.rows[:3].tolist() == [0, 3, 8] and kept.sizes is not None
    for slot, (begin, length) in enumerate([(0, lengths[0]), (3, lengths[2]), (8, lengths[3])]):
        part = slice(begin, begin + length)
        expected = (x[part] * weights[part, None]).sum(0) / weights[part].sum()
        torch.testing.assert_close(kept.states[slot], expected)
        assert float(kept.sizes[slot]) == float(weights[part].sum())


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
            if kept.sizes is not None and length:
                assert float(passed[own].min()) == pytest.approx(1 / float(kept.sizes[here].max()))
        else:
            assert torch.equal(passed[own], expected[own])


@pytest.mark.parametrize("selector", MERGING[:-1])
def test_without_room_for_a_merge_the_others_are_dropped(selector: str) -> None:
    x = torch.randn(12, WIDTH)
    protected = torch.zeros(12, dtype=torch.bool)
    protected[[4, 9]] = True
    kept = reduce(x, Layout([6, 6]), [2, 2], selector, protected=protected)
    assert kept.sizes is None and kept.rows[:4].tolist() == [0, 4, 6, 9]
    assert torch.equal(kept.states[:4], x[[0, 4, 6, 9]])


@few
@given(data=st.data())
def test_scores_and_orders(data: st.DataObject) -> None:
    for selector in ("first", "norm", "attention"):
        case = drawn(data, selector, ("spread", "whole"))
        kept = case.reduce(selector)
        for group, here in enumerate(parts(kept)):
            alone, fixed = case.alone(group), case.fixed(group)
            scores = {
                "first": [-i for i in range(alone.layout.used)],
                "norm": alone.x.square().sum(1).tolist(),
                "attention": alone.received.tolist(),
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
    expected = reduce(x.float(), Layout([25, 35]), counts, selector, received=torch.arange(60.0))
    with torch.autocast("cpu", torch.bfloat16):
        found = reduce(x, Layout([25, 35]), counts, selector, received=torch.arange(60.0))
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
    refused("received", counts=[2, 0, 1], selector="attention")
    refused("mean", "group 0 is 2", counts=[2, 0, 1], selector="mean")
    for selector in {*SELECTORS} - {"attention", "mean"}:
        refused("group 0 has 3", "count is 2", counts=[2, 0, 1], selector=selector, protected=[2, 4])
    refused("group 2 has 2", "count is 1", counts=[1, 0, 1], selector="mean", protected=[6])
    monkeypatch.setitem(sys.modules, "scipy.cluster.hierarchy", None)
    refused("scipy", "plait[train]", counts=[2, 0, 1], selector="ward")
