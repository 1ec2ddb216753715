"""Rerank 100 stored passages for a query: Plait's plans against what a user would run today, side by side.

Command:   python -m bench.rank            (all peers, 20 queries; a quarter of an hour on 2 cores)
           python -m bench.rank --quick --json   (two minutes; the last line is one JSON object; of the
           peers, those of the number type that is fast on this processor)
Workload:  questions of SQuAD 1.1 dev, each with BM25's 100 best of its 2,067 passages; same weights everywhere.
Counted:   everything from the query's text to the scores: tokenizing, query layers, reading the store, join, head. The
           first stage is the same for all and left out.
Method:    every system answers three queries that are not counted; then every system the first five that are, then
           every system the next five, and so on, each beginning with another query that is not counted; peers first
           choose their fastest batch size. Medians and 95th percentiles over queries. `warm`: the files of a store are
           read once before each five, for systems drop pages that were idle while others were measured; `cold`: the
           page cache is told to forget them, and the store is opened anew.
"""

import argparse
import contextlib
import gc
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench import machine, peers
from plait.data import Document, bundled, read_documents, read_squad
from plait.hub import locate
from plait.index import Index
from plait.machine import fast_dtype
from plait.model import Plait
from plait.scoring import Timing, encode_query, score

RESULTS = Path(__file__).parent / "results" / "rank.jsonl"
WARMUP = 3
CANDIDATES = 100
BLOCK = 5
PLANS = (
    ("oneway, states", "join=4,mode=oneway", "int8"),
    ("oneway, states", "join=4,mode=oneway", "bfloat16"),
    ("oneway, keys and values", "join=4,mode=oneway,states=kv", "int8"),
    ("frozen", "join=4,mode=frozen", "int8"),
    ("joint", "join=4,mode=joint", "int8"),
    ("oneway, 32 tokens kept", "join=4,mode=oneway,keep.passage=32", "int8"),
    ("oneway, 32 tokens kept", "join=4,mode=oneway,keep.passage=32", "int4"),
)
QUICK = (PLANS[0], PLANS[5])


@dataclass
class System:
    """Something that scores: seconds of every query, and what else is worth a column."""

    name: str
    run: Callable[[str, Sequence[str]], Timing]
    facts: dict[str, Any] = field(default_factory=dict)
    files: Path | None = None
    seconds: list[float] = field(default_factory=list)
    stages: list[dict[str, float]] = field(default_factory=list)

    def warm(self) -> None:
        """Bring the system's files into the page cache."""
        for file in self.files.rglob("*") if self.files else ():
            if file.is_file():
                file.read_bytes()

    def measure(self, query: str, ids: Sequence[str]) -> None:
        """One query, timed from outside."""
        begin = time.perf_counter()
        timing = self.run(query, ids)
        self.seconds.append(time.perf_counter() - begin)
        self.stages.append(timing.stages)

    def row(self) -> dict[str, Any]:
        """Medians in milliseconds."""
        names = {name for stages in self.stages for name in stages}
        middle = {n: 1000 * statistics.median(s.get(n, 0.0) for s in self.stages) for n in sorted(names)}
        return {
            "system": self.name,
            **self.facts,
            "p50_ms": round(1000 * statistics.median(self.seconds), 3),
            "p95_ms": round(1000 * float(np.percentile(self.seconds, 95)), 3),
            "queries": len(self.seconds),
            "stages_ms": {name: round(value, 3) for name, value in middle.items()},
        }


def main() -> None:
    """Run the benchmark and append its rows to bench/results/rank.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled:minilm-squad", help="checkpoint with a score head of one label")
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--plans", type=int, default=len(PLANS), help="the first so many of our plans")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="two plans, 10 queries, a part of the corpus")
    parser.add_argument("--json", action="store_true", help="print only JSON")
    parser.add_argument("--no-write", action="store_true", help="leave the results file alone")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows, summary = run(arguments, Path(folder))
    if not arguments.json:
        for row in rows:
            print(f"{row['p50_ms']:>9.1f} ms (p95 {row['p95_ms']:.1f})  {row['system']:<44} {row['stages_ms'] or ''}")
    if not arguments.no_write and not arguments.quick:
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a") as file:
            file.writelines(json.dumps(row | {"run": summary["run"]}) + "\n" for row in rows)
    print(json.dumps(summary))


def run(arguments: argparse.Namespace, folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of all systems, and the summary whose `ratio_to_fastest_peer` is the claim."""
    documents = list(read_documents(bundled("squad-dev")))
    documents = documents[:600] if arguments.quick else documents
    inside = {d.id for d in documents}
    questions = [q.question for q in read_squad(bundled("squad-dev")) if q.document in inside]
    count = 10 if arguments.quick else arguments.queries
    chosen = random.Random(arguments.seed).sample(questions, count + WARMUP)
    stores = [
        _store(folder / str(i), arguments.model, *plan, documents)
        for i, plan in enumerate(QUICK if arguments.quick else PLANS[: arguments.plans])
    ]
    work = [(q, [hit.id for hit in stores[0].index.store.search_text(q, CANDIDATES)]) for q in chosen]
    work = [(q, ids) for q, ids in work if len(ids) == CANDIDATES]
    warmup, work = work[-WARMUP:], work[:-WARMUP]
    everything = stores[0].index.store.ids()
    texts = dict(zip(everything, stores[0].index.store.texts(everything), strict=True))
    others, left_out = _peers(arguments.model, texts, work, arguments.quick)
    systems = [*others, _full(arguments.model, texts), *(s.system for s in stores)]
    for system in systems:
        for query, ids in warmup:
            system.run(query, ids)
    for begin in range(0, len(work), BLOCK):
        for system in systems:
            system.warm()
            system.run(*work[begin - 1])  # not counted: the processor's caches hold what the others left in them
            for query, ids in work[begin : begin + BLOCK]:
                system.measure(query, ids)
    run_facts = {
        **machine.facts(),
        "seed": arguments.seed,
        "candidates": CANDIDATES,
        "passages": len(documents),
        "quick": arguments.quick,
    }
    rows = [system.row() for system in systems]
    rows += [_cold(s, work) for s in stores]
    fastest = min((row for row in rows[: len(others)]), key=lambda row: row["p50_ms"], default=None)
    ours = stores[0].system.row()
    summary = {
        "bench": "rank",
        "fastest_peer": fastest and fastest["system"],
        "fastest_peer_p50_ms": fastest and fastest["p50_ms"],
        "plait": ours["system"],
        "plait_p50_ms": ours["p50_ms"],
        "ratios": {s.system.name: fastest and round(fastest["p50_ms"] / s.system.row()["p50_ms"], 2) for s in stores},
        "ratio_to_fastest_peer": fastest and round(fastest["p50_ms"] / ours["p50_ms"], 2),
        "bytes_per_passage": ours["bytes_per_passage"],
        "index_to_bare_encoder": ours["index_to_bare_encoder"],
        "peers_left_out": left_out,
        "run": run_facts,
    }
    return rows, summary


