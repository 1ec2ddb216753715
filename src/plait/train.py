"""Training, on the Hugging Face Trainer: the full pair model (the teacher), and the split model by distillation."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import ProgressCallback, Trainer, TrainingArguments

from plait.card import card
from plait.checkpoint import load_config
from plait.config import TrainConfig
from plait.course import Course
from plait.data import Example, Question, read_examples, read_squad
from plait.errors import DataWarning, PlaitError
from plait.evaluate import quality
from plait.extras import library
from plait.heads import class_names
from plait.lessons import Lesson, example_lessons, question_lessons
from plait.lessons.examples import Task, class_name
from plait.machine import fast_dtype, keep_all_memory, to_dtype
from plait.model import Plait
from plait.scoring import require_meeting
from plait.teacher import Teacher

METRICS = {"qa": (), "class": ("sklearn.metrics",), "value": ("scipy.stats",), "rank": ("ir_measures",), "choice": ()}
"""Libraries that measure each task."""
BESIDE = "plait-train.json"
"""The config of a training, kept beside its checkpoints."""


class _Lessons(Dataset[Lesson]):
    def __init__(self, items: list[Lesson]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Lesson:
        return self.items[index]


class _Progress(ProgressCallback):
    """The Trainer's bar with the loss beside it, instead of lines on standard output."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if self.training_bar is not None and "loss" in (logs or {}):
            self.training_bar.set_postfix(loss=f"{float(logs['loss']):.3f}")


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
        self.course.steps = int(resume_from_checkpoint.rpartition("-")[2]) * self.args.gradient_accumulation_steps


def train(config: TrainConfig, *, resume: bool = False) -> Path:
    """Run a training and return the folder of the finished checkpoint.

    Under `accelerate launch` every process takes its share of the batches.

    Args:
        config: what to do.
        resume: go on from the last checkpoint in `config.output`, if there is one; the result is that of an
            undisturbed run.

    Raises:
        PlaitError: the data or a checkpoint cannot be read, or a plan or a label does not fit.
    """
    keep_all_memory()
    to_dtype(config.save_dtype)
    earlier = _begin(config, resume)
    torch.manual_seed(config.seed)
    data = _data(config, config.data)
    dev = _data(config, config.dev) if config.dev else []
    for module in METRICS[config.task] if dev else ():
        library(module, "train")  # not after hours of training
    classes = _classes(config, data)
    heads = ("score", "span") if config.task == "qa" else ("score",)
    plans = {head: plan for head, plan in (("score", config.score), ("span", config.span)) if head in heads}
    model = Plait.from_pretrained(config.model, plan=plans, new_heads=heads, labels=classes)
    model.no_answer = any(isinstance(item, Question) and not item.answers for item in data)
    for head in [head for head in model.plans if head not in heads]:
        warnings.warn(
            f"a {config.task} task changes the layers below the {head} head of {config.model}, which is left out",
            DataWarning,
            stacklevel=2,
        )
        del model.heads[head], model.plans[head]
    for head, plan in model.plans.items():
        require_meeting(head, plan, model.layers)
        if plan.positions == "continue":
            raise PlaitError(f"training needs positions=restart, but the plan of the {head} head is {plan}; change it")
    _set_dropout(model, config.dropout)
    base: Any = model.base
    if config.freeze_embeddings:
        base.get_input_embeddings().weight.requires_grad_(False)
    teacher = _teacher(config, model)
    items = _lessons(config, model, data, classes)
    if not items:
        raise PlaitError(
            f"training needs at least one question with an answer, but {config.data} has none; check the file"
            if config.task == "qa"
            else f"training needs at least one list with a right and a wrong candidate, but {config.data} has none"
        )
    arguments = _arguments(config, len(items))
    trainer = _Trainer(Course(model, teacher, config), arguments, items)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(_Progress)
    model.train()
    trainer.train(resume_from_checkpoint=earlier)
    model.eval()
    final = Path(config.output) / "final"
    if trainer.is_world_process_zero():
        model.to(to_dtype(config.save_dtype)).save_pretrained(final)
        ours, theirs = (_measured(config, where, dev) for where in (final, config.teacher))
        (final / "README.md").write_text(card(config, model, ours, theirs, len(data)))
    return final


