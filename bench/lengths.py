"""Query cost against the length of passages, with all of their tokens stored and with 32.

Command:   python -m bench.lengths [--budget 32]
Measured:  milliseconds of one query with 100 stored passages of 64, 128, 256 and 512 tokens (cut from SQuAD dev), the
           bundled model's encoder at join=4, `oneway`, int8, with and without the budget in turn; reading included;
           medians of 20 questions. Rows to results/lengths.jsonl.
"""

import argparse
import random
import statistics
import tempfile
from pathlib import Path

from bench.rows import append
from plait.data import Document, bundled, read_squad
from plait.index import Index
from plait.machine import fast_dtype
from plait.model import Plait

MODEL, PLAN = "bundled:minilm-squad", "join=4,mode=oneway"
LENGTHS, PASSAGES, QUESTIONS = (64, 128, 256, 510), 100, 20


def main() -> None:
    """Measure every length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, default=32)
    a = parser.parse_args()
    questions = read_squad(bundled("squad-dev"))
    asked = [q.question for q in random.Random(0).sample(questions, QUESTIONS)]
    text = " ".join(dict.fromkeys(q.passage for q in questions))
    with tempfile.TemporaryDirectory() as folder:
        for length in LENGTHS:
            plans = (PLAN, f"{PLAN},keep.passage={a.budget}")
            indexes = [_index(Path(folder) / f"{length}-{i}", plan, text, length) for i, plan in enumerate(plans)]
            times = _times(indexes, asked)
            append("lengths", {
                "bench": "lengths", "plan": PLAN, "codec": "int8", "tokens": length, "passages": PASSAGES,
                "budget": a.budget, "ms_without": times[0], "ms": times[1],
            })  # fmt: skip


def _index(path: Path, plan: str, text: str, length: int) -> Index:
    model = Plait.from_pretrained(MODEL, plan={"score": plan}, heads=("score",), dtype=fast_dtype())
    words = length - 1  # and the separator
    found = model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ends = found["offset_mapping"]
    pieces = [text[ends[i * words][0] : ends[(i + 1) * words - 1][1]] for i in range(PASSAGES)]
    index = Index.create(path, model, name=MODEL, codec="int8", passage_tokens=length, overlap=0)
    index.add([Document(str(i), piece) for i, piece in enumerate(pieces)])
    return index


def _times(indexes: list[Index], questions: list[str]) -> list[float]:
    found: list[list[float]] = [[] for _ in indexes]
    for turn, question in enumerate([*questions[:3], *questions]):
        for index, times in zip(indexes, found, strict=True):
            seconds = index.rank(question, 10, first_stage="all").timing.total
            if turn >= 3:
                times.append(1000 * seconds)
    return [round(statistics.median(times), 1) for times in found]


if __name__ == "__main__":
    main()
