"""Training, on the Hugging Face Trainer: the full pair model (the teacher), and the split model by distillation."""

from __future__ import annotations

import dataclasses
import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from plait.data import read_squad
from plait.distill import listwise_loss, span_distillation, span_logits, span_loss
from plait.encoder import States
from plait.errors import PlaitError
from plait.layout import Layout
from plait.lessons import Lesson, lessons
from plait.machine import keep_all_memory, to_dtype
from plait.model import Plait
from plait.plan import Plan
from plait.scoring import require_meeting

BESIDE = "plait-train.json"
"""The config of a training, kept beside its checkpoints."""

TAUGHT = Plan()
"""The teacher's plan: full attention over the student's own tokens and positions (DeFormer section 3.2)."""


@dataclass(frozen=True)
class TrainConfig:
    """A training run; the keys of a config file.

    Attributes:
        model: checkpoint to start from: a folder, a hub id, or `package:NAME/FOLDER` inside an installed package.
        data: a SQuAD file, relative to the working directory.
        output: folder for checkpoints and, at the end, `output/final`.
        score, span: plans of the two heads.
        teacher: checkpoint of the full model to learn from; empty for labels only.
        full: share of the steps that train the full plan beside the heads' own, so that join=0 keeps working.
        epochs, learning_rate, warmup, weight_decay, seed: as usual; warmup is a share of the steps.
        passages: passages a batch; every one comes with up to four of its questions.
        questions: use only the first so many questions of the data; 0 for all.
        candidates: passages that a split score head chooses from, the right one among them; at most `passages`.
        negatives: wrong passages scored for each question under the full plan, on average.
        ranking: weight of the score head's loss; labels of spans weigh 1.
        temperature, distillation: of the KL to the teacher's spans, and its weight.
        dropout: of hidden states.
        bfloat16: run matrix products in bfloat16 (weights stay float32).
        freeze_embeddings: leave the token table as it is, so that models made from one encoder can share it.
        save_steps: steps between checkpoints to resume from.
        save_dtype: of the finished checkpoint's weights.
    """

    model: str
    data: str
    output: str
    score: str = "join=0"
    span: str = "join=0"
    teacher: str = ""
    full: float = 0.0
    epochs: float = 1.0
    learning_rate: float = 1e-4
    warmup: float = 0.06
    weight_decay: float = 0.01
    seed: int = 0
    passages: int = 8
    questions: int = 0
    candidates: int = 8
    negatives: float = 0.4
    ranking: float = 1.0
    temperature: float = 2.0
    distillation: float = 1.0
    dropout: float = 0.0
    bfloat16: bool = True
    freeze_embeddings: bool = True
    save_steps: int = 500
    save_dtype: str = "float32"

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> TrainConfig:
        """Read a TOML file; unknown and missing keys are refused."""
        try:
            fields = tomllib.loads(Path(path).read_text())
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise PlaitError(
                f"a training config must be a TOML file, but {path} is not readable as one ({error})"
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
        for key, value in fields.items():
            kind = known[key].type
            right = isinstance(value, int | float) if kind == "float" else type(value).__name__ == kind
            if not right or (kind == "float" and isinstance(value, bool)):
                raise PlaitError(f"{key} of a training config must be of type {kind}, but in {path} is {value!r}")
        return cls(**fields)


class Course(nn.Module):
    """A model with its teacher: a lesson in, a loss out."""

    def __init__(self, model: Plait, teacher: Plait | None, config: TrainConfig) -> None:
        super().__init__()
        self.model, self.settings = model, config
        self._teacher = [teacher]  # in a list, so that its weights are not this module's
        self.steps = 0

    def forward(self, lesson: Lesson) -> dict[str, Tensor]:
        """The weighted sum of all losses of one batch, as `{"loss": scalar}`."""
        config = self.settings
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + self.steps)
        self.steps += 1
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=config.bfloat16):
            return {"loss": self._loss(lesson, generator)}

    def _loss(self, lesson: Lesson, generator: torch.Generator) -> Tensor:
        model, config = self.model, self.settings
        device = model.device
        right = torch.tensor([c[0] for c in lesson.candidates], device=device)
        pairs = torch.stack([torch.arange(len(right), device=device), right], 1)
        first, last = torch.tensor(lesson.answers, device=device).T
        teacher = self._teacher[0]
        if teacher is not None:
            teacher.to(device)
        with torch.no_grad():
            taught = None if teacher is None else _full(teacher, own(teacher, lesson, [TAUGHT]), pairs)
        losses: list[Tensor] = []
        split = [plan for plan in (model.plans["score"], model.plans["span"]) if plan.join > 0]
        full = not split or torch.rand((), generator=generator).item() < config.full
        states = own(model, lesson, [*split, *([TAUGHT] if full else [])])
        allowed = _allowed(lesson, right, states["passage"].layout)

        def learn_spans(logits: Tensor, layout: Layout) -> None:
            spans = span_logits(logits, layout, allowed)
            losses.append(span_loss(spans, first, last))
            if taught is not None:
                target = span_logits(taught.span, taught.layout, allowed)
                losses.append(config.distillation * span_distillation(spans, target, config.temperature))

        if split:
            learn_spans(*model.logits("span", states, pairs))
            lists = torch.tensor([c[: config.candidates] for c in lesson.candidates], device=device)
            rows = torch.stack([pairs[:, :1].expand_as(lists), lists], 2).flatten(0, 1)
            scores, _ = model.logits("score", states, rows)
            losses.append(config.ranking * listwise_loss(scores.view(lists.shape)))
        if full:
            chosen, wrong = _wrong(lesson, config.negatives, generator)
            examples = torch.cat([pairs, torch.stack([chosen, wrong], 1).to(device)])
            out = _full(model, states, examples, spans=len(pairs))
            learn_spans(out.span, out.layout)
            if len(chosen):
                lists = torch.stack([out.score[chosen.to(device)], out.score[len(pairs) :]], 1)
                losses.append(config.ranking * listwise_loss(lists.squeeze(-1)))
        return torch.stack(losses).sum()


