"""Passages kept at 64, 32, 16, 8 tokens: what every selector costs a ranking, and what the store shrinks to.

Command:   python -m bench.budgets [--model bundled:minilm-squad] [--selectors coreset first] [--budgets 32]
                                     [--plan join=4,mode=oneway] [--codec int8]
Measured:  RR@10 of the score head over BM25's 100 best of the 2,067 passages of SQuAD dev, 500 questions (seed 0), as
           `bench.quality` measures it, alone and with BM25's score beside its own; the model is not trained for budgets
           unless `--model` is one that was. In the same run, in turn, milliseconds of one query with 100 passages from
           the store, medians of 20 questions. Rows to results/budgets.jsonl.
"""

import argparse
import random
import statistics
import tempfile
from pathlib import Path

from bench.rows import append
from plait.data import bundled, read_documents, read_squad
from plait.index import Index
from plait.judged import rank_quality
from plait.machine import fast_dtype
from plait.model import Plait

SELECTORS = ("coreset", "first", "random", "tome", "ward", "nearest", "even", "kmeans")
BUDGETS = (64, 32, 16, 8)
TIMED = 20


def main() -> None:
    """Measure every selector at every budget, and no budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled:minilm-squad")
    parser.add_argument("--name", default="shipped", help="what to call it in the rows")
    parser.add_argument("--selectors", nargs="+", default=SELECTORS)
    parser.add_argument("--budgets", nargs="*", type=int, default=BUDGETS)
    parser.add_argument("--plan", default="join=4,mode=oneway", help="without a budget; measured too")
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--codec", default="int8")
    a = parser.parse_args()
    plans = [a.plan, *(f"{a.plan},keep.passage={k},selector={s}" for k in a.budgets for s in a.selectors)]
    sample = random.Random(0).sample(read_squad(bundled("squad-dev")), a.questions)
    with tempfile.TemporaryDirectory() as folder:
        whole = indexed(Path(folder) / "whole", a.model, a.plan, a.codec)
        for number, plan in enumerate(plans):
            index = indexed(Path(folder) / str(number), a.model, plan, a.codec)
            times = _times([whole, index], [q.question for q in sample[:TIMED]])
            row = {
                "bench": "budgets", "model": a.name, "plan": plan, "codec": a.codec,
                "state_bytes_per_passage": round(index.stats().state_bytes / len(index.store)),
                "rank": rank_quality(index, sample), "ms_without": times[0], "ms": times[1],
            }  # fmt: skip
            append("budgets", row)


def indexed(path: Path, model: str, plan: str, codec: str) -> Index:
    """SQuAD dev's passages, of a score head under a plan."""
    loaded = Plait.from_pretrained(model, plan={"score": plan}, heads=("score",), dtype=fast_dtype())
    index = Index.create(path, loaded, name=model, codec=codec)
    index.add(read_documents("bundled:squad-dev"))
    return index


def _times(indexes: list[Index], questions: list[str]) -> list[float]:
    """Median milliseconds of each index, asked in turn."""
    found: list[list[float]] = [[] for _ in indexes]
    for index in indexes:  # warm
        for question in questions[:3]:
            index.rank(question, 10)
    for question in questions:
        for index, times in zip(indexes, found, strict=True):
            times.append(1000 * index.rank(question, 10).timing.total)
    return [round(statistics.median(times), 1) for times in found]


if __name__ == "__main__":
    main()
