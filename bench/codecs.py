"""What every codec makes of the same stored states: bytes, and how far scores and ranks drift.

Command:   python -m bench.codecs [--model bundled:minilm-squad] [--plan join=4,mode=oneway] [--codecs int8 int4]
Measured:  the score head over BM25's 100 best of the 2,067 passages of SQuAD dev, 500 questions (seed 0), against the
           same with float32 states, which are what the model computed: drift of scores, order and best passage as
           `plait.agreement` measures them, RR@10 as `bench.quality` does. Rows to results/codecs.jsonl.
"""

import argparse
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.budgets import indexed
from bench.rows import append
from plait.agreement import Scores, agreement
from plait.data import bundled, read_squad
from plait.judged import asked, judged

CODECS = ("bfloat16", "int8", "int4")


def main() -> None:
    """Measure every codec against float32."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled:minilm-squad")
    parser.add_argument("--name", default="shipped", help="what to call it in the rows")
    parser.add_argument("--plan", default="join=4,mode=oneway")
    parser.add_argument("--codecs", nargs="+", default=CODECS)
    parser.add_argument("--questions", type=int, default=500)
    a = parser.parse_args()
    queries, qrels = asked(random.Random(0).sample(read_squad(bundled("squad-dev")), a.questions))
    exact: Scores = {}
    with tempfile.TemporaryDirectory() as folder:
        for codec in ("float32", *a.codecs):
            index = indexed(Path(folder) / codec, a.model, a.plan, codec)
            found = judged(index, queries, qrels, first_stage="bm25")
            scores = {query: _in_order(rows) for query, rows in found.found.items()}
            exact = exact or scores
            row = {
                "bench": "codecs", "model": a.name, "plan": a.plan, "codec": codec,
                "state_bytes_per_passage": round(index.stats().state_bytes / len(index.store)),
                "rr10": found.ranked()["rr10"], "agreement": agreement(exact, scores),
            }  # fmt: skip
            append("codecs", row)


def _in_order(rows: Sequence[tuple[str, float, float]]) -> NDArray[np.float32]:
    """The scores of a query's candidates, in the order of their documents and not of their ranks."""
    return np.array([score for _, score, _ in sorted(rows)], np.float32)


if __name__ == "__main__":
    main()