@dataclass(frozen=True)
class _Full:
    """One pass of the full plan: scores [B, labels] of all examples, span logits [T, 2] of the first ones."""

    score: Tensor
    span: Tensor
    layout: Layout


def own(model: Plait, lesson: Lesson, plans: list[Plan]) -> dict[str, States]:
    """A lesson's segments, each computed once, with all that the plans read."""
    return {
        role: model.own(
            segments, sorted({name for plan in plans for name in plan.needs(role, model.layers)}), multiple=256
        )
        for role, segments in (("query", lesson.queries), ("passage", lesson.passages))
    }


def _full(model: Plait, states: dict[str, States], examples: Tensor, spans: int | None = None) -> _Full:
    x, whole = model.encoder.join(TAUGHT, states, examples, "whole")
    spans = len(examples) if spans is None else spans
    passages, _ = states["passage"].layout.select(examples[:spans, 1])
    queries = states["query"].layout.lengths_tensor[examples[:spans, 0]]
    tokens = (whole.starts[:spans] + queries).repeat_interleave(passages.lengths_tensor)
    tokens = torch.cat([tokens + passages.within[: passages.used], tokens.new_zeros(passages.tokens - passages.used)])
    score = model.read_out("score", x.index_select(0, whole.starts))
    return _Full(score, model.read_out("span", x.index_select(0, tokens)), passages)


def _allowed(lesson: Lesson, right: Tensor, layout: Layout) -> Tensor:
    """Tokens of the right passages that can be part of an answer, bool [T] in the order of the pairs."""
    words = [b > a for segment in lesson.passages for a, b in segment.offsets]
    words += [False] * (layout.tokens - layout.used)
    _, tokens = layout.select(right)
    return torch.tensor(words, device=right.device)[tokens]


