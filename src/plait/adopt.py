"""A split model from a full one and documents alone: nobody labels anything, the full model says what is right."""

from __future__ import annotations

import dataclasses
import json
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from plait.agreement import agreement
from plait.config import TrainConfig
from plait.cost import cost
from plait.data import Document, Example
from plait.errors import PlaitError
from plait.evaluate import raw_scores
from plait.mining import Wanted, cut, examples, mined, pseudo_queries
from plait.model import Plait
from plait.outputs import full
from plait.plan import Plan
from plait.scoring import require_one_label
from plait.sweep import milliseconds
from plait.train import train

AGREE, FASTER = 0.9, 2.0
"""What an adopted model is worth having from: share of the teacher's ten best found, times faster."""


@dataclass(frozen=True)
class Report:
    """What was gained and lost, on held-out queries over the passages that BM25 finds for them.

    Attributes:
        teacher, plan, seed: as given; output: the finished checkpoint.
        passages, queries, held_out: how many; made: how many of the queries were made from titles and sentences.
        split, adopted: agreement with the teacher before and after training, see plait.agreement.
        full_ms, ms: of one query with `known` passages from states in memory, full and adopted, medians in turn.
        bytes_per_passage: stored, int8, at `tokens` tokens, the median.
    """

    teacher: str
    plan: str
    seed: int
    output: str
    passages: int
    queries: int
    made: int
    held_out: int
    split: Mapping[str, float]
    adopted: Mapping[str, float]
    full_ms: float
    ms: float
    known: int
    bytes_per_passage: int
    tokens: int

    @property
    def worth(self) -> bool:
        """Whether it agrees enough and is enough faster."""
        return self.adopted["top10"] >= AGREE and self.full_ms >= FASTER * self.ms

    def verdict(self) -> str:
        """One sentence."""
        gain = f"{self.full_ms / self.ms:.1f} times faster, {self.adopted['top10']:.0%} of the teacher's ten best kept"
        if self.worth:
            return f"worth it: {gain}"
        if self.adopted["top10"] < AGREE:
            return f"not yet worth it: {gain}, less than {AGREE:.0%}; give more queries or epochs, or a smaller join"
        return f"not worth it: {gain}, which saves little; give a larger join or mode=oneway"

    def to_json(self) -> str:
        """All of it, and the verdict."""
        return json.dumps({**dataclasses.asdict(self), "worth": self.worth, "verdict": self.verdict()}, indent=2)


