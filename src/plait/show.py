"""How results look in a terminal. What is marked also stands between « and », for where there is no colour."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from plait.passages import sentence

if TYPE_CHECKING:
    from plait.adopt import Report
    from plait.known import KnownAnswer
    from plait.positions import PositionTable
    from plait.results import Answers, Found, Ranking
    from plait.scoring import Timing


def marked(text: str, start: int, end: int) -> str:
    """Markup of a text with characters [start, end) marked."""
    return f"{escape(text[:start])}[bold reverse]«{escape(text[start:end])}»[/]{escape(text[end:])}"


def found(answer: Found) -> str:
    """Markup of an answer in its sentence."""
    first, last = sentence(answer.hit.text, answer.start, answer.end)
    return marked(answer.hit.text[first:last], answer.start - first, answer.end - first)


def known(answer: KnownAnswer) -> str:
    """Markup of an answer in its sentence."""
    if not answer.answer:
        return "the text has no answer"
    begin = answer.sentence_start
    return marked(answer.sentence, answer.start - begin, answer.end - begin)


def ranking(out: Console, result: Ranking, stored: int) -> None:
    """Print hits, one a line, of so many stored passages, and where the time went."""
    for number, hit in enumerate(result.hits, 1):
        flat = " ".join(hit.text.split())
        flat = flat if len(flat) <= 100 else flat[:99] + "…"
        out.print(f"[bold]{number:>3}[/]  {hit.score:7.3f}  [cyan]{escape(hit.id)}[/]  {escape(flat)}")
    if not result.hits:
        out.print(_nothing_found(stored, "query"))
    out.print(milliseconds(result.timing), style="dim")


def evaluated(out: Console, facts: dict[str, Any]) -> None:
    """Print how the first stage, the model and both rank, and how good answers are."""
    table = Table(box=None, pad_edge=False)
    table.add_column(f"{facts['queries']:,} queries")
    for name in ("RR@10", "nDCG@10"):
        table.add_column(name, justify="right")
    for key in ("first stage", "model", "both"):
        if found := facts.get(key):
            name = f"both, --first-stage-weight {found['weight']:g}" if key == "both" else key
            table.add_row(name, f"{found['rr10']:.3f}", f"{found['ndcg10']:.3f}")
    if table.row_count:
        out.print(table)
    if "first stage" in facts:
        out.print(f"the first stage finds {facts['first stage']['recall']:.1%} of what is relevant")
    if "both" in facts:
        out.print("the weight is measured on other queries than it is chosen on, half and half", style="dim")
    if found := facts.get("answers"):
        said = f"{found['questions']:,} questions answered from {found['read']} passages each"
        out.print(f"{said}: EM {found['em']:.1f}, F1 {found['f1']:.1f}")


def stats(out: Console, facts: dict[str, Any]) -> None:
    """Print figures and settings of a store, one a line."""
    for name, value in facts.items():
        if isinstance(value, dict):
            shown = "; ".join(f"{key}: {one}" for key, one in value.items())
        else:
            shown = f"{value:,.0f}" if isinstance(value, int | float) else str(value)
        out.print(f"{name.replace('_', ' '):>20}  {escape(shown)}")


def measured(out: Console, facts: dict[str, Any]) -> None:
    """Print what a checkpoint was measured by, and under which plans."""
    for name, value in facts["quality"].items():
        digits = 3 if name in ("rr10", "ndcg10") else 1
        out.print(f"{name:>12}  {value:,}" if isinstance(value, int) else f"{name:>12}  {value:.{digits}f}")
    for head, plan in facts["plans"].items():
        out.print(f"{head:>12}  {escape(plan)}", style="dim")


def answers(out: Console, result: Answers, stored: int) -> None:
    """Print answers in their sentences, where they stand, and where the time went; `stored` as in `ranking`."""
    for answer in result.answers:
        at = answer.hit.start
        out.print(found(answer))
        out.print(f"  {escape(answer.hit.id)}, characters {answer.start + at}-{answer.end + at}", style="dim")
    if not result.answers:
        some = bool(result.ranking.hits)
        out.print("the passages that were read have no answer" if some else _nothing_found(stored, "question"))
    out.print(milliseconds(result.ranking.timing), style="dim")


def _nothing_found(stored: int, query: str) -> str:
    """Why a first stage found no passage: only that of words leaves any out."""
    if not stored:
        return "the store holds no passage; plait add puts documents there"
    return f"no passage shares a word with the {query}; --first-stage all reads every one"


def milliseconds(timing: Timing) -> str:
    """`12.3 ms (query 2.1, ...)`."""
    stages = ", ".join(f"{name} {1000 * seconds:.1f}" for name, seconds in timing.stages.items())
    return f"{1000 * timing.total:.1f} ms ({stages})"


def plan(out: Console, facts: dict[str, Any]) -> None:
    """Print what `explain` found."""
    out.print(f"[bold]{facts['plan']}[/] on {escape(facts['model'])} ({facts['layers']} layers of {facts['hidden']})")
    table = Table("layers", *facts["roles"], box=None, header_style="dim")
    for row in facts["reads"]:
        table.add_row(row["layers"], *row["cells"])
    out.print(table)
    for role, names in facts["stored"].items():
        out.print(f"stored of {role}: {', '.join(names) or 'nothing'}")
    lengths = ", ".join(f"{role} {n}" for role, n in facts["lengths"].items())
    out.print(
        f"{_token(facts['bytes_per_token'])}, {facts['bytes_per_example']:,} an example with {facts['codec']} "
        f"({lengths} tokens)"
    )
    giga = {key: f"{facts[key] / 1e9:.2f}" for key in ("offline", "online", "full")}
    out.print(
        f"GFLOP: {giga['offline']} once for each passage; {giga['online']} online for a query with {facts['passages']} "
        f"passages; {giga['full']} by the full pair model: {facts['gain']:.1f} times fewer"
    )


def _token(sizes: dict[str, int]) -> str:
    """`386 bytes a stored token`, or so many of each role where these differ."""
    first, *others = sizes.items() or [("", 0)]
    if len(set(sizes.values())) < 2:
        return f"{first[1]:,} bytes a stored token"
    return ", ".join([f"{first[1]:,} bytes a stored token of {first[0]}", *(f"{n:,} of {role}" for role, n in others)])


def adopted(out: Console, report: Report) -> None:
    """Print what adopting gained and lost."""
    out.print(
        f"{escape(report.teacher)} adopted as [bold]{report.plan}[/]: {report.passages:,} passages, {report.queries:,} "
        f"queries ({report.made:,} made), {report.held_out} of them held out"
    )
    table = Table("agreement with the teacher", "Kendall's tau", "same best", "of its ten best", "drift", box=None,
                  header_style="dim")  # fmt: skip
    for name, found in (("split, not trained", report.split), ("adopted", report.adopted)):
        cells = (f"{found['kendall']:.3f}", f"{found['top1']:.0%}", f"{found['top10']:.0%}", f"{found['drift']:.2f} sd")
        table.add_row(name, *cells)
    out.print(table)
    out.print(
        f"{report.full_ms:.1f} ms -> {report.ms:.1f} ms for a query with {report.known} passages from memory; "
        f"{report.bytes_per_passage:,} bytes a passage of {report.tokens} tokens (int8)"
    )
    out.print(f"[bold]{escape(report.verdict())}[/]")
    out.print(f"saved to {escape(report.output)}")


def json_line(value: Any) -> None:
    """Print one line of JSON, letters as they are, or escaped as JSON has them if the output's encoding lacks one."""
    line = json.dumps(value, ensure_ascii=False)
    try:
        line.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        line = json.dumps(value)
    print(line)


def positions(out: Console, facts: PositionTable) -> None:
    """Print what a table of learned positions is like."""
    near = "  ".join(f"{distance}: {cosine:.2f}" for distance, cosine in facts.similarity.items())
    waves = "  ".join(f"{period:.0f} ({share:.0%})" for period, share in facts.periods)
    fits = "  ".join(f"{count}: {share:.0%}" for count, share in facts.sinusoids.items())
    out.print(f"{facts.length} learned positions")
    out.print(f"cosine of rows at a distance    {near}")
    out.print(f"strongest periods, in tokens    {waves}")
    out.print(f"explained by so many sinusoids  {fits}")
    out.print("last states of a text that stands further on, cosine with those at 0, by place:")
    for how, by_place in facts.moved.items():
        out.print(f"  {how:<12}  {'  '.join(f'{place}: {cosine:.3f}' for place, cosine in by_place.items())}")