def _wrong(lesson: Lesson, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Queries and a wrong passage each: `share` of them per query on average, int64 [N] twice."""
    chosen, wrong = [], []
    for number, candidates in enumerate(lesson.candidates):
        if len(candidates) > 1 and torch.rand((), generator=generator).item() < share:
            pick = int(torch.randint(1, len(candidates), (), generator=generator))
            chosen.append(number)
            wrong.append(candidates[pick])
    return torch.tensor(chosen, dtype=torch.int64), torch.tensor(wrong, dtype=torch.int64)


class _Lessons(Dataset[Lesson]):
    def __init__(self, items: list[Lesson]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Lesson:
        return self.items[index]


class _Trainer(Trainer):
    """Checkpoints in Plait's own form, which `transformers` also loads."""

    def __init__(self, course: Course, arguments: TrainingArguments, items: list[Lesson]) -> None:
        super().__init__(
            model=course,
            args=arguments,
            train_dataset=_Lessons(items),
            data_collator=lambda batch: {"lesson": batch[0]},
        )
        self.course = course

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        self.course.model.save_pretrained(output_dir or str(self.args.output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        saved = Plait.from_pretrained(resume_from_checkpoint)
        self.course.model.load_state_dict(saved.state_dict())
        self.course.steps = int(resume_from_checkpoint.rpartition("-")[2])


def train(config: TrainConfig, *, resume: bool = False) -> Path:
    """Run a training and return the folder of the finished checkpoint.

    Args:
        config: what to do.
        resume: go on from the last checkpoint in `config.output`, if there is one; the result is that of an
            undisturbed run.

    Raises:
        PlaitError: the data or a checkpoint cannot be read, or a plan does not fit.
    """
    keep_all_memory()
    to_dtype(config.save_dtype)
    earlier = _begin(config, resume)
    torch.manual_seed(config.seed)
    plans = {"score": config.score, "span": config.span}
    model = Plait.from_pretrained(config.model, plan=plans, new_heads=("score", "span"))
    for head, plan in model.plans.items():
        require_meeting(head, plan, model.layers)
    _set_dropout(model, config.dropout)
    base: Any = model.base
    if config.freeze_embeddings:
        base.get_input_embeddings().weight.requires_grad_(False)
    dtype = torch.bfloat16 if config.bfloat16 else torch.float32
    teacher = Plait.from_pretrained(config.teacher, plan="join=0", dtype=dtype) if config.teacher else None
    questions = read_squad(config.data)
    if config.questions:
        questions = questions[: config.questions]
    items = lessons(questions, model.text, passages=config.passages, seed=config.seed)
    if not items:
        raise PlaitError(
            f"training needs at least one question with an answer, but {config.data} has none; check the file"
        )
    steps = max(1, round(len(items) * config.epochs))
    arguments = TrainingArguments(
        output_dir=config.output, max_steps=steps, per_device_train_batch_size=1, seed=config.seed,
        learning_rate=config.learning_rate, warmup_steps=round(steps * config.warmup), weight_decay=config.weight_decay,
        lr_scheduler_type="linear", max_grad_norm=1.0, logging_steps=20,
        save_steps=config.save_steps, save_total_limit=2,
        report_to=[], remove_unused_columns=False, dataloader_pin_memory=False, optim="adamw_torch_fused",
    )  # fmt: skip
    if arguments.n_gpu > 1:
        raise PlaitError(f"training uses one GPU, but {arguments.n_gpu} are visible; set CUDA_VISIBLE_DEVICES=0")
    trainer = _Trainer(Course(model, teacher, config), arguments, items)
    model.train()
    trainer.train(resume_from_checkpoint=earlier)
    model.eval()
    final = Path(config.output) / "final"
    model.to(to_dtype(config.save_dtype)).save_pretrained(final)
    return final


def _begin(config: TrainConfig, resume: bool) -> str | None:
    """The checkpoint to go on from, if any; writes the config beside the checkpoints, for the next time."""
    output = Path(config.output)
    whole = [path.parent for path in output.glob("checkpoint-*/trainer_state.json")]  # what is written last of each
    beside = output / BESIDE
    if whole and not resume:
        raise PlaitError(
            f"a new training needs an output without checkpoints, but {output} holds {len(whole)}; pass --resume to go "
            "on, or choose another output"
        )
    if resume and beside.exists():
        try:
            before = json.loads(beside.read_text())
        except (OSError, ValueError) as error:
            raise PlaitError(
                f"a training goes on by the config that it began with, but {beside} is not readable ({error}); "
                "choose another output"
            ) from None
        for key, value in dataclasses.asdict(config).items():
            if before.get(key) != value and key != "output":
                raise PlaitError(
                    f"a training goes on as it began, but {key} was {before.get(key)!r} and is now {value!r}; set it "
                    "back, or choose another output"
                )
    try:
        output.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(dataclasses.asdict(config), indent=2))
    except OSError as error:
        raise PlaitError(f"the output must be a folder that can be written, but is not ({error})") from None
    return str(max(whole, key=lambda path: int(path.name.rpartition("-")[2]))) if whole else None


def _set_dropout(model: nn.Module, rate: float) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
