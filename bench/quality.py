"""Accuracy of the bundled checkpoint and its teacher on SQuAD 1.1 dev, which no training has seen.

Some choices have: that both were trained on, the split model with more candidates (configs/*-more.toml), that the
teacher became the mean of two, that the split model's last 0.4 epochs had hard batches, and that the shipped one is the
mean of it before and after these was decided after earlier figures here.

Command:   python -m bench.quality --model bundled:minilm-squad --name shipped --rank-questions 500
           python -m bench.quality --model runs/teacher-mean --name teacher --rank-questions 500
Measured:  EM and F1 of the span head given the right passage, on all 10,570 questions (SQuAD's definition); RR@10 of
           the score head over BM25's 100 best of all 2,067 passages, on a sample (ir_measures). Both through an index,
           as a user would: stored with the codec, split with overlap.
"""

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

import torch

from bench import machine
from plait.data import bundled, read_documents, read_squad
from plait.evaluate import span_quality
from plait.index import Index
from plait.judged import rank_quality
from plait.machine import fast_dtype
from plait.model import Plait

RESULTS = Path(__file__).parent / "results" / "quality.jsonl"


def main() -> None:
    """Measure one model under its plans and append a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled:minilm-squad")
    parser.add_argument("--plan", default=None, help="default: the plans that the checkpoint was saved with")
    parser.add_argument("--name", required=True, help="what to call it in the row")
    parser.add_argument("--codec", default="int8")
    parser.add_argument("--span-questions", type=int, default=0, help="0 for all")
    parser.add_argument("--rank-questions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", default=None, help="a SQuAD file; default: the bundled dev set")
    parser.add_argument("--no-write", action="store_true")
    a = parser.parse_args()
    data = Path(a.data) if a.data else bundled("squad-dev")
    questions = read_squad(data)
    sample = random.Random(a.seed).sample(questions, min(a.rank_questions, len(questions)))
    spans = random.Random(a.seed).sample(questions, a.span_questions) if a.span_questions else questions
    model = Plait.from_pretrained(a.model, plan=a.plan, dtype=fast_dtype())
    with tempfile.TemporaryDirectory() as folder:
        index = Index.create(Path(folder) / "store", model, name=a.model, codec=a.codec)
        begin = time.perf_counter()
        index.add(read_documents(data))
        built = time.perf_counter() - begin
        row = {
            "bench": "quality", "name": a.name, "model": a.model if ":" in a.model else Path(a.model).name,
            "plans": {head: str(plan) for head, plan in model.plans.items()}, "codec": a.codec,
            "dtype": str(next(model.parameters()).dtype), "data": data.name, "seed": a.seed,
            "build_seconds": round(built, 1), "bytes_per_passage": round(index.stats().state_bytes / len(index.store)),
        }  # fmt: skip
        if "span" in model.plans and spans:
            row["span"] = span_quality(index, spans)
            print(json.dumps(row["span"]), flush=True)
        if "score" in model.plans and sample:
            row["rank"] = rank_quality(index, sample)
    row["run"] = machine.facts() | {"torch_threads": torch.get_num_threads()}
    if not a.no_write:
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a") as file:
            file.write(json.dumps(row) + "\n")
    print(json.dumps(row))


if __name__ == "__main__":
    main()
