"""Learned positions: what a table has learned, and how it can be made longer than it was trained.

A segment of a plan counts its positions from 0, so that a table's length limits a text and not an example. Longer texts
need more rows: `extended` makes them, and training goes on from there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plait.errors import PlaitError
from plait.model import Plait
from plait.text import Tokens

SHARE = 0.4
"""Weight of the coarse part of a hierarchical position (Su 2020)."""
PROBE = 96
"""Tokens of the texts that are moved along the table."""


@dataclass(frozen=True)
class PositionTable:
    """What a table of learned positions is like.

    Attributes:
        length: rows that texts can use.
        similarity: mean cosine of rows at a distance, after the mean row is taken off, by distance.
        periods: the strongest frequencies as periods in tokens, with their share of all power (of the rows without
            their mean), strongest first.
        sinusoids: share of the variance that so many fixed sinusoids (Vaswani et al. 2017, section 3.5: periods from
            2 pi to 20,000 pi, sine and cosine each) explain by least squares.
        moved: of texts that stand further along the table, the mean cosine of their last states with those at 0, by
            place of the first token, and by the way in which rows past the end were made (`learned`: within the table).
    """

    length: int
    similarity: Mapping[int, float]
    periods: Sequence[tuple[float, float]]
    sinusoids: Mapping[int, float]
    moved: Mapping[str, Mapping[int, float]]


def table_of(model: Plait) -> Tensor:
    """The rows that texts use, float32 [N, H], in the processor's memory.

    Raises:
        PlaitError: the family's positions are not learned rows of a table.
    """
    embedding, first = _embedding(model)
    return embedding.weight[first:].detach().float().cpu()


def look(model: Plait, texts: Sequence[str] = ()) -> PositionTable:
    """Everything that is said of a model's table; `texts` are moved along it."""
    rows = table_of(model)
    length = len(rows)
    distances = [2**k for k in range(int(math.log2(length)))]
    return PositionTable(
        length=length,
        similarity={d: similarity(rows, d) for d in distances},
        periods=periods(rows),
        sinusoids={n: sinusoids(rows, n) for n in (4, 8, 16, 32, 64)},
        moved=_moved(model, texts) if texts else {},
    )


def similarity(rows: Tensor, distance: int) -> float:
    """Mean cosine of rows [N, H] at a distance, after their mean is taken off."""
    centred = F.normalize(rows - rows.mean(0), dim=1)
    return float((centred[distance:] * centred[: len(rows) - distance]).sum(1).mean())


def periods(rows: Tensor, count: int = 5) -> list[tuple[float, float]]:
    """The strongest frequencies along a table [N, H]: (period in tokens, share of the power)."""
    power = torch.fft.rfft(rows - rows.mean(0), dim=0).abs().square().sum(1)[1:]  # without the mean
    share, place = (power / power.sum()).topk(min(count, len(power)))
    return [(len(rows) / (int(k) + 1), float(s)) for s, k in zip(share, place, strict=True)]


def sinusoids(rows: Tensor, count: int) -> float:
    """Share of the variance of a table [N, H] that `count` sinusoids explain by least squares."""
    fitted = _waves(len(rows), count) @ _fit(rows, count)
    total = (rows - rows.mean(0)).square().sum()
    return float(1 - (rows - fitted).square().sum() / total)


def interpolated(rows: Tensor, length: int) -> Tensor:
    """Rows between rows: [N, H] -> [length, H], the first and the last as they were."""
    return F.interpolate(rows.T[None], size=length, mode="linear", align_corners=True)[0].T.contiguous()


