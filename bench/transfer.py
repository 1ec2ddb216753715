"""A SQuAD-trained ranker on other collections: as it is, split without training, and adopted on their documents.

Command:   python -m bench.transfer COLLECTION FOLDER --teacher runs/teacher/final     (FOLDER as bench.sets writes it)
Runs:      the full teacher; the teacher split at join=4, oneway, untrained; the bundled split model; and what
           `plait adopt` makes of the teacher from the collection's documents alone, without its queries or judgements.
           With --also another model under a plan of its own: only that with an empty --runs.
Measured:  nDCG@10 and RR@10 over BM25's 100 best of all documents, every query (ir_measures); to results/transfer.jsonl
"""

import argparse
import tempfile
import time
from pathlib import Path

import ir_measures
from ir_measures import RR, R, nDCG

from bench.rows import append
from plait.adopt import adopt
from plait.data import Collection, read_collection
from plait.evaluate import raw_scores
from plait.machine import fast_dtype
from plait.model import Plait
from plait.parts import Part
from plait.store import Words

PLAN = "join=4,mode=oneway"
BUNDLED = "bundled:minilm-squad"
RUNS = (
    "BM25", "full teacher", "teacher split, untrained", "bundled split", "adopted", "adopted, from the bundled split",
)  # fmt: skip
Run = dict[str, dict[str, float]]


def main() -> None:
    """Run one collection and append its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--pseudo", type=int, default=2000)
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs/transfer"))
    parser.add_argument("--runs", nargs="*", default=RUNS, choices=RUNS)
    parser.add_argument("--also", nargs=3, metavar=("NAME", "MODEL", "PLAN"))
    a = parser.parse_args()
    data = read_collection(a.folder)
    texts = {id: document.text for id, document in data.documents.items()}
    with tempfile.TemporaryDirectory() as folder:
        words = Words(Path(folder) / "words", texts)
        first: Run = {id: {hit.id: hit.score for hit in words.search(q, 100)} for id, q in data.queries.items()}
    fact = {"bench": "transfer", "collection": a.collection, "documents": len(texts), "queries": len(data.queries),
            "teacher": a.teacher}  # fmt: skip
    if RUNS[0] in a.runs:
        append("transfer", fact | {"run": RUNS[0]} | _measured(data, first))
    models = dict(zip(RUNS[1:4], ((a.teacher, "join=0"), (a.teacher, PLAN), (BUNDLED, PLAN)), strict=True))
    if a.also:
        models[a.also[0]] = a.also[1], a.also[2]
    for name, (path, plan) in models.items():
        if name in a.runs or name not in RUNS:
            found = _measured(data, _reranked(path, plan, data, texts, first))
            append("transfer", fact | {"run": name, "plan": plan} | found)
    for name, start in zip(RUNS[4:], (a.teacher, BUNDLED), strict=True):
        if name not in a.runs:
            continue
        begin = time.perf_counter()
        output = a.work / f"{a.collection}-{name.replace(' ', '-').replace(',', '')}"
        report = adopt(
            a.teacher, list(data.documents.values()), output, start=start, plan=PLAN, pseudo=a.pseudo,
            epochs=a.epochs, seed=a.seed, learning_rate=1e-4,
        )  # fmt: skip
        found = _measured(data, _reranked(report.output, PLAN, data, texts, first))
        how = {"pseudo": a.pseudo, "epochs": a.epochs, "seed": a.seed, "seconds": round(time.perf_counter() - begin)}
        about = {
            "agreement": report.adopted,
            "split_agreement": report.split,
            "ms": report.ms,
            "full_ms": report.full_ms,
        }
        append("transfer", fact | {"run": name, "plan": PLAN} | found | how | about)


def _reranked(path: str, plan: str, data: Collection, texts: dict[str, str], first: Run) -> Run:
    model = Plait.from_pretrained(path, plan={"score": plan}, dtype=fast_dtype())
    known: dict[str, Part] = dict(texts)
    if model.plan("score").join:  # each text once, as an index would
        some = [id for id in texts if any(id in found for found in first.values())]
        known = dict(zip(some, model.encode("passage", [texts[id] for id in some]), strict=True))
    run: Run = {}
    for id, query in data.queries.items():
        found = list(first[id])
        if not found:
            continue
        scores = raw_scores(model, [(query, known[document]) for document in found])[:, 0]
        run[id] = dict(zip(found, map(float, scores), strict=True))
    return run


def _measured(data: Collection, run: Run) -> dict[str, object]:
    found = ir_measures.calc_aggregate([nDCG @ 10, RR @ 10, R @ 100], data.qrels, run)
    return {"ndcg10": found[nDCG @ 10], "rr10": found[RR @ 10], "recall100": found[R @ 100]}


if __name__ == "__main__":
    main()