def _measured(config: TrainConfig, where: Path | str, dev: Sequence[Question] | Sequence[Example]) -> dict[str, float]:
    """On the held-out data, if there are; nothing for a teacher that cannot read a text before its question."""
    if not where or not dev:
        return {}
    model = Plait.from_pretrained(where, dtype=fast_dtype() if config.bfloat16 else "float32")
    if config.task == "qa" and any(plan.positions == "continue" for plan in model.plans.values()):
        return {}
    return quality(model, config.task, dev)


def _data(config: TrainConfig, path: str) -> list[Question] | list[Example]:
    if config.task == "qa":
        return read_squad(path)[: config.questions or None]
    texts = [name for name in config.texts.split("+") if name]
    return read_examples(path, texts=texts, label=config.label)[: config.questions or None]


def _classes(config: TrainConfig, data: Sequence[Question | Example]) -> tuple[str, ...]:
    """The classes of a `class` task in the order of their numbers: the checkpoint's, if it knows them all."""
    if config.task != "class":
        return ()
    found = sorted({class_name(example.label) for example in data if isinstance(example, Example)})
    known = class_names(load_config(config.model))
    return known if set(found) <= set(known) else tuple(found)


def _teacher(config: TrainConfig, model: Plait) -> Teacher | None:
    if not config.teacher:
        return None
    dtype = torch.bfloat16 if config.bfloat16 else torch.float32
    teacher = Plait.from_pretrained(config.teacher, dtype=dtype)
    if teacher.fingerprint["tokenizer"] != model.fingerprint["tokenizer"]:
        raise PlaitError(
            f"a teacher must read the same tokens as the model, but the tokenizer of {config.teacher} is not that of "
            f"{config.model}; start from a model with the teacher's tokenizer"
        )
    for head in model.plans:
        teacher.plan(head)
    if "score" in model.plans and teacher.config.num_labels != model.config.num_labels:
        raise PlaitError(
            f"a teacher must have the model's {model.config.num_labels} labels, but {config.teacher} has "
            f"{teacher.config.num_labels}; train the teacher on the same task"
        )
    if config.representation and (teacher.layers, teacher.config.hidden_size) != (
        model.layers, model.config.hidden_size
    ):  # fmt: skip
        raise PlaitError(
            f"representation needs a teacher of the model's size, but {config.teacher} has {teacher.layers} layers of "
            f"{teacher.config.hidden_size} and the model {model.layers} of {model.config.hidden_size}; set it to 0"
        )
    return Teacher(teacher, Path(config.teacher_outputs) if config.teacher_outputs else None)


def _lessons(
    config: TrainConfig, model: Plait, data: list[Question] | list[Example], classes: Sequence[str]
) -> list[Lesson]:
    if config.task == "qa":
        return question_lessons(
            cast(list[Question], data), model.text, passages=config.passages, candidates=config.candidates,
            longest=config.longest, seed=config.seed,
        )  # fmt: skip
    return example_lessons(
        cast(Task, config.task), cast(list[Example], data), model.text, classes=classes, batch=config.batch,
        candidates=config.candidates, longest=config.longest, seed=config.seed,
    )  # fmt: skip


def _arguments(config: TrainConfig, batches: int) -> TrainingArguments:
    if config.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise PlaitError(
            "tensorboard=true needs the package tensorboard, which is not installed; pip install plait[train]"
        )
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    steps = max(1, round(batches * config.epochs / (config.accumulate * processes)))
    arguments = TrainingArguments(
        output_dir=config.output, max_steps=steps, per_device_train_batch_size=1, seed=config.seed,
        gradient_accumulation_steps=config.accumulate,
        learning_rate=config.learning_rate, warmup_steps=round(steps * config.warmup), weight_decay=config.weight_decay,
        lr_scheduler_type="linear", max_grad_norm=1.0, logging_steps=20,
        save_steps=config.save_steps, save_total_limit=2,
        report_to=["tensorboard"] if config.tensorboard else [],
        remove_unused_columns=False, dataloader_pin_memory=False, optim="adamw_torch_fused",
        ddp_find_unused_parameters=True,  # a plan or a target may leave some out
    )  # fmt: skip
    if arguments.n_gpu > 1:
        raise PlaitError(
            f"one process trains on one GPU, but {arguments.n_gpu} are visible; start one a GPU with accelerate launch "
            "-m plait train, or set CUDA_VISIBLE_DEVICES=0"
        )
    return arguments


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