def tiled(rows: Tensor, length: int) -> Tensor:
    """The table again and again (Longformer, section 5)."""
    return rows.repeat(-(-length // len(rows)), 1)[:length]


def hierarchical(rows: Tensor, length: int) -> Tensor:
    """Place i * N + j as a mixture of rows i and j, which leaves the first N as they were (Su 2020); at most N * N."""
    if length > len(rows) ** 2:
        raise PlaitError(
            f"{len(rows)} rows make {len(rows) ** 2:,} hierarchical ones at most, but {length:,} are asked; ask for "
            "fewer, or make them another way"
        )
    base = (rows - SHARE * rows[:1]) / (1 - SHARE)
    place = torch.arange(length)
    return SHARE * base[place // len(rows)] + (1 - SHARE) * base[place % len(rows)]


def sinusoidal(rows: Tensor, length: int) -> Tensor:
    """The sinusoids that come nearest to a table, at all places, those of the table too."""
    count = min(rows.shape[1], len(rows)) // 4
    return _waves(length, count) @ _fit(rows, count)


WAYS: Mapping[str, Callable[[Tensor, int], Tensor]] = {
    "interpolate": interpolated, "tile": tiled, "hierarchical": hierarchical, "sinusoids": sinusoidal,
}  # fmt: skip
"""How rows are made: [N, H] and a length -> [length, H]."""


def extended(model: Plait, length: int, how: str) -> Plait:
    """The model with a table of `length` rows, in place; its checkpoint loads in `transformers` too.

    Raises:
        PlaitError: an unknown way, a table that is not learned, or a length below that of the table (at which
            `sinusoids` takes its place).
    """
    if how not in WAYS:
        raise PlaitError(f"positions are made longer by one of {', '.join(WAYS)}, but how is {how!r}; choose one")
    embedding, first = _embedding(model)
    rows = table_of(model)
    if length < len(rows):
        raise PlaitError(f"a table is made longer than its {len(rows)} rows, but length is {length}; give more")
    made = WAYS[how](rows, length).to(embedding.weight)
    embedding.weight = nn.Parameter(torch.cat([embedding.weight[:first].detach(), made]))
    embedding.num_embeddings = first + length
    base: Any = model.base
    for config in {id(base.config): base.config, id(model.config): model.config}.values():
        if getattr(config, "max_relative_positions", 1) < 1:  # then DeBERTa's distances go by the table's length
            config.max_relative_positions = config.max_position_embeddings
        config.max_position_embeddings = first + length
    model.tokenizer.model_max_length = length
    model.text.positions = length
    return model


def _embedding(model: Plait) -> tuple[nn.Embedding, int]:
    found = model.encoder.family.position_table()
    if found is None:
        raise PlaitError(
            f"positions are looked at in a table of learned ones, but those of {model.config.model_type} are distances "
            "in attention; nothing is to be made longer there"
        )
    return found


@torch.inference_mode()
def _moved(model: Plait, texts: Sequence[str]) -> dict[str, dict[int, float]]:
    embedding, first = _embedding(model)
    rows, learned = table_of(model), embedding.weight
    length = len(rows)
    role, name = model.text.roles[0], f"states.{model.layers}"
    segments = model.text.segments(role, texts, min(PROBE, length // 4))
    longest = max(len(segment.ids) for segment in segments)

    def last(place: int) -> Tensor:
        tokens = Tokens.pack(segments, first_positions=[place] * len(segments), device=model.device)
        return model.encoder.own(tokens, (name,)).tensors[name][: tokens.layout.used].float()

    at_zero = last(0)

    def cosine(place: int) -> float:
        return float(F.cosine_similarity(last(place), at_zero, dim=1).mean())

    within = [length // 8, length // 4, length // 2, length - longest]
    found = {"learned": {place: cosine(place) for place in sorted(set(within))}}
    past = [0, length // 2, length, length + length // 2, 2 * length - longest]
    try:
        for how, make in WAYS.items():
            longer = make(rows, 2 * length).to(learned)
            embedding.weight = nn.Parameter(torch.cat([learned[:first], longer]), requires_grad=False)
            found[how] = {place: cosine(place) for place in past}
    finally:
        embedding.weight = learned
    return found


def _waves(length: int, count: int) -> Tensor:
    """A constant, and sines and cosines of `count` frequencies, as in the first transformer: [length, 1 + 2 count]."""
    place = torch.arange(length, dtype=torch.float64)[:, None]
    angles = place * 10_000.0 ** (-torch.arange(count, dtype=torch.float64) / count)
    return torch.cat([torch.ones_like(place), angles.sin(), angles.cos()], 1).float()


def _fit(rows: Tensor, count: int) -> Tensor:
    """Least squares, a little damped, for the slowest waves are alike within a table."""
    waves = _waves(len(rows), count).double()
    damped = waves.T @ waves + 1e-3 * torch.eye(waves.shape[1], dtype=torch.float64)
    weights: Tensor = torch.linalg.solve(damped, waves.T @ rows.double())
    return weights.float()
