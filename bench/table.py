"""Tables of the README, the model card and docs/results.md, made from the rows in bench/results and results/ and from
nothing else.

Command:   python -m bench.table          rewrite them
           python -m bench.table --check  exit code 1 if one differs from its rows
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from bench.found import TABLES
from plait.plan import Plan

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
FILES = (
    ROOT / "README.md",
    ROOT / "src" / "plait" / "checkpoints" / "minilm-squad" / "README.md",
    ROOT / "docs" / "results.md",
    ROOT / "docs" / "families.md",
)


def rows(name: str) -> list[dict[str, Any]]:
    """All rows of a results file, oldest first."""
    file = RESULTS / f"{name}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def speed() -> str:
    """The latest run of bench.rank: one line a system, fastest last."""
    found = rows("rank")
    last = [row for row in found if row["run"]["time"] == found[-1]["run"]["time"]] if found else []
    warm = [row for row in last if row.get("temperature") != "cold"]
    cold = {row["system"]: f"{row['p50_ms']:.1f}" for row in last if row.get("temperature") == "cold"}
    fastest = min(row["p50_ms"] for row in warm if row["kind"] == "peer")
    lines = [
        "| 100 passages reranked for one query | p50 ms | p95 ms | cold p50 ms | times the fastest peer | bytes "
        "a passage |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in sorted(warm, key=lambda row: -row["p50_ms"]):
        bytes_ = f"{row['bytes_per_passage']:,}" if "bytes_per_passage" in row else ""
        ratio = f"{fastest / row['p50_ms']:.1f}"
        lines.append(
            f"| {row['system']} | {row['p50_ms']:.1f} | {row['p95_ms']:.1f} | {cold.get(row['system'], '')} | "
            f"{ratio} | {bytes_} |"
        )
    run = last[-1]["run"]
    lines.append("")
    lines.append(
        f"Medians over {warm[0]['queries']} questions of SQuAD 1.1 dev with BM25's 100 best of "
        f"{run['passages']:,} passages, same "
        f"weights, interleaved in one run on {run['threads']} threads of {run['processor']}; tokenizing, query, "
        f"store read and join "
        f"counted. torch {run['versions']['torch']}, transformers {run['versions']['transformers']}. `make "
        f"bench`; rows in "
        "`bench/results/rank.jsonl`."
    )
    return "\n".join(lines)


def quality() -> str:
    """The latest row of every name in quality.jsonl."""
    latest = {row["name"]: row for row in rows("quality")}
    lines = [
        "| SQuAD 1.1 dev | plans | span EM | span F1 | rank RR@10 | bytes a passage |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name, row in latest.items():
        plans = "<br>".join(f"{head}: {plan}" for head, plan in row["plans"].items())
        stored = any(Plan.parse(plan).stores for plan in row["plans"].values())
        size = f"{row['bytes_per_passage']:,}" if stored else ""
        lines.append(
            f"| {name} | {plans} | {row['span']['em']:.1f} | {row['span']['f1']:.1f} | {row['rank']['rr10']:.3f} | "
            f"{size} |"
        )
    any_row = next(iter(latest.values()))
    lines.append("")
    lines.append(
        f"Spans: {any_row['span']['questions']:,} questions given the right passage. Rank: "
        f"{any_row['rank']['questions']:,} questions "
        f"(seed {any_row['seed']}) over BM25's 100 best of all passages; BM25 itself "
        f"{any_row['rank']['first_stage_rr10']:.3f}, its "
        f"recall {any_row['rank']['first_stage_recall']:.3f}. Stored as {any_row['codec']}, computed in "
        f"{any_row['dtype'].removeprefix('torch.')}. Each is the mean of two checkpoints of a chain of "
        "trainings, run once (`configs/`). `python -m bench.quality`; rows in "
        "`bench/results/quality.jsonl`."
    )
    return "\n".join(lines)


def filled(text: str) -> str:
    """The text with every `<!-- table: NAME -->` ... `<!-- end -->` part made anew."""
    for name, make in {"speed": speed, "quality": quality, **TABLES}.items():
        begin, end = f"<!-- table: {name} -->\n", "<!-- end -->"
        if begin in text:
            before, _, rest = text.partition(begin)
            _, _, after = rest.partition(end)
            text = before + begin + make() + "\n" + end + after
    return text


def main() -> None:
    """Rewrite or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for file in FILES:
        text = file.read_text()
        if check and text != filled(text):
            sys.exit(f"{file} differs from its rows; run python -m bench.table")
        if not check:
            file.write_text(filled(text))


if __name__ == "__main__":
    main()
