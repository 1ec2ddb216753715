"""The Hugging Face Trainer, as a course runs on it: its arguments, its checkpoints, its bar."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset
from transformers import ProgressCallback, TrainerCallback, TrainingArguments
from transformers import Trainer as HuggingFaceTrainer

from plait import files
from plait.config import TrainConfig
from plait.course import Course
from plait.errors import PlaitError
from plait.extras import library
from plait.lessons import Lesson
from plait.model import Plait

COURSE = "course.json"
"""What a checkpoint holds beside model, optimizer and the Trainer's state."""


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


class _Saving(TrainerCallback):
    """Saves as often as the config says, where the Trainer goes on as often as a checkpoint was saved."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        state.save_steps = args.save_steps


class Trainer(HuggingFaceTrainer):
    """Checkpoints in Plait's own form, which `transformers` also loads."""

    def __init__(self, course: Course, config: TrainConfig, items: list[Lesson]) -> None:
        super().__init__(
            model=course,
            args=_arguments(config, len(items)),
            train_dataset=_Lessons(items),
            data_collator=lambda batch: {"lesson": batch[0]},
        )
        self.course = course
        self.remove_callback(ProgressCallback)
        self.add_callback(_Progress)
        self.add_callback(_Saving)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = output_dir or str(self.args.output_dir)
        self.course.model.save_pretrained(folder)
        files.write(Path(folder) / COURSE, json.dumps({"steps": self.course.steps}))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        saved = Plait.from_pretrained(resume_from_checkpoint)
        self.course.model.load_state_dict(saved.state_dict())
        self.course.steps = int(json.loads((Path(resume_from_checkpoint) / COURSE).read_text())["steps"])


def _arguments(config: TrainConfig, batches: int) -> TrainingArguments:
    if config.tensorboard:
        library("tensorboard", "train")
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    updates = math.ceil(math.ceil(batches / processes) / config.accumulate)  # the last of an epoch takes what is left
    steps = max(1, round(updates * config.epochs))
    arguments = TrainingArguments(
        output_dir=config.output, max_steps=steps, per_device_train_batch_size=1, seed=config.seed,
        gradient_accumulation_steps=config.accumulate,
        learning_rate=config.learning_rate, warmup_steps=round(steps * config.warmup), weight_decay=config.weight_decay,
        lr_scheduler_type="linear", max_grad_norm=1.0, logging_steps=20,
        save_steps=config.save_steps, save_total_limit=2,
        report_to=["tensorboard"] if config.tensorboard else [],
        remove_unused_columns=False, dataloader_pin_memory=False, optim="adamw_torch_fused",
        use_cpu=config.device == "cpu",
        ddp_find_unused_parameters=True,  # a plan or a target may leave some out
    )  # fmt: skip
    if arguments.n_gpu > 1:
        raise PlaitError(
            f"one process trains on one GPU, but {arguments.n_gpu} are visible; start one a GPU with accelerate launch "
            "-m plait train, or set CUDA_VISIBLE_DEVICES=0"
        )
    return arguments
