"""Charts: quality against operations, milliseconds, memory and stored bytes, a line a mode and budget; and a table of
positions.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plait import files
from plait.errors import PlaitError
from plait.extras import library
from plait.plan import Plan
from plait.points import Point
from plait.positions import PositionTable

FORMATS = (".png", ".svg", ".pdf")
COLOURS = {"joint": "#0072B2", "oneway": "#D55E00", "frozen": "#009E73"}
"""Told apart by colour-blind eyes too (Okabe and Ito)."""
MARKERS = {"joint": "o", "oneway": "s", "frozen": "^"}
STYLES = ("-", "--", ":", "-.")
"""All tokens, and the budgets in the order in which they were tried; more begin again."""


@dataclass(frozen=True)
class Panel:
    """One cost of a sweep's points beside their quality; points without that cost (nothing is stored) are left out.

    Attributes:
        cost, unit, label: the name of a Point's cost, what it is divided by, and what the axis says.
        first: the point that all are compared with, and what it is called; None where it is left out.
        lines: the others by mode and by what makes their store smaller (`32 coreset int4`), by rising join.
    """

    cost: str
    unit: float
    label: str
    first: tuple[Point, str] | None
    lines: Mapping[tuple[str, str], Sequence[Point]]

    def at(self, point: Point) -> tuple[float, float]:
        """Where a point lies: its cost, in units, and its quality."""
        return getattr(point, self.cost) / self.unit, point.quality

    def shown(self) -> list[Point]:
        """All points that are drawn."""
        return [*([self.first[0]] if self.first is not None else []), *itertools.chain(*self.lines.values())]


def panels(points: Sequence[Point]) -> list[Panel]:
    """What a chart of a sweep shows; costs that no point has are left out."""
    first, *others = points
    codecs = list(dict.fromkeys(point.codec for point in points if point.bytes))
    plan = Plan.parse(first.plan)
    whole = plan.join == 0 and plan.compare == "none"
    called = "full, join=0" if whole else " ".join([first.plan, *([first.codec] if codecs[1:] else [])])
    costs = [
        ("flops", 1e9, f"online GFLOPs, {first.known} known texts"),
        ("ms", 1, f"milliseconds, {first.known} known texts"),
        ("memory", 2**20, f"MiB held, {first.known} known texts"),
        ("bytes", 1024, f"stored KiB a known text ({', '.join(codecs)})"),
    ]
    found = []
    for cost, unit, label in costs:
        lines: dict[tuple[str, str], list[Point]] = {}
        for point in others:
            if getattr(point, cost):
                reduced = " ".join(filter(None, (point.keep, point.codec if codecs[1:] else "")))
                lines.setdefault((point.mode, reduced), []).append(point)
        for line in lines.values():
            line.sort(key=lambda point: point.join)
        found.append(Panel(cost, unit, label, (first, called) if getattr(first, cost) else None, lines))
    return [panel for panel in found if panel.shown()]


def frontier(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (cost, quality) those than which none costs no more and is better, cheapest first."""
    best: list[tuple[float, float]] = []
    for cost, quality in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or quality > best[-1][1]:
            best.append((cost, quality))
    return best


def positions(found: PositionTable, path: str | Path, title: str = "") -> None:
    """Draw what a table of learned positions is like: near and far rows, and what moving a text along it changes.

    Raises:
        PlaitError: matplotlib is not installed.
    """
    figures, ticker = library("matplotlib.figure", "plots"), library("matplotlib.ticker", "plots")
    figure = figures.Figure(figsize=(12, 4), layout="constrained")
    near, fits, moved = figure.subplots(1, 3)
    near.plot(list(found.similarity), list(found.similarity.values()), "o-", color="#0072B2")
    near.set(xlabel="distance in tokens", ylabel="cosine of two rows, their mean taken off")
    fits.plot(list(found.sinusoids), list(found.sinusoids.values()), "s-", color="#D55E00")
    fits.set(xlabel="sinusoids", ylabel="variance of the table that they explain", ylim=(0, 1.02))
    for axis in (near, fits):
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(ticker.ScalarFormatter())
    for style, (how, by_place) in zip(("k-", "o--", "s--", "^--", "v--"), found.moved.items(), strict=False):
        moved.plot(list(by_place), list(by_place.values()), style, label=how, markersize=4)
    moved.axvline(found.length, color="0.6", linewidth=1)
    moved.set(xlabel="place of a text's first token", ylabel="cosine of its last states with those at 0")
    moved.legend(frameon=False, fontsize=9)
    for axis in (near, fits, moved):
        axis.grid(alpha=0.25)
    figure.suptitle(f"{title}: {found.length} learned positions" if title else f"{found.length} learned positions")
    _save(figure, path)


def tradeoff(points: Sequence[Point], chosen: Point | None, path: str | Path, title: str = "") -> None:
    """Write the chart of a sweep, see `panels`, in the format that the ending of `path` names.

    Raises:
        PlaitError: matplotlib is not installed.
    """
    figures, ticker = library("matplotlib.figure", "plots"), library("matplotlib.ticker", "plots")
    shown = panels(points)
    keeps = list(dict.fromkeys(keep for panel in shown for _, keep in panel.lines))
    figure = figures.Figure(figsize=(3.75 * len(shown), 4), layout="constrained")
    axes = figure.subplots(1, len(shown), sharey=True)
    for axis, panel in zip(axes, shown, strict=True):
        axis.axhline(points[0].quality, color="0.6", linewidth=1, linestyle="--")
        for (mode, keep), line in panel.lines.items():
            axis.plot(
                *zip(*map(panel.at, line), strict=True), color=COLOURS[mode], marker=MARKERS[mode],
                linestyle=STYLES[keeps.index(keep) % len(STYLES)], label=f"{mode}, {keep}" if keep else mode,
            )  # fmt: skip
            for point in line if any(point.join for point in points) else ():
                axis.annotate(str(point.join), panel.at(point), (4, 4), textcoords="offset points", fontsize=8)
        if len({keep for _, keep in panel.lines}) > 1:
            best = frontier([panel.at(point) for line in panel.lines.values() for point in line])
            axis.step(*zip(*best, strict=True), where="post", color="0.3", linewidth=4, alpha=0.25, label="frontier")
        if panel.first is not None:
            axis.plot(*panel.at(panel.first[0]), "k*", markersize=11, linestyle="none", label=panel.first[1])
        if chosen is not None and chosen in panel.shown():
            axis.plot(
                *panel.at(chosen), "o", markersize=16, fillstyle="none", color="k", linestyle="none",
                label=f"chosen: {chosen.plan}",
            )  # fmt: skip
        axis.set_xlabel(panel.label)
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(ticker.ScalarFormatter())
        axis.grid(alpha=0.25)
    axes[0].set_ylabel(points[0].metric)
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=6, frameon=False, fontsize=9)
    if title:
        figure.suptitle(title, fontsize=11)
    _save(figure, path)


def require_format(path: str | Path) -> None:
    """Refuse a chart that could not be written, before the work that it is to show."""
    library("matplotlib.figure", "plots")
    if Path(path).suffix not in FORMATS:
        raise PlaitError(f"a chart's name must end in one of {', '.join(FORMATS)}, but is {str(path)!r}; rename it")


def _save(figure: Any, path: str | Path) -> None:
    """In the format that the ending of `path` names."""
    image = io.BytesIO()
    figure.savefig(image, dpi=150, format=Path(path).suffix.removeprefix("."))
    files.write(path, image.getvalue())
