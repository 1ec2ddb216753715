"""Answers read from all tokens of a passage, or from the few that a budget leaves.

Command:   python -m bench.spans [--questions 1000]
Measured:  EM and F1 of the bundled model's span head (join=3) given the right passage, questions of SQuAD dev (seed 0),
           with all tokens stored (what plans do unless they say otherwise) and with 64 and 32 of each passage by four
           selectors; the model was not trained for budgets. Rows to results/spans.jsonl.
"""

import argparse
import random

from bench.rows import append
from plait.data import bundled, read_squad
from plait.evaluate import reading_quality
from plait.machine import fast_dtype
from plait.model import Plait

MODEL, PLAN = "bundled:minilm-squad", "join=3,reader=passage"
SELECTORS, BUDGETS = ("coreset", "nearest", "norm", "first"), (64, 32)


def main() -> None:
    """Measure all of them on the same questions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=1000)
    a = parser.parse_args()
    sample = random.Random(0).sample(read_squad(bundled("squad-dev")), a.questions)
    for plan in (PLAN, *(f"{PLAN},keep.passage={k},selector={s}" for k in BUDGETS for s in SELECTORS)):
        model = Plait.from_pretrained(MODEL, plan={"span": plan}, heads=("span",), dtype=fast_dtype())
        append("spans", {"bench": "spans", "model": "shipped", "plan": plan, "span": reading_quality(model, sample)})


if __name__ == "__main__":
    main()