def adopt(
    teacher: str,
    documents: Sequence[Document],
    output: str | Path,
    *,
    queries: Sequence[str] = (),
    start: str = "",
    plan: str = "join=4,mode=oneway",
    pseudo: int = 2000,
    held_out: int = 100,
    candidates: int = 8,
    depth: int = 100,
    longest: int = 384,
    epochs: float = 1.0,
    learning_rate: float = 1e-4,
    margin: float = 0.0,
    seed: int = 0,
    bfloat16: bool = True,
    resume: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Distil a full pair model into a split one on a user's own documents, and say what that gained and lost.

    Args:
        teacher: a checkpoint that ranks (one label), a folder or hub id; its labels are not needed.
        documents: the corpus; it is cut into passages as an index cuts it.
        output: folder of the training, of `report.json` and of the finished checkpoint, `output/final`.
        queries: real ones, if there are; queries made from titles and sentences fill up to `pseudo`.
        start: a checkpoint whose weights training starts from, such as a model already split; empty for the teacher.
        plan: of the split model's score head.
        held_out: queries that are not trained on, from the real ones if there are; at most a fifth of them.
        candidates: passages of each query that are trained on; depth: those that agreement is measured on.
        longest: most tokens of a passage.
        epochs, learning_rate, margin, seed, bfloat16, resume: as in TrainConfig.
        progress: told what comes next.

    Raises:
        PlaitError: the teacher does not rank, the corpus or the queries are empty, or too few.
    """
    output = Path(output)
    model = Plait.from_pretrained(start or teacher, plan={"score": plan})
    require_one_label(model)
    room = min(longest, model.text.room(model.text.roles[-1]))
    progress("cutting passages, making queries")
    texts = cut(documents, model.tokenizer, room, min(64, room // 2))
    wanted, asked = _queries(queries, documents, texts, pseudo, held_out, seed)
    with tempfile.TemporaryDirectory() as folder:
        progress(f"searching {len(texts)} passages for {len(wanted) + len(asked)} queries")
        found = mined([*wanted, *asked], texts, Path(folder) / "words", depth)
    lessons = list(examples(wanted, texts, found, candidates, seed))
    data = _write(output, lessons)
    config = TrainConfig(
        model=start or teacher, teacher=teacher, data=str(data), output=str(output), task="rank", texts="query+passage",
        score=plan, labels=0.0, listwise=1.0, margin=margin, temperature=1.0, candidates=candidates, longest=longest,
        epochs=epochs, learning_rate=learning_rate, seed=seed, bfloat16=bfloat16,
        teacher_outputs=str(output / "teacher"), batch=4 * candidates,
    )  # fmt: skip
    progress(f"training on {len(lessons)} pairs")
    final = train(config, resume=resume)
    progress(f"comparing on {len(asked)} held-out queries")
    rows = {q.id: [(q.text, texts[id]) for id in found[q.id] if id != q.passage] for q in asked}
    whole = Plait.from_pretrained(teacher)
    if whole.plans["score"].join > 0:
        whole = Plait.from_pretrained(teacher, plan={"score": "join=0"})
    scores = {
        name: {id: raw_scores(one, some)[:, 0] for id, some in rows.items() if some}
        for name, one in (("teacher", whole), ("split", model), ("adopted", Plait.from_pretrained(final)))
    }
    report = _report(teacher, plan, seed, final, texts, wanted, asked, scores, rows)
    (output / "report.json").write_text(report.to_json())
    return report


def _queries(
    queries: Sequence[str],
    documents: Sequence[Document],
    texts: Mapping[str, str],
    pseudo: int,
    held_out: int,
    seed: int,
) -> tuple[list[Wanted], list[Wanted]]:
    """Queries to train on and queries held out."""
    real = [Wanted(f"query {i}", query) for i, query in enumerate(dict.fromkeys(q.strip() for q in queries)) if query]
    made = pseudo_queries(documents, texts, max(0, pseudo - len(real)), seed)
    source = real or made
    random.Random(seed).shuffle(source)
    count = min(held_out, len(source) // 5)
    if count < 1:
        raise PlaitError(
            f"adopting needs 5 queries or more, but there are {len(source)}; give --queries, or more documents"
        )
    return source[count:] + (made if real else []), source[:count]


def _write(output: Path, rows: Sequence[Example]) -> Path:
    path = output / "examples.jsonl"
    try:
        output.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            for row in rows:
                query, passage = row.texts
                fields = {"id": row.id, "query": query, "passage": passage, "label": row.label, "group": row.group}
                file.write(json.dumps(fields) + "\n")
    except OSError as error:
        raise PlaitError(f"the output must be a folder to write to, but is not ({error}); name another") from None
    return path


def _report(
    teacher: str,
    plan: str,
    seed: int,
    final: Path,
    texts: Mapping[str, str],
    wanted: Sequence[Wanted],
    asked: Sequence[Wanted],
    scores: Mapping[str, Mapping[str, object]],
    rows: Mapping[str, Sequence[tuple[str, str]]],
) -> Report:
    model = Plait.from_pretrained(final)
    split = Plan.parse(plan)
    known = min(100, len(texts))
    query, passage = model.text.roles
    segments = {
        query: model.text.segments(query, [asked[0].text]) * known,
        passage: model.text.segments(passage, list(texts.values())[:known]),
    }
    tokens = sorted(len(segment.ids) for segment in segments[passage])[known // 2]
    full_ms, ms = milliseconds(model, "score", [full(split), split], segments)
    lengths = {query: len(segments[query][0].ids), passage: tokens}
    return Report(
        teacher, plan, seed, str(final), len(texts), len(wanted) + len(asked),
        sum(not q.id.startswith("query ") for q in (*wanted, *asked)), len(asked),
        agreement(scores["teacher"], scores["split"]), agreement(scores["teacher"], scores["adopted"]),  # type: ignore[arg-type]
        full_ms, ms, known, cost(split, model.encoder.family.shape, lengths, known, "int8").bytes_per_example, tokens,
    )  # fmt: skip
