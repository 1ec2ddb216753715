"""Tables of docs/results.md, made from the rows in results/ by `python -m bench.table`."""

import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from bench.rows import RESULTS
from plait.cost import Shape, cost
from plait.plan import Plan

Row = dict[str, Any]
MINILM = Shape(layers=6, hidden=384, heads=12, feedforward=1536, embedding=0, positions=512, types=2)
METRICS = {"class": "accuracy", "value": "spearman", "rank": "rr10", "choice": "accuracy"}


def _rows(name: str) -> list[Row]:
    file = RESULTS / f"{name}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    numbers = [all(cell[:1].isdigit() or not cell for cell in column) for column in zip(*lines, strict=True)]
    marks = ["---:" if number else "---" for number in numbers or [False] * len(header)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, marks, *lines))


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) <= 1 else f"{value:.1f}"


FROM, SIX = " from the reader", " with 6 segments"
DUAL = ("dual", "cosine")
ELASTIC = {"elastic": "", "elastic to 3": "to 3 "}
"""Runs of which every join has a row, by what their columns are kept under."""
UNTRAINED = ("commoner class", "cosine untrained")


def pairs() -> str:
    """Test metrics of every set, a line for all that begins alike; means over seeds, and of a seed (of a dual encoder,
    of all) the latest row. Of an elastic model every join's, in order, LAIT's choice in bold.
    """
    found: dict[tuple[str, str, str], dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    alone: dict[tuple[str, str], str] = {}
    metrics: dict[str, str] = {}
    chosen: set[tuple[tuple[str, str, str], str]] = set()
    for row in _rows("pairs"):
        name, plan, metric = row["run"], row.get("plan", ""), METRICS[row["task"]]
        some = f" of {row['questions']:,}" if row.get("questions") else ""
        of = row["set"] + some + (", 6 segments" if SIX in name else "")
        metrics[of] = metric
        if name in UNTRAINED or name in DUAL:  # which begin their own way
            alone[of, name if name in DUAL else "untrained"] = _number(row["test"][metric])
            continue
        positions = plan.partition("positions=")[2].partition(",")[0] or "restart"
        line = of, "reader" if name.endswith(FROM) else "encoder", positions
        name = name.removesuffix(FROM).replace(SIX, "")
        if name in ELASTIC:
            name = ELASTIC[name] + plan.partition(",")[0]
            chosen = chosen - {(line, name)} | ({(line, name)} if row["chosen"] else set())
        found[line][name][row["seed"]] = row["test"][metric]
    lines = []
    for line, runs in found.items():
        written = {name: _spread(list(by_seed.values())) for name, by_seed in runs.items()}
        bold = {name: f"**{value}**" if (line, name) in chosen else value for name, value in written.items()}
        joins = [" ".join(value for name, value in bold.items() if name.startswith(f"{kind}join="))
                 for kind in ELASTIC.values()]  # fmt: skip
        cells = [line[0], metrics[line[0]], *line[1:], *(written.get(name, "") for name in ("full", "split"))]
        cells += [written.get("distilled", ""), *joins]
        lines.append([*cells, *(alone.get((line[0], name), "") for name in (*DUAL, "untrained"))])
    head = ["set", "metric", "begins from", "positions", "full", "split", "distilled"]
    return _table([*head, "elastic, join=0 1 2 3 4 5", "elastic to 3", *DUAL, "untrained"], lines)


def _spread(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
    return _number(statistics.mean(values)) + spread


def transfer() -> str:
    """Ranking of other collections, the latest row of each run."""
    rows = list({(row["collection"], row["run"], row.get("teacher")): row for row in _rows("transfer")}.values())
    whole = {(row["collection"], row.get("teacher")): row["ndcg10"] for row in rows if row["run"] == "full teacher"}
    lines = []
    for row in rows:
        of = row["collection"], row.get("teacher")
        share = f"{row['ndcg10'] / whole[of]:.1%}" if of in whole else ""
        cells = [row["collection"], row["run"], row.get("plan", ""), _number(row["ndcg10"]), share]
        lines.append([*cells, _number(row["rr10"])])
    return _table(["collection", "run", "plan", "nDCG@10", "of the teacher's", "RR@10"], lines)


def budgets() -> str:
    """RR@10 with few tokens of each passage, or few numbers of each token: the latest row of each model, plan and
    codec; of the bundled model those that were measured with BM25 too, others are of one before it.
    """
    every = [row for row in _rows("budgets") if row["model"] != "shipped" or "both_rr10" in row["rank"]]
    rows = {(row["model"], row["plan"], row["codec"]): row for row in every}.values()
    whole = next((row["rank"]["rr10"] for row in rows if row["model"] == "shipped" and "keep" not in row["plan"]), None)
    lines = []
    for row in sorted(rows, key=lambda row: (row["model"], -_kept(row["plan"]))):
        plan = dict(part.split("=") for part in row["plan"].split(","))
        cells = [row["model"], plan.get("keep.passage", "all"), plan.get("selector", "")]
        cells += [plan.get("bottleneck", "384"), row["codec"], _number(row["rank"]["rr10"])]
        cells.append(f"{row['rank']['rr10'] / whole:.1%}" if whole else "")
        cells.append(_number(row["rank"]["both_rr10"]) if "both_rr10" in row["rank"] else "")
        faster = f"{row['ms_without'] / row['ms']:.1f}" if "ms" in row and "keep" in row["plan"] else ""
        lines.append([*cells, f"{row['state_bytes_per_passage']:,}", faster])
    header = ["model", "tokens", "selector", "numbers", "codec", "RR@10", "of the bundled model's", "with BM25"]
    return _table([*header, "bytes a passage", "times faster"], lines)


def codecs() -> str:
    """What codecs do to scores, the latest row of each model and codec."""
    lines = []
    for row in {(row["model"], row["codec"]): row for row in _rows("codecs")}.values():
        of = row["agreement"]
        cells = [row["codec"], f"{row['state_bytes_per_passage']:,}", f"{of['drift']:.4f}", f"{of['kendall']:.3f}"]
        lines.append([*cells, f"{of['top1']:.1%}", _number(row["rr10"])])
    header = ["codec", "bytes a passage", "drift of scores, sd", "Kendall's tau", "same best passage", "RR@10"]
    return _table(header, lines)


def _kept(plan: str) -> float:
    """Tokens of a passage that a plan keeps."""
    return float(plan.partition("keep.passage=")[2].partition(",")[0] or "inf")


def squad() -> str:
    """Plans trained alike on SQuAD; runs of more questions first."""
    lines = []
    for row in sorted(_rows("squad"), key=lambda row: -row["questions"]):
        cells = [f"{row['questions']:,}", row["run"], row["span_plan"], _number(row["span"]["em"])]
        rank = row.get("rank", {})
        found = [_number(rank[name]) if name in rank else "" for name in ("rr10", "both_rr10")]
        stored = "" if not rank or row["score_plan"].startswith("join=0") else f"{_stored(row['score_plan']):,}"
        lines.append([*cells, _number(row["span"]["f1"]), row["score_plan"] if rank else "", *found, stored])
    header = ["questions", "run", "span plan", "EM", "F1", "score plan", "RR@10", "with BM25"]
    return _table([*header, "bytes of 160 tokens"], lines)


def _stored(plan: str) -> int:
    """Bytes of the states of a passage of 160 tokens, as int8."""
    return cost(Plan.parse(plan), MINILM, {"query": 16, "passage": 160}, codec="int8").bytes_per_example


def imdb() -> str:
    """Single texts with fewer tokens in every layer."""
    lines = []
    for row in _rows("imdb"):
        cells = [row["run"], f"{row['operations_saved']:.1f}", _number(row["test"]["accuracy"])]
        cells += [f"{row['ms_without'] / row['ms']:.1f}", str(row["train_cpu_seconds"]), f"{row['peak_memory_mib']:,}"]
        lines.append([*cells, row["machine"]["processor"].partition("(R)")[0]])
    header = ["run", "times fewer operations", "test accuracy", "times faster", "training, CPU s", "peak memory, MiB"]
    return _table([*header, "processor"], lines)


def families() -> str:
    """The full model of every family, beside `transformers`."""
    lines = []
    for row in _rows("families"):
        ms = [f"{value:.0f}" for value in row["ms"].values()]
        faster = [f"{row['times_faster']:.2f}", f"{row['times_faster_than_batches_of_8']:.2f}"]
        lines.append([row["family"], row["dtype"], *ms, *faster, row["attention"]])
    header = ["family", "dtype", "Plait, ms", "transformers, ms", "in batches of 8, ms", "times faster"]
    return _table([*header, "than batches of 8", "transformers' attention"], lines)


def schedules() -> str:
    """Accuracy by where tokens are dropped, a column a selector."""
    rows = _rows("schedules")
    columns = list(dict.fromkeys(row["selector"] for row in rows if row["selector"] != "none"))
    found = {(row["schedule"], row["selector"]): f"{row['held_out']['accuracy']:.1f}" for row in rows}
    names = [name for name in dict.fromkeys(row["schedule"] for row in rows) if name != "none"]
    return _table(
        ["tokens dropped", *columns], [[name, *(found.get((name, c), "") for c in columns)] for name in names]
    )


def spans() -> str:
    """Answers from all tokens or from few."""
    lines = []
    for row in _rows("spans"):
        plan = dict(part.split("=") for part in row["plan"].split(","))
        cells = [plan.get("keep.passage", "all"), plan.get("selector", "")]
        lines.append([*cells, _number(row["span"]["em"]), _number(row["span"]["f1"])])
    return _table(["tokens kept", "selector", "EM", "F1"], lines)


def selection() -> str:
    """What choosing tokens costs beside a layer, in the latest run."""
    rows = _rows("selection")
    last = [row for row in rows if row["machine"]["processor"] == rows[-1]["machine"]["processor"]][
        -len({row["selector"] for row in rows}) :
    ]
    lines = [[row["selector"], f"{row['ms']:.1f}", f"{row['of_a_layer']:.2f}"] for row in last]
    return _table(["selector", "ms for 32 texts", "of one encoder layer"], lines)


def lengths() -> str:
    """Query cost against the length of passages."""
    rows = _rows("lengths")
    lines = [[str(row["tokens"]), f"{row['ms_without']:.0f}", f"{row['ms']:.0f}"] for row in rows]
    kept = rows[-1]["budget"] if rows else 0
    return _table(["tokens of a passage", "all stored, ms", f"{kept} stored, ms"], lines)


TABLES = {
    "pairs": pairs, "transfer": transfer, "budgets": budgets, "squad": squad, "imdb": imdb, "families": families,
    "selection": selection, "codecs": codecs, "lengths": lengths, "schedules": schedules, "spans": spans,
}  # fmt: skip
