"""A SQuAD-trained ranker on other collections: as it is, split without training, and adopted on their documents.

Command:   python -m bench.transfer COLLECTION FOLDER --teacher runs/teacher/final     (FOLDER as bench.sets writes it)
Runs:      the full teacher; the teacher split at join=4, oneway, untrained; the bundled split model; and what
           `plait adopt` makes of the teacher from the collection's documents alone, without its queries or judgements.
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
from plait.store import Words

PLAN = "join=4,mode=oneway"
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
    a = parser.parse_args()
    data = read_collection(a.folder)
    texts = {id: document.text for id, document in data.documents.items()}
    with tempfile.TemporaryDirectory() as folder:
        words = Words(Path(folder) / "words", texts)
        first: Run = {id: {hit.id: hit.score for hit in words.search(q, 100)} for id, q in data.queries.items()}
    fact = {"bench": "transfer", "collection": a.collection, "documents": len(texts), "queries": len(data.queries)}
    append("transfer", fact | {"run": "BM25"} | _measured(data, first))
    models = {
        "full teacher": (a.teacher, "join=0"),
        "teacher split, untrained": (a.teacher, PLAN),
        "bundled split": ("bundled:minilm-squad", PLAN),
    }
    for name, (path, plan) in models.items():
        append(
            "transfer", fact | {"run": name, "plan": plan} | _measured(data, _reranked(path, plan, data, texts, first))
        )
    begin = time.perf_counter()
    for name, start in (("adopted", a.teacher), ("adopted, from the bundled split", "bundled:minilm-squad")):
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
    run: Run = {}
    for id, query in data.queries.items():
        found = list(first[id])
        if not found:
            continue
        scores = raw_scores(model, [(query, texts[document]) for document in found])[:, 0]
        run[id] = dict(zip(found, map(float, scores), strict=True))
    return run


def _measured(data: Collection, run: Run) -> dict[str, object]:
    found = ir_measures.calc_aggregate([nDCG @ 10, RR @ 10, R @ 100], data.qrels, run)
    return {"ndcg10": found[nDCG @ 10], "rr10": found[RR @ 10], "recall100": found[R @ 100]}


if __name__ == "__main__":
    main()
