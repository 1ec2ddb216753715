"""A training run, as a config file says it."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from plait.data import is_beir
from plait.errors import PlaitError
from plait.keep import several
from plait.plan import Mode, Plan
from plait.tasks import KINDS, Weights

CHOICES = {
    "task": tuple(KINDS), "ranking_loss": ("listwise", "pairwise"), "device": ("auto", "cpu"),
    "teacher_plan": ("full", "saved"),
}  # fmt: skip
BOUNDS: dict[str, tuple[float, float]] = {
    "candidates": (2, 10_000), "batch": (1, 100_000), "passages": (2, 10_000), "accumulate": (1, 10_000),
    "longest": (8, 100_000), "longest_written": (2, 10_000), "save_steps": (1, 10**9), "questions": (0, 10**12),
    "seed": (0, 2**32 - 1),
    "epochs": (0, 1e6), "learning_rate": (1e-12, 10), "warmup": (0, 1), "weight_decay": (0, 10),
    "dropout": (0, 0.99),
    "full": (0, 1), "negatives": (0, 10_000), "temperature": (1e-3, 1e3), "labels": (0, 1e6), "ranking": (0, 1e6),
    "distillation": (0, 1e6), "margin": (0, 1e6), "listwise": (0, 1e6), "representation": (0, 1e6),
}  # fmt: skip
"""The smallest and the largest value of each number."""
USED = {
    **dict.fromkeys(("span", "passages", "hard"), ("qa",)),
    **dict.fromkeys(("text", "longest_written"), ("text",)),
    **dict.fromkeys(("score", "representation"), ("qa", "class", "value", "rank", "choice")),
    **dict.fromkeys(("split", "run", "in_batch"), ("rank",)),
    **dict.fromkeys(("negatives", "candidates"), ("qa", "rank")),
    **dict.fromkeys(("ranking", "ranking_loss", "margin", "listwise"), ("qa", "rank", "choice")),
    **dict.fromkeys(("distillation",), ("qa", "class", "value", "text")),
    **dict.fromkeys(("temperature",), ("qa", "class", "rank", "choice", "text")),
    **dict.fromkeys(("texts", "label", "batch"), ("class", "value", "rank", "choice", "text")),
}
"""The tasks that heed a key; all heed the others."""
OF_SCORES = ("listwise", "margin", "ranking", "ranking_loss", "candidates", "negatives")
"""What `qa` heeds where it has a score head."""
SAYS = ("distillation", "listwise", "margin", "representation")
"""The weights by which a teacher has a say."""


@dataclass(frozen=True)
class TrainConfig:
    """A training run; the keys of a config file.

    Attributes:
        model: checkpoint to start from: a folder, a hub id, or `package:NAME/FOLDER` inside an installed package.
        data: what to learn from, relative to the working directory, or `bundled:NAME`; `plait.data` says which files.
        output: folder for checkpoints and, at the end, `output/final`.
        task: `qa`: a SQuAD file, span and score head together. `class`, `value`, `rank`, `choice`: labelled examples.
            `text`: examples whose label is what the decoder of a T5 is to write.
        texts, label: columns of the examples' texts, joined by +, and of their label; empty for the usual names.
        split, run: of `rank`, where data is a BEIR folder: the judgements, qrels/SPLIT.tsv, and a TREC run whose
            unjudged documents are the wrong candidates; empty for those that BM25 finds.
        dev: held-out data, measured at the end for the model card; never trained on. Of a BEIR folder its split `dev`.
        score, span, text: plans of the heads; a task has those that it trains. With an empty score `qa` trains the span
            head alone, as a teacher without a score head can, with an empty span the score head alone: a ranker.
        elastic: modes joined by +: at every step the full plan, one at the joins of the heads' own plans and one at a
            join by chance, no deeper, are trained, each split in one of these modes by chance, the full plan teaching;
            so any join up to their own can be chosen later (span and text heads stay joint). Empty for the plans alone.
        budgets: numbers or shares of tokens, or `all`, joined by +, the largest first: at every step a head whose plan
            has a budget is trained with the first of these in its place (of every role that has one), with its own, and
            with one of the rest by chance, its losses averaged; the first teaches the others, unless a teacher does.
            So any of them can be chosen later. Empty for its own alone.
        teacher: checkpoint of a pair model to learn from, with the same tokenizer; empty for labels only.
        teacher_plan: how it reads: `full`, or `saved`, under the plans that it was saved with, as a split model that
            teaches one with a budget or a bottleneck.
        teacher_outputs: folder where the teacher's outputs are kept, example by example, to be computed once for
            several runs, whatever their seeds and batches; with `representation`, which would have to keep states, they
            are not.
        full: share of the steps that train the full plan beside the heads' own, so that join=0 keeps working.
        epochs, learning_rate, warmup, weight_decay, seed: as usual; warmup is a share of the steps. With 0 epochs
            nothing is trained: what is new begins as the data say (see plait.begin) and is saved with the rest.
        passages: of `qa`, passages a batch; every one comes with up to four of its questions.
        batch: of other tasks, examples a batch.
        accumulate: batches whose gradients are averaged before a step.
        longest: most tokens of a text that is learned from; of a longer passage `qa` takes the window that holds the
            answer. `dev` is measured as the saved model reads, which is whole texts.
        longest_written: of `text`, most tokens of a text that is to be written; longer ones are cut, which is said.
        questions: use only the first so many questions, examples or groups of examples of the data; 0 for all.
        hard: of `qa`, put passages that share rare words into one batch, where they are one another's wrong candidates.
        candidates: of a list to be ranked, the right one among them; of `qa` at most `passages`. Of longer lists wrong
            ones are drawn by `seed`, once for all epochs.
        in_batch: of `rank`, what answers the other queries of a batch is wrong for this one (in-batch negatives), so
            that pairs of a query and its passage suffice: a text without a label is a right one.
        negatives: of `qa` and `in_batch`, wrong passages scored for each question by the teacher and by plans that run
            known tokens anew for it (`joint`, the full one among them): below 1, one for that share of the questions,
            else so many, in whole numbers. Other plans score all candidates, which costs them little.
        labels: weight of what the data say; 0 to learn from the teacher alone: then `class`, `value`, `rank` and
            `choice` need no labels, classes are the teacher's, and a group with no right candidate counts as it stands.
        ranking, ranking_loss: weight of the lists' labels beside those of other targets; listwise or pairwise.
        distillation, temperature: weight and temperature of the KL to the teacher's spans, classes and texts; of values
            the weight of the squared distance from what its `predict` answers.
        margin, listwise: weights of MarginMSE and of the KL to the teacher's scores of a list.
        representation: weight of the distance from the teacher's states in the layers that a plan joins.
        dropout: of hidden states.
        bfloat16: run matrix products in bfloat16 (weights stay float32).
        device: `auto`, the GPU where there is one, or `cpu`. CUDA_VISIBLE_DEVICES says which GPU.
        freeze_embeddings: leave the token table as it is, so that models made from one encoder can share it; a T5's
            decoder reads it too.
        save_steps: steps between checkpoints to resume from.
        save_dtype: of the finished checkpoint's weights.
        tensorboard: write curves to `output/runs`.
    """

    model: str
    data: str
    output: str
    task: str = "qa"
    texts: str = ""
    label: str = ""
    split: str = "train"
    run: str = ""
    dev: str = ""
    score: str = "join=0"
    span: str = "join=0"
    text: str = "join=0"
    elastic: str = ""
    budgets: str = ""
    teacher: str = ""
    teacher_plan: str = "full"
    teacher_outputs: str = ""
    full: float = 0.0
    epochs: float = 1.0
    learning_rate: float = 1e-4
    warmup: float = 0.06
    weight_decay: float = 0.01
    seed: int = 0
    passages: int = 8
    batch: int = 32
    accumulate: int = 1
    longest: int = 384
    longest_written: int = 64
    questions: int = 0
    hard: bool = False
    candidates: int = 8
    in_batch: bool = False
    negatives: float = 0.4
    labels: float = 1.0
    ranking: float = 1.0
    ranking_loss: str = "listwise"
    distillation: float = 1.0
    temperature: float = 2.0
    margin: float = 0.0
    listwise: float = 1.0
    representation: float = 0.0
    dropout: float = 0.0
    bfloat16: bool = True
    device: str = "auto"
    freeze_embeddings: bool = True
    save_steps: int = 500
    save_dtype: str = "float32"
    tensorboard: bool = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "str" and isinstance(value, os.PathLike | Plan):  # as Python writes them
                value = os.fspath(value) if isinstance(value, os.PathLike) else str(value)
                object.__setattr__(self, field.name, value)
            right = isinstance(value, int | float) if field.type == "float" else type(value).__name__ == field.type
            if not right or (field.type == "float" and isinstance(value, bool)):
                raise PlaitError(
                    f"{field.name} of a training must be of type {field.type}, but is {value!r}; write one"
                )
        for key, allowed in CHOICES.items():
            if getattr(self, key) not in allowed:
                fix = "; CUDA_VISIBLE_DEVICES says which GPU" if key == "device" else "; take one of these"
                raise PlaitError(f"{key} must be one of {', '.join(allowed)}, but is {getattr(self, key)!r}{fix}")
        for field in dataclasses.fields(self):
            value, tasks = getattr(self, field.name), USED.get(field.name, tuple(KINDS))
            if value != field.default and (said := self._unheeded(field.name, tasks)):
                raise PlaitError(f"{field.name} is heeded by {said} and {field.name} is {value!r}; leave it out")
        heads = KINDS[self.task].heads
        if not any(getattr(self, head) for head in heads):
            raise PlaitError(
                f"a {self.task} task must have a plan of {' or '.join(heads)}, but has none; give one, e.g. "
                f'{heads[-1]} = "join=4"'
            )
        if self.task == "qa" and not self.span and self.dev:
            raise PlaitError(
                f"dev of a qa task is read by the span head, but span is empty; leave {self.dev} out, and see how the "
                "model ranks by plait evaluate"
            )
        for mode in self.elastic.split("+") if self.elastic else ():
            if mode not in get_args(Mode):
                raise PlaitError(
                    f"elastic must be modes joined by +, among {', '.join(get_args(Mode))}, but has {mode!r}; mend it"
                )
        for key, (least, most) in BOUNDS.items():
            if not least <= getattr(self, key) <= most:
                raise PlaitError(
                    f"{key} must be between {least:g} and {most:g}, but is {getattr(self, key)}; leave it out for what "
                    "is usual"
                )
        if self.budgets:
            several(self.budgets)
        taught = self.teacher or self.elastic or self.budgets
        lists = self.task in ("rank", "choice") or (self.task == "qa" and not self.span)
        if lists and not self.ranking and not taught:
            raise PlaitError("lists are learned from labels or a teacher, but ranking is 0 and teacher empty; set one")
        if not self.labels and not self.teacher and not self.elastic:
            raise PlaitError("labels=0 learns from a teacher alone, but teacher is empty; name one")
        weights = [key for key in SAYS if not self._unheeded(key, USED[key])]
        if taught and not any(getattr(self, key) for key in weights):
            there = next(key for key in ("teacher", "elastic", "budgets") if getattr(self, key))
            raise PlaitError(
                f"a teacher must have a say, but of {' and '.join(weights)} none has a weight; give one a weight, or "
                f"leave {there} out"
            )
        same = bool(self.dev) and Path(self.dev).resolve() == Path(self.data).resolve()
        if same and (self.split == "dev" or self.task != "rank" or not is_beir(Path(self.data))):
            raise PlaitError(f"dev must be held out from training, but is data itself, {self.data}; name another file")

    def _unheeded(self, key: str, tasks: Sequence[str]) -> str:
        """Why nothing minds a key, that some tasks do; empty if something does."""
        if self.task not in tasks:
            return f"tasks of {', '.join(tasks)}, but task is {self.task}"
        if key in OF_SCORES and not self.score:
            return "trainings of a score head, but score is empty"
        if key == "distillation" and self.task == "qa" and not self.span:
            return "trainings of a span head, but span is empty"
        if key == "negatives" and self.task == "rank" and not self.in_batch:
            return "in_batch and the task qa, but task is rank, in_batch is False"
        if key in (*SAYS, "temperature") and not self.teacher and not self.elastic and not self.budgets:
            return "trainings with a teacher, elastic ones and those of several budgets, but this is none of these"
        if key in ("teacher_outputs", "teacher_plan") and not self.teacher:
            return "trainings with a teacher, but teacher is empty"
        if key == "budgets" and self.elastic:
            return "trainings that are not elastic, but elastic is set"
        if key == "full" and self.elastic:
            return "trainings that are not elastic, which train the full plan at every step, but elastic is set"
        if key == "full" and self.budgets:
            return "trainings of one budget, but budgets is set"
        return ""

    def weights(self) -> Weights:
        """What each loss counts."""
        return Weights(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Weights)})

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> TrainConfig:
        """Read a TOML file; unknown and missing keys are refused."""
        try:
            fields = tomllib.loads(Path(path).read_text())
        except FileNotFoundError:
            raise PlaitError(f"a training config must be a TOML file, but {path} is not there; name one") from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise PlaitError(
                f"a training config must be a TOML file, but {path} is not readable as one ({error}); mend it"
            ) from None
        known = {f.name: f for f in dataclasses.fields(cls)}
        for key in fields:
            if key not in known:
                raise PlaitError(
                    f"a training config has the keys {', '.join(known)}, but {path} has {key!r}; remove it"
                )
        for key in ("model", "data", "output"):
            if key not in fields:
                raise PlaitError(f"a training config must have the key {key!r}, but {path} has not; add it")
        return cls(**fields)
