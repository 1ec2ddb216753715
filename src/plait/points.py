"""What a sweep found of each plan, and which to take: by LAIT's rule, or under limits."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from plait.errors import PlaitError

SHARE = 0.99
"""LAIT section 4: the deepest join whose metric is at least this share of the full model's."""


@dataclass(frozen=True)
class Point:
    """One plan's quality and cost.

    Attributes:
        plan: in text form; join, mode, keep (`32 coreset`; empty for all tokens): its own.
        metric, quality: name and value of what plans are compared by; metrics: all that were measured.
        flops: operations online, for one live text with `known` known ones each of the other roles; a decoder's apart.
        ms: milliseconds for the same from decoded states in memory, median, all plans in turn.
        memory: most bytes that the same holds at once beside the model, those states among them.
        bytes: stored for one known example, in `codec`.
        codec: what known texts are stored as; empty where nothing is stored, as under the full plan, and bytes are 0.
        lengths: tokens of each role that these four are for, medians over the data; milliseconds and memory are of the
            texts nearest to them.
        drift: mean absolute difference of the scores from those of states that were not stored, in standard deviations
            of these; None unless several codecs are compared.
    """

    plan: str
    join: int
    mode: str
    metric: str
    quality: float
    metrics: Mapping[str, float]
    flops: int
    ms: float
    memory: int
    bytes: int
    known: int
    codec: str
    lengths: Mapping[str, int]
    keep: str = ""
    drift: float | None = None


def choose(
    points: Sequence[Point],
    *,
    min_quality: float = SHARE,
    max_ms: float | None = None,
    max_bytes: int | None = None,
) -> Point:
    """The cheapest plan online (in one mode: the deepest) whose quality is `min_quality` of the full plan's, the first
    of `points`, or more.

    Raises:
        PlaitError: no plan is within the limits.
    """
    whole = points[0]
    least = whole.quality - (1 - min_quality) * abs(whole.quality)
    allowed = [
        point
        for point in points
        if point.quality >= least
        and (max_ms is None or point.ms <= max_ms)
        and (max_bytes is None or point.bytes <= max_bytes)
    ]
    if not allowed:
        best = max(points, key=lambda point: point.quality)
        quickest = min(points, key=lambda point: point.ms)
        raise PlaitError(
            f"a plan must have {whole.metric} of {least:.4g} or more"
            + (f", at most {max_ms:g} ms" if max_ms is not None else "")
            + (f", at most {max_bytes} bytes" if max_bytes is not None else "")
            + f", but none has; the best has {best.quality:.4g} ({best.plan}), the quickest takes {quickest.ms:.3g} ms "
            f"({quickest.plan})"
        )
    return min(allowed, key=lambda point: (point.flops, -point.join, point.bytes))


def rows(points: Sequence[Point], **facts: object) -> Iterator[dict[str, object]]:
    """JSON-able rows, each with `facts` about the run."""
    for point in points:
        yield {**facts, **dataclasses.asdict(point)}


def markdown(points: Sequence[Point], chosen: Point | None) -> str:
    """A table; the row of the chosen plan, if there is one, is bold."""
    whole = points[0]
    lines = [
        f"| plan | codec | {whole.metric} | of full | online GFLOPs | times fewer | ms | MiB | bytes a known example |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    drifts = any(point.drift is not None for point in points)
    if drifts:
        lines = [lines[0] + " score drift |", lines[1] + "---|"]
    for point in points:
        cells = [
            point.plan, point.codec or "-",
            f"{point.quality:.4g}", f"{point.quality / whole.quality:.1%}" if whole.quality > 0 else "-",
            f"{point.flops / 1e9:.3g}", f"{whole.flops / max(point.flops, 1):.1f}", f"{point.ms:.3g}",
            f"{point.memory / 2**20:.3g}", f"{point.bytes:,}",
        ]  # fmt: skip
        if drifts:
            cells.append("-" if point.drift is None else f"{point.drift:.3f}")
        lines.append("| " + " | ".join(f"**{cell}**" if point is chosen else cell for cell in cells) + " |")
    return "\n".join(lines)
