"""Charts: quality against operations, milliseconds, memory and stored bytes, a line a mode and budget; and a table of
positions.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from plait import files
from plait.errors import PlaitError
from plait.extras import library
from plait.positions import PositionTable
from plait.sweep import Point

FORMATS = (".png", ".svg", ".pdf")
COLOURS = {"joint": "#0072B2", "oneway": "#D55E00", "frozen": "#009E73"}
"""Told apart by colour-blind eyes too (Okabe and Ito)."""
MARKERS = {"joint": "o", "oneway": "s", "frozen": "^"}
STYLES = ("-", "--", ":", "-.")
"""All tokens, and the budgets in the order in which they were tried; more begin again."""


def _reduced(point: Point, codecs: Collection[str]) -> str:
    """What makes a plan's store smaller, as a line's name."""
    return " ".join(filter(None, (point.keep, point.codec if len(codecs) > 1 else "")))


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
    """Write the chart of a sweep, whose first point is the full plan, in the format that the ending of `path` names.

    Raises:
        PlaitError: matplotlib is not installed.
    """
    figures, ticker = library("matplotlib.figure", "plots"), library("matplotlib.ticker", "plots")
    whole, *split = points
    known = whole.known
    panels = [
        ("flops", 1e9, f"online GFLOPs, {known} known texts"),
        ("ms", 1, f"milliseconds, {known} known texts"),
        ("memory", 2**20, f"MiB held, {known} known texts"),
        ("bytes", 1024, f"stored KiB a known text ({', '.join(dict.fromkeys(p.codec for p in points))})"),
    ]
    panels = panels if any(point.bytes for point in split) else panels[:-1]  # of single texts nothing is stored
    figure = figures.Figure(figsize=(3.75 * len(panels), 4), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True)
    for axis, (name, unit, label) in zip(axes, panels, strict=True):
        axis.axhline(whole.quality, color="0.6", linewidth=1, linestyle="--")
        codecs = {point.codec for point in split}
        keeps = list(dict.fromkeys(_reduced(point, codecs) for point in split))
        for mode, keep in dict.fromkeys((point.mode, _reduced(point, codecs)) for point in split):
            line = sorted((p for p in split if (p.mode, _reduced(p, codecs)) == (mode, keep)), key=lambda p: p.join)
            x = [getattr(point, name) / unit for point in line]
            axis.plot(
                x, [p.quality for p in line], color=COLOURS[mode], marker=MARKERS[mode],
                linestyle=STYLES[keeps.index(keep) % len(STYLES)], label=f"{mode}, {keep}" if keep else mode,
            )  # fmt: skip
            for place, point in zip(x, line, strict=True) if any(p.join for p in split) else ():
                axis.annotate(str(point.join), (place, point.quality), (4, 4), textcoords="offset points", fontsize=8)
        if len(keeps) > 1:
            best = frontier([(getattr(point, name) / unit, point.quality) for point in split])
            axis.step(*zip(*best, strict=True), where="post", color="0.3", linewidth=4, alpha=0.25, label="frontier")
        if name != "bytes":  # the full model stores nothing
            axis.plot([getattr(whole, name) / unit], [whole.quality], "k*", markersize=11, label="full, join=0")
        if chosen is not None:
            axis.plot(
                [getattr(chosen, name) / unit], [chosen.quality], "o", markersize=16, fillstyle="none", color="k",
                label=f"chosen: {chosen.plan}",
            )  # fmt: skip
        axis.set_xlabel(label)
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(ticker.ScalarFormatter())
        axis.grid(alpha=0.25)
    axes[0].set_ylabel(points[0].metric)
    handles = dict(zip(*reversed(axes[0].get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=6, frameon=False, fontsize=9)
    if title:
        figure.suptitle(title, fontsize=11)
    _save(figure, path)


def require_format(path: str | Path) -> None:
    """Refuse a chart that could not be written, before the work that it is to show."""
    library("matplotlib.figure", "plots")
    if Path(path).suffix not in FORMATS:
        raise PlaitError(f"a chart's name must end in one of {', '.join(FORMATS)}, but is {str(path)!r}")


def _save(figure: Any, path: str | Path) -> None:
    """In the format that the ending of `path` names."""
    image = io.BytesIO()
    figure.savefig(image, dpi=150, format=Path(path).suffix.removeprefix("."))
    files.write(path, image.getvalue())