@dataclass
class _Stored:
    system: System
    index: Index
    path: Path


def _store(path: Path, model_name: str, name: str, plan: str, codec: str, documents: list[Document]) -> _Stored:
    """An index of the corpus under one plan, with its build rate beside the bare encoder's on the same batches."""
    model = Plait.from_pretrained(model_name, plan={"score": plan}, dtype=fast_dtype())
    drop_other_heads(model)
    index = Index.create(path, model, name=model_name, codec=codec, passage_tokens=500, overlap=0)
    warm = [d.text for d in documents[:64]]
    model.encode("passage", warm)
    begin = time.perf_counter()
    added = index.add(documents)
    build = time.perf_counter() - begin
    bare = _bare(model, [d.text for d in documents])
    stats = index.stats()
    facts = {
        "kind": "plan",
        "temperature": "warm",
        "plan": plan,
        "codec": codec,
        "bytes_per_passage": round(stats.state_bytes / added.passages),
        "index_passages_per_s": round(added.passages / build, 1),
        "bare_encoder_passages_per_s": round(added.passages / bare, 1),
        "index_to_bare_encoder": round(bare / build, 3),
    }
    system = System(f"plait {name}, {codec}", lambda query, ids: _rank(index, query, ids), facts, path)
    return _Stored(system, index, path)


def drop_other_heads(model: Plait) -> None:
    """Keep the score head only, so that a store holds what ranking needs and nothing else."""
    model.plans = {"score": model.plans["score"]}


def _rank(index: Index, query: str, ids: Sequence[str]) -> Timing:
    timing = Timing()
    with torch.inference_mode():
        with timing.stage("query"):
            encoded = encode_query(index.model, query)
        lengths = index.store.lengths(ids)
        dtype = next(index.model.parameters()).dtype
        score(
            index.model, encoded, lengths, lambda b, n: index.store.read([ids[i] for i in b], n, dtype).states, timing
        )
    return timing


def _bare(model: Plait, texts: list[str]) -> float:
    """Seconds of `transformers`' own forward over the texts: batches of like length, padded, tokenizing included."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    model.base(**model.tokenizer(texts[:25], return_tensors="pt", padding=True, truncation=True))
    begin = time.perf_counter()
    with torch.inference_mode():
        for at in range(0, len(order), 25):
            batch = model.tokenizer(
                [texts[i] for i in order[at : at + 25]], return_tensors="pt", padding=True, truncation=True
            )
            model.base(**batch)
    return time.perf_counter() - begin


def _cold(stored: _Stored, work: Sequence[tuple[str, list[str]]]) -> dict[str, Any]:
    """The same after the page cache was told to forget the store's files."""
    system = System(stored.system.name, stored.system.run, stored.system.facts | {"temperature": "cold"})
    for query, ids in work[:10]:
        for file in stored.path.rglob("*"):
            if file.is_file():
                with file.open("rb") as handle:
                    os.fsync(handle.fileno())
                    os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        gc.collect()
        index = Index.open(stored.path, stored.index.model)
        system.run = lambda q, i, index=index: _rank(index, q, i)  # type: ignore[misc]
        system.measure(query, ids)
    return system.row()


def _full(model_name: str, texts: dict[str, str]) -> System:
    model = Plait.from_pretrained(model_name, plan="join=0,positions=continue", dtype=fast_dtype())

    def run(query: str, ids: Sequence[str]) -> Timing:
        ordered = sorted(ids, key=lambda i: len(texts[i]))
        model.predict([(query, texts[i]) for i in ordered], batch_size=25)
        return Timing()

    return System("plait full joint model", run, {"kind": "full", "plan": "join=0,positions=continue"})


def _peers(
    model_name: str, texts: dict[str, str], work: Sequence[tuple[str, list[str]]], quick: bool
) -> tuple[list[System], dict[str, str]]:
    """Peers with their fastest batch size, and why others are left out."""
    with contextlib.redirect_stdout(None):
        found, left_out = peers.load(locate(model_name), (fast_dtype(),) if quick else ("float32", "bfloat16"))
    pairs = [(query, [texts[i] for i in ids]) for query, ids in work[:1]]
    systems = []
    for peer in found:
        peer.tune(pairs)

        def run(query: str, ids: Sequence[str], peer: peers.Peer = peer) -> Timing:
            peer.score(query, [texts[i] for i in ids])
            return Timing()

        systems.append(System(peer.name, run, {"kind": "peer", "batch_size": peer.batch_size}))
    return systems, left_out


if __name__ == "__main__":
    main()
