"""Which passages share rare words: those that a ranker must learn to tell apart."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np


def alike(bags: Sequence[Sequence[int]], size: int, rng: random.Random) -> list[list[int]]:
    """Numbers of bags of tokens in groups of `size` (the last may be smaller): one by chance with its nearest by the
    cosine of tokens weighted by how few bags have them.
    """
    tokens = {token: i for i, token in enumerate(sorted({token for bag in bags for token in bag}))}
    has = np.zeros((len(bags), len(tokens)), np.float32)
    for number, bag in enumerate(bags):
        has[number, [tokens[token] for token in set(bag)]] = 1
    weighted = has * np.log((1 + len(bags)) / has.sum(0))
    weighted /= np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-9)
    likeness = weighted @ weighted.T
    left = set(range(len(bags)))
    groups = []
    while left:
        first = rng.choice(sorted(left))
        group = sorted(left, key=lambda i: (i != first, -likeness[first, i], i))[:size]
        left -= set(group)
        groups.append(group)
    return groups
