"""A split model from a full one and documents alone: nobody labels anything, the full model says what is right."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import statistics
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plait import files
from plait.agreement import agreement
from plait.card import card
from plait.config import TrainConfig
from plait.cost import cost
from plait.data import Document, Example
from plait.errors import PlaitError
from plait.evaluate import scores_of
from plait.extras import library
from plait.machine import fast_dtype, to_device, to_dtype
from plait.measured import milliseconds
from plait.mining import Wanted, apart, cut, examples, mined, pseudo_queries
from plait.model import Plait
from plait.outputs import full
from plait.plan import Plan
from plait.resume import checkpoints
from plait.scoring import require_one_label
from plait.text import require_list
from plait.training import train

EXAMPLES = "examples.jsonl"
"""Under the output: what is trained on."""
CODEC = "int8"
"""What the report takes states to be stored with."""

FEW = 20
"""Held-out queries of which the verdict says that they are few."""
LEAST = 5
"""Queries of which one can be held out."""
AGREE, FASTER = 0.9, 2.0
"""What an adopted model is worth having from: share of the teacher's ten best found, times faster."""
AGREEMENT = ("kendall", "top1", "top10", "drift")
"""See plait.agreement."""


@dataclass(frozen=True)
class Report:
    """What was gained and lost, on held-out queries over the passages that BM25 finds for them.

    Attributes:
        teacher, plan, seed: as given; output: the finished checkpoint.
        passages, queries, held_out: how many; made: how many of the queries were made from titles and sentences.
        split, adopted: agreement with the teacher before and after training, see plait.agreement, from states as an
            int8 store gives them back.
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
        if self.held_out < FEW:
            gain += f" by {self.held_out} held-out queries, which say little"
        if self.worth:
            return f"worth it: {gain}"
        if self.adopted["top10"] < AGREE:
            return f"not yet worth it: {gain}, less than {AGREE:.0%}; give more queries or epochs, or a smaller join"
        return f"not worth it: {gain}, which saves little; give a larger join or mode=oneway"

    def figures(self) -> str:
        """For the model card."""
        found = [f"{name} {self.adopted[name]:.3f} (before training {self.split[name]:.3f})" for name in AGREEMENT]
        return (
            f"Adopted without labels. Agreement with the teacher on {self.held_out} held-out queries over "
            f"{self.passages:,} passages, by BM25's candidates: {', '.join(found)}. {self.verdict().capitalize()}."
        )

    def to_json(self) -> str:
        """All of it, and the verdict."""
        return json.dumps({**dataclasses.asdict(self), "worth": self.worth, "verdict": self.verdict()}, indent=2)


def adopt(
    teacher: str | os.PathLike[str],
    documents: Iterable[Document],
    output: str | Path,
    *,
    queries: Sequence[str] = (),
    start: str | os.PathLike[str] = "",
    plan: str | Plan = "join=4,mode=oneway",
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
    device: str = "auto",
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
        held_out: queries that are not trained on, from the real ones if there are 5; at most a fifth of them. None is a
            part of a query that is trained on, or the other way round.
        candidates: passages of each query that are trained on; depth: those that agreement is measured on.
        longest: most tokens of a passage.
        epochs, learning_rate, margin, seed, bfloat16, device, resume: as in TrainConfig.
        progress: told what comes next.

    Raises:
        PlaitError: the teacher does not rank, the plan's roles are others than a query and a known text, the corpus
            or the queries are empty, or too few.
    """
    output, teacher, start, plan = Path(output), os.fspath(teacher), os.fspath(start), str(plan)
    for name, value, least in (("pseudo", pseudo, 0), ("held_out", held_out, 1), ("candidates", candidates, 2),
                               ("depth", depth, 2), ("longest", longest, 8)):  # fmt: skip
        if value < least:
            raise PlaitError(f"{name} must be {least} or more, but is {value}; leave it out for what is usual")
    config = TrainConfig(
        model=start or teacher, teacher=teacher, data=str(output / EXAMPLES), output=str(output), task="rank",
        texts="query+passage", score=plan, labels=0.0, listwise=1.0, margin=margin, temperature=1.0,
        candidates=candidates, longest=longest, epochs=epochs, learning_rate=learning_rate, seed=seed,
        bfloat16=bfloat16, device=device, teacher_outputs=str(output / "teacher"), batch=4 * candidates,
    )  # fmt: skip
    library("scipy.stats", "train")  # for the report, and not after the training
    place = to_device(device)  # where training runs, too
    dtype = fast_dtype(place) if bfloat16 else "float32"
    whole = Plait.from_pretrained(teacher, heads=("score",), dtype=dtype, device=place)
    require_one_label(whole)
    model = Plait.from_pretrained(start or teacher, plan={"score": plan}, heads=("score",), new_heads=("score",))
    require_one_label(model)
    taught = whole.plans["score"]
    if taught != full(taught, taught.positions):  # as it will teach
        whole = Plait.from_pretrained(teacher, plan="join=0", heads=("score",), dtype=dtype, device=place)
    split = model.plans["score"]
    if len(split.roles) != 2 or split.known != split.roles[1:]:
        raise PlaitError(
            "adopting needs a plan of two roles, the live one first and the other known, as its teacher reads them, "
            f"but plan has the roles {', '.join(split.roles)} of which {', '.join(split.known) or 'none'} is known; "
            "leave roles, known and reader out"
        )
    room = min(longest, model.text.room(model.text.roles[-1]))
    documents, queries = list(documents), require_list("queries", queries)
    progress("cutting passages, making queries")
    texts = cut(documents, model.tokenizer, room, min(64, room // 2))
    real = [Wanted(f"query {i}", query) for i, query in enumerate(dict.fromkeys(q.strip() for q in queries)) if query]
    made = pseudo_queries(documents, texts, max(0, pseudo - len(real)), seed)
    with tempfile.TemporaryDirectory() as folder:
        progress(f"searching {len(texts)} passages for {len(real) + len(made)} queries")
        found = mined([*real, *made], texts, Path(folder) / "words", depth)
    rows = {q.id: [(q.text, texts[id]) for id in found[q.id] if id != q.passage] for q in (*real, *made)}
    wanted, asked = _split([q for q in real if len(rows[q.id]) > 1], [q for q in made if len(rows[q.id]) > 1],
                           held_out, seed)  # fmt: skip
    lessons = list(examples(wanted, texts, found, candidates, seed))
    _write(output / EXAMPLES, lessons, resume)
    progress(f"training on {len(lessons)} pairs")
    final = train(config, resume=resume)
    progress(f"comparing on {len(asked)} held-out queries")
    adopted = Plait.from_pretrained(final, dtype=dtype, device=place)
    model.to(device=place, dtype=to_dtype(dtype))
    models = {"teacher": (whole, ""), "split": (model, CODEC), "adopted": (adopted, CODEC)}
    scores = {name: _scores(one, asked, rows, codec) for name, (one, codec) in models.items()}
    query, passage = model.text.roles
    known = min(100, len(texts))
    some = random.Random(seed).sample(list(texts.values()), known)
    segments = {
        query: model.text.segments(query, [asked[0].text]) * known,
        passage: model.text.segments(passage, some),
    }
    split = adopted.plans["score"]
    full_ms, ms = milliseconds([(whole, full(split)), (adopted, split)], "score", segments)
    lengths = {role: round(statistics.median(len(s.ids) for s in some)) for role, some in segments.items()}
    report = Report(
        teacher, plan, seed, str(final), len(texts), len(wanted) + len(asked),
        sum(not q.id.startswith("query ") for q in (*wanted, *asked)), len(asked),
        agreement(scores["teacher"], scores["split"]), agreement(scores["teacher"], scores["adopted"]), full_ms, ms,
        known, cost(split, adopted.encoder.family.shape, lengths, known, CODEC).bytes_per_example, lengths[passage],
    )  # fmt: skip
    files.write(output / "report.json", report.to_json())
    files.write(final / "README.md", card(config, adopted, {}, {}, len(lessons), report.figures()))
    return report


def _scores(
    model: Plait, asked: Sequence[Wanted], rows: Mapping[str, Sequence[tuple[str, str]]], codec: str
) -> dict[str, NDArray[np.float32]]:
    """Scores of the candidates of each query."""
    found = scores_of(model, [row for query in asked for row in rows[query.id]], codec)[:, 0]
    ends = np.cumsum([len(rows[query.id]) for query in asked])
    return {query.id: some for query, some in zip(asked, np.split(found, ends[:-1]), strict=True)}


def _split(real: list[Wanted], made: list[Wanted], held_out: int, seed: int) -> tuple[list[Wanted], list[Wanted]]:
    """Queries to train on and queries held out, these real if there are LEAST; none is part of another."""
    real, made = (real, made) if len(real) >= LEAST else ([], [*real, *made])
    source = real or made
    random.Random(seed).shuffle(source)
    count = min(held_out, len(source) // 5)
    if count < 1:
        raise PlaitError(
            f"adopting needs {LEAST} queries or more that share words with two passages, but there are {len(source)}; "
            "give --queries, or more documents"
        )
    return apart(source[count:] + (made if real else []), source[:count]), source[:count]


def _write(path: Path, rows: Sequence[Example], resume: bool) -> None:
    """Once: what a training goes on with must be what it began with."""
    lines = []
    for row in rows:
        query, passage = row.texts
        fields = {"id": row.id, "query": query, "passage": passage, "label": row.label, "group": row.group}
        lines.append(json.dumps(fields))
    text = "\n".join(lines) + "\n"
    if checkpoints(path.parent, resume) and (not path.exists() or path.read_text() != text):
        raise PlaitError(
            f"adopting goes on as it began, but documents, queries or numbers are not those that {path} was made of; "
            "give the same again, or choose another output"
        )
    files.write(path, text)
