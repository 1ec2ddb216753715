"""Where in the layers tokens are dropped: a third of the operations, by several schedules, of a model trained without.

Command:   python -m bench.schedules --train train.jsonl [--selectors saliency]   (after `python -m bench.imdb none`)
Measured:  accuracy of the model of `bench.imdb none` on 300 of IMDB's training reviews that it was not trained on
           (seed 1), under plans of equal operations; saliency is fitted to texts that it was trained on, and nothing
           else is trained. Rows to results/schedules.jsonl; by them `bench.imdb` chose.
"""

import argparse
import json
import random
from pathlib import Path

from bench.imdb import ALONE, LONGEST, cheaper, decaying, fewer, once
from bench.rows import append
from plait.config import TrainConfig
from plait.data import Example
from plait.evaluate import quality
from plait.machine import fast_dtype
from plait.model import Plait
from plait.training import train

SELECTORS, SPEED, TEXTS = ("coreset", "nearest", "ward", "first"), 3.0, 300
OTHERS = ("norm", "tome", "ends", "even", "random", "saliency")
"""These are tried before layer 0 only."""
NUMBER = "all before layer 0, the same number of each text"
SCHEDULES = {
    "all before layer 0": once,
    "all before layer 1": lambda share: f"{share:.4g}@1",
    "0.8 of what is left, from layer 0": lambda share: "+".join(f"{share * 0.8**n:.4g}@{n}" for n in range(6)),
    "half of what is left, from layer 0": lambda share: "+".join(f"{share * 0.5**n:.4g}@{n}" for n in range(6)),
    "the same share each, from layer 1": decaying,
}


def main() -> None:
    """Measure every selector under every schedule."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/imdb"))
    parser.add_argument("--selectors", nargs="+", default=("none", *SELECTORS, *OTHERS))
    a = parser.parse_args()
    trained, every = ([json.loads(line) for line in file.open()] for file in (a.work / "train.jsonl", a.train))
    seen = {row["text"] for row in trained}
    some = random.Random(1).sample([row for row in every if row["text"] not in seen], TEXTS)
    held_out = [Example(str(i), (row["text"],), str(row["label"])) for i, row in enumerate(some)]
    plans = [("none", "none", ALONE)]
    plans += [(s, NUMBER, fewer(s, SPEED)) for s in (*SELECTORS, *OTHERS)]
    plans += [(s, "all before layer 0", cheaper(once, s, SPEED)) for s in OTHERS]
    plans += [(s, name, cheaper(make, s, SPEED)) for s in SELECTORS for name, make in SCHEDULES.items()]
    for selector, schedule, plan in (one for one in plans if one[0] in a.selectors):
        path = _fitted(a.work, plan) if selector == "saliency" else a.work / "none" / "final"
        model = Plait.from_pretrained(path, plan=plan, dtype=fast_dtype())
        found = quality(model, "class", held_out)
        append("schedules", {
            "bench": "schedules", "selector": selector, "schedule": schedule, "plan": plan, "held_out": found,
        })  # fmt: skip


def _fitted(work: Path, plan: str) -> Path:
    """The model of `none` with a saliency."""
    output = work / f"fitted-{plan.partition('=')[2].replace(',', '-')}"
    return train(TrainConfig(
        model=str(work / "none" / "final"), data=str(work / "train.jsonl"), output=str(output), task="class",
        texts="text", score=plan, epochs=0.0, batch=16, longest=LONGEST,
    ))  # fmt: skip


if __name__ == "__main__":
    main()
