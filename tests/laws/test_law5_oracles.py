"""Law 5, continued: every selector that compares or merges tokens equals its definition, written out naively."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage

from plait.layout import Layout
from plait.selection import reduce
from tests.laws.cases import WIDTH, Case, drawn, few, parts


@few
@given(data=st.data())
def test_core_set_is_greedy_k_center(data: st.DataObject) -> None:
    case = drawn(data, "coreset-exact", ("whole", "spread", "equal"))
    kept, rounds, salient = (case.reduce(selector) for selector in ("coreset-exact", "coreset", "salient-coreset"))
    for group, here in enumerate(parts(kept)):
        alone, count = case.alone(group), case.counts[group]
        begin = int(case.layout.starts[group])
        assert [row - begin for row in kept.rows[here].tolist()] == naive_centres(alone, count, 1)
        assert [row - begin for row in rounds.rows[here].tolist()] == naive_centres(alone, count, max(1, count // 8))
        weights = (2 * alone.scores.double()).exp().tolist()
        found = [row - begin for row in salient.rows[here].tolist()]
        assert found == naive_centres(alone, count, max(1, count // 8), weights)


def naive_centres(case: Case, count: int, step: int, weights: Sequence[float] = ()) -> list[int]:
    """The farthest token, the first of several, until there are enough; `step` of them before looking again."""
    points, chosen = case.x.double().tolist(), case.fixed(0) if case.layout.used else []
    while len(chosen) < count:
        gaps = {
            i: (weights[i] if weights else 1.0)
            * min(sum((a - b) ** 2 for a, b in zip(point, points[c], strict=True)) for c in chosen)
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


@pytest.mark.parametrize("selector", ("nearest", "tome", "kmeans", "ward", "salient-kmeans"))
@pytest.mark.parametrize("count", [3, 4, 9, 20, 39])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_merge_is_the_mean_of_its_cluster(selector: str, count: int, weighted: bool) -> None:
    """Against clusters found by plain loops (or by scipy from the states themselves)."""
    dice = torch.Generator().manual_seed(count)
    x = torch.randn(40, WIDTH, generator=dice)
    sizes = torch.randint(1, 5, (40,), generator=dice).float() if weighted else torch.ones(40)
    protected = torch.zeros(40, dtype=torch.bool)
    protected[[7]] = True
    scores = torch.randn(40, generator=dice)
    kept = reduce(x, Layout([40]), [count], selector, sizes=sizes, protected=protected, scores=scores)
    free = [i for i in range(40) if i not in (0, 7)]
    weights = sizes * scores.exp() if selector == "salient-kmeans" else sizes
    find: dict[str, Callable[[Array, Array, list[int], int], Clusters]] = {
        "nearest": naive_nearest, "tome": naive_tome, "kmeans": naive_kmeans, "ward": scipy_ward,
        "salient-kmeans": partial(naive_kmeans, scores=scores),
    }  # fmt: skip
    clusters = find[selector](x.double().numpy(), weights.double().numpy(), free, count - 2)
    expected = sorted([(0, [0]), (7, [7]), *clusters])
    assert sorted(i for _, members in expected for i in members) == list(range(40))
    assert kept.rows[:count].tolist() == [place for place, _ in expected]
    assert kept.sizes is not None
    for slot, (_, members) in enumerate(expected):
        mean = (x[members] * weights[members, None]).sum(0) / weights[members].sum()
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


def start(x: Array, count: int, scores: torch.Tensor | None = None) -> list[int]:
    """Free core-set centres; tokens 0 and 7 are protected."""
    protected = torch.zeros(40, dtype=torch.bool)
    protected[7] = True
    case = Case(torch.from_numpy(x), Layout([40]), [count + 2], None, protected, torch.zeros(40))
    weights = [] if scores is None else (2 * scores.double()).exp().tolist()
    return [i for i in naive_centres(case, count + 2, max(1, (count + 2) // 8), weights) if i not in (0, 7)]


def naive_nearest(x: Array, sizes: Array, free: list[int], count: int) -> Clusters:
    centres = start(x, count)
    label = {i: i if i in centres else min(centres, key=lambda c: float(((x[i] - x[c]) ** 2).sum())) for i in free}
    return list(grouped(label).items())


def naive_kmeans(x: Array, sizes: Array, free: list[int], count: int, scores: torch.Tensor | None = None) -> Clusters:
    means = {c: x[c] for c in start(x, count, scores)}
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
