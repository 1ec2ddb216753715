"""Training: the full pair model (the teacher), a split one by distillation, or one that holds at several joins."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from plait import files
from plait.begin import begin_bottlenecks, begin_comparison
from plait.bottleneck import bottleneck_key
from plait.card import card
from plait.checkpoint import load_config
from plait.config import TrainConfig
from plait.course import Course
from plait.data import Example, Question, is_beir, located
from plait.errors import PlaitError, TruncationWarning
from plait.evaluate import quality, require_fit
from plait.extras import library
from plait.gradients import begin_saliency
from plait.head_plans import deepest, mode_of, require_meeting, require_query_first, require_separator
from plait.heads import class_names
from plait.keep import several
from plait.labelled import Data, read_task, without_columns
from plait.lessons import Lesson, example_lessons, question_lessons
from plait.machine import fast_dtype, keep_all_memory, to_dtype
from plait.model import Plait
from plait.plan import Plan
from plait.resume import begun
from plait.tasks import KINDS, Lists, class_name
from plait.teacher import Teacher
from plait.trainer import Trainer


def train(config: TrainConfig, *, resume: bool = False) -> Path:
    """Run a training and return the folder of the finished checkpoint.

    Under `accelerate launch` every process takes its share of the batches.

    Args:
        config: what to do.
        resume: go on from the last checkpoint in `config.output`, if there is one; the result is that of an
            undisturbed run. Only the keys `plait.resume.FREE` of the config may be others than it began with.

    Raises:
        PlaitError: the data or a checkpoint cannot be read, a plan or a label does not fit, or the disk is full.
    """
    if not isinstance(config, TrainConfig):
        raise PlaitError(f"config must be a TrainConfig, but is {config!r:.60}; pass plait.TrainConfig(...)")
    keep_all_memory()
    to_dtype(config.save_dtype)
    _require_heeded(config)
    data = _data(config, config.data, config.split, config.run, config.questions)
    dev = _data(config, config.dev, "dev") if config.dev else []
    for module in KINDS[config.task].libraries if dev else ():
        library(module, "train")  # not after hours of training
    earlier = begun(config, resume)
    torch.manual_seed(config.seed)
    model = _model(config, data)
    teacher = _teacher(config, model)
    if config.task != "qa" and dev:
        require_fit(config.task, cast(list[Example], dev), model)
    items = _lessons(config, model, data)
    if config.budgets and teacher is None:
        _require_say(config, model, items)
    if teacher is not None:
        teacher.require_room(
            items, spans=config.distillation > 0 and "span" in model.plans, states=config.representation > 0
        )
    if earlier is None:
        begin_saliency(model, items, bfloat16=config.bfloat16)  # first: what goes through a bottleneck is what is left
        begin_bottlenecks(model, items)
        begin_comparison(model, items, None if _labelled(config) else teacher)
    course = Course(model, teacher, config)
    trainer = Trainer(course, config, items)
    model.train()
    try:
        if config.epochs:
            trainer.train(resume_from_checkpoint=earlier)
    except torch.OutOfMemoryError:
        raise PlaitError(
            f"a batch must fit into the memory of {model.device}, but one of {config.output} does not; lower batch, "
            "passages, longest or candidates, and raise accumulate by as much as batch or passages become smaller"
        ) from None
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "inline_container" not in str(error):  # PyTorch's word for a full disk
            raise
        raise PlaitError(
            f"checkpoints must be written whole, but {config.output} could not be written to ({error!s:.100}); free "
            "some space there and go on with --resume"
        ) from None
    if course.dropped:
        warnings.warn(
            f"budgets dropped the first or last token of {course.dropped} of {course.answers} answers, "
            "from which the plan could not learn; keep more tokens of the span head's reader",
            TruncationWarning,
            stacklevel=2,
        )
    model.eval()
    final = Path(config.output) / "final"
    if trainer.is_world_process_zero():
        model.to(to_dtype(config.save_dtype)).save_pretrained(final)
    trainer.accelerator.wait_for_everyone()  # other processes may read it from now on
    if trainer.is_world_process_zero():
        ours = _measured(config, Plait.from_pretrained(final, **_where(config, model)), dev)
        theirs = _measured(config, None if teacher is None else _taught(config, model, teacher), dev)
        model.card = card(config, model, ours, theirs, len(data))
        files.write(final / "README.md", model.card)
    return final


def _require_heeded(config: TrainConfig) -> None:
    """Refuse keys that the kind of the data, not the task, leaves without use."""
    files = [path for path in (config.data, config.dev) if path and not is_beir(located(path))]
    if config.split != "train" and config.data in files:
        raise PlaitError(
            f"split is heeded where data is a BEIR folder, but split is {config.split!r} and data {config.data}; leave "
            "it out"
        )
    if (config.texts or config.label) and not files:
        raise without_columns(config.data)


def _data(config: TrainConfig, path: str, split: str, run: str = "", count: int = 0) -> Data:
    texts, label = ("", "") if is_beir(located(path)) else (config.texts, config.label)
    return read_task(config.task, path, split=split, run=run, texts=texts, label=label, count=count)


def _model(config: TrainConfig, data: Data) -> Plait:
    heads = [head for head in KINDS[config.task].heads if getattr(config, head)]
    plans = {head: getattr(config, head) for head in heads}
    classes = _classes(config, data) if config.task == "class" else ()
    model = Plait.from_pretrained(config.model, plan=plans, new_heads=heads, labels=classes, heads=heads)
    for head, plan in model.plans.items():
        require_meeting(head, plan, model.layers)
        if plan.positions == "continue" and (config.task == "qa" or config.elastic):
            raise PlaitError(
                f"{'a qa task' if config.task == 'qa' else 'elastic'} needs positions=restart or a number, but the "
                f"plan of the {head} head is {plan}; change it"
            )
        if config.elastic:
            plan.at(plan.join, plan.mode)  # refuses what has one join only
            if not any(each.join for each in model.plans.values()):
                raise PlaitError(
                    "elastic trains every join up to the plan's own, but that is 0; give the deepest that is wanted, "
                    f"such as join={deepest(head, model.layers)}"
                )
            modes = config.elastic.split("+")
            if plan.join and plan.mode not in [mode_of(head, plan, mode) for mode in modes]:
                raise PlaitError(
                    f"elastic trains the modes that it names, but it is {config.elastic} and the plan of the {head} "
                    f"head has mode={plan.mode}; add that, or give the plan another"
                )
        for tokens in several(config.budgets) if config.budgets and plan.keep else ():
            model.require_plan(head, plan.budgeted(tokens))
            if any(budget.tokens == tokens for budget in plan.keep):
                raise PlaitError(
                    f"budgets are trained beside the plan's own, but {config.budgets} has that of the {head} head "
                    f"({plan}); leave it out"
                )
        if config.full and plan.compare != "none":
            raise PlaitError(f"a dual encoder has no full plan to train, but full is {config.full:g}; set it to 0")
        dropped = [budget for budget in plan.keep if plan.mode == "joint" or budget.role == plan.reader]
        if config.representation and (dropped or plan.compare != "none"):
            raise PlaitError(
                f"representation needs every token that goes through the layers that a plan joins, but the plan of the "
                f"{head} head is {plan}; set it to 0"
            )
    if config.budgets and not any(plan.keep for plan in model.plans.values()):
        one = next(iter(model.plans.values()))
        raise PlaitError(
            f"budgets take the place of a plan's own, but no plan has one ({one}); add one, such as keep.passage=32, "
            "or leave budgets out"
        )
    require_query_first(config.task, model.plans.values())
    roles = model.text.roles
    turned = any(plan.known not in ((), roles[1:]) for plan in model.plans.values())
    if config.task == "qa" and (len(roles) != 2 or turned):
        raise PlaitError(
            "a qa task needs two roles, the question first and its passage known, but the plan is "
            f"{next(iter(model.plans.values()))}; leave roles, known and reader out"
        )
    model.card = ""  # that of what training starts from
    for layer in [layer for layer in model.saliency if all(layer not in p.salient() for p in model.plans.values())]:
        del model.saliency[layer]  # which was fitted to what the model is no longer
    read = {bottleneck_key(*place) for plan in model.plans.values() for place in plan.bottlenecks(model.layers)}
    for key in model.bottlenecks.keys() - read:
        del model.bottlenecks[key]  # which was trained with what the model is no longer
    impossible = any(isinstance(item, Question) and item.impossible for item in data)
    model.no_answer = impossible and "span" in model.plans
    if model.no_answer:
        require_separator(model.plans["span"])
    if config.task == "value":  # predict is to give what it was trained on, not its sigmoid
        model.config.sentence_transformers = {"activation_fn": "torch.nn.modules.linear.Identity"}
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = config.dropout
    base: Any = model.base
    if config.freeze_embeddings:
        base.get_input_embeddings().weight.requires_grad_(False)
    return model


def _classes(config: TrainConfig, data: Data) -> tuple[str, ...]:
    """The classes in the order of their numbers: the teacher's or the checkpoint's, if these know all of them; the
    teacher's where labels weigh nothing.
    """
    if not _labelled(config):
        theirs = class_names(load_config(config.teacher))
        if len(theirs) < 2:
            raise PlaitError(
                f"a class task needs a teacher of two classes or more, but {config.teacher} has {', '.join(theirs)}; "
                "name another, or set task to value"
            )
        return theirs
    labels = [example.label for example in data if isinstance(example, Example)]
    if None in labels:
        raise PlaitError(
            f"every example of a class task needs a label, but {labels.count(None)} of {len(labels)} in {config.data} "
            "have none; leave them out, or name the column with label"
        )
    found = {class_name(label) for label in labels if label is not None}
    if len(found) < 2:
        raise PlaitError(
            f"a class task needs two classes or more, but {config.data} has only {', '.join(found)}; add examples of "
            "another"
        )
    for checkpoint in filter(None, (config.teacher, config.model)):
        known = class_names(load_config(checkpoint))
        if found <= set(known):
            return known
    numbers = all(isinstance(label, int | float) for label in labels)
    return tuple(sorted(found, key=float if numbers else None))


def _labelled(config: TrainConfig) -> bool:
    """Whether the data must say what is right, or a teacher alone does."""
    return config.labels > 0 or not config.teacher


def _require_say(config: TrainConfig, model: Plait, items: Sequence[Lesson]) -> None:
    for head in (head for head, plan in model.plans.items() if plan.keep):
        asked = [target for item in items for target in item.targets if target.head == head]
        if not any(target.heeds_teacher(config.weights()) for target in asked):
            lists = config.task in ("rank", "choice") or (config.task == "qa" and head == "score")
            raise PlaitError(
                f"the first of budgets teaches the others, but nothing that the {head} head would learn from it has a "
                f"weight; give {'listwise or margin' if lists else 'distillation'} one"
            )


def _teacher(config: TrainConfig, model: Plait) -> Teacher | None:
    if not config.teacher:
        return None
    teacher = Plait.from_pretrained(config.teacher, dtype=torch.bfloat16 if config.bfloat16 else torch.float32)
    if teacher.fingerprint["tokenizer"] != model.fingerprint["tokenizer"]:
        raise PlaitError(
            f"a teacher must read the same tokens as the model, but the tokenizer of {config.teacher} is not that of "
            f"{config.model}; start from a model with the teacher's tokenizer"
        )
    for head in model.plans:
        if teacher.plan(head).compare != "none":
            raise PlaitError(
                f"a teacher must read both texts together, but {config.teacher} is a dual encoder (compare="
                f"{teacher.plan(head).compare}); name a full pair model"
            )
    for head, plan in model.plans.items() if config.teacher_plan == "saved" else ():
        _require_own(config, head, plan, teacher.plan(head))
    theirs, ours = class_names(teacher.config), class_names(model.config)
    if "score" in model.plans and (theirs != ours if config.task == "class" else len(theirs) != len(ours)):
        raise PlaitError(
            f"a teacher must have the model's labels, {', '.join(ours)}, but {config.teacher} has {', '.join(theirs)}; "
            "train the teacher on the same task"
        )
    words = [one.config.vocab_size for one in (teacher, model)]
    if config.task == "text" and words[0] != words[1]:
        raise PlaitError(
            f"a teacher must write the same tokens as the model, but the table of {config.teacher} has {words[0]} and "
            f"the model's {words[1]}; start from a model with as many"
        )
    sizes = [(one.layers, one.config.hidden_size) for one in (teacher, model)]
    if config.representation and sizes[0] != sizes[1]:
        raise PlaitError(
            f"representation needs a teacher of the model's size, but {config.teacher} has {sizes[0][0]} layers of "
            f"{sizes[0][1]} and the model {sizes[1][0]} of {sizes[1][1]}; set it to 0"
        )
    kept = Path(config.teacher_outputs) if config.teacher_outputs else None
    return Teacher(teacher, model.plans, model.text, kept, saved=config.teacher_plan == "saved")


def _require_own(config: TrainConfig, head: str, plan: Plan, own: Plan) -> None:
    """Refuse what a teacher cannot teach under its own plan."""
    if (own.roles, own.reader) != (plan.roles, plan.reader):
        raise PlaitError(
            f"a teacher under its own plan must have the model's roles and reader, but the plan of the {head} head is "
            f"{plan} and that of {config.teacher} {own}; give the model these"
        )
    if config.representation and (own.keep or own.join > plan.join or (plan.mode == "joint" and own.mode != "joint")):
        raise PlaitError(
            "representation needs a teacher that has every state of the layers that a plan joins, but the plan of the "
            f"{head} head is {plan} and its own {own}; set it to 0"
        )


def _lessons(config: TrainConfig, model: Plait, data: Data) -> list[Lesson]:
    if config.task == "qa":
        items = question_lessons(
            cast(list[Question], data), model.text, passages=config.passages, candidates=config.candidates,
            longest=config.longest, hard=config.hard, seed=config.seed,
        )  # fmt: skip
        items = [replace(item, targets=[t for t in item.targets if t.head in model.plans]) for item in items]
        needed = "question with an answer"
        if "span" not in model.plans:  # nothing is learned where no passage is wrong
            items = [item for item in items if any(isinstance(t, Lists) and max(t.lengths) > 1 for t in item.targets)]
            needed = "question with an answer, and another passage"
    else:
        items = example_lessons(
            config.task, cast(list[Example], data), model.text, classes=class_names(model.config), batch=config.batch,
            candidates=config.candidates, longest=config.longest, longest_written=config.longest_written,
            seed=config.seed, labelled=_labelled(config), in_batch=config.in_batch,
        )  # fmt: skip
        lists = "list with a right and a wrong candidate" if _labelled(config) else "list of two candidates"
        needed = lists if KINDS[config.task].grouped else "example"
    if not items:
        fix = "set in_batch, or add wrong candidates" if config.task == "rank" and not config.in_batch else "check it"
        raise PlaitError(f"training needs at least one {needed}, but {config.data} has none; {fix}")
    return items


def _where(config: TrainConfig, trained: Plait) -> dict[str, Any]:
    """How models are loaded to be measured: where this one was trained."""
    return {"dtype": fast_dtype(trained.device) if config.bfloat16 else "float32", "device": trained.device}


def _taught(config: TrainConfig, trained: Plait, teacher: Teacher) -> Plait | None:
    """The teacher under the plans that it taught with; none if a text cannot be read before its question under them."""
    if config.task == "qa" and any(plan.positions == "continue" for plan in teacher.plans.values()):
        return None
    heads = tuple(teacher.plans)
    return Plait.from_pretrained(config.teacher, plan=teacher.plans, heads=heads, **_where(config, trained))


def _measured(config: TrainConfig, model: Plait | None, dev: Data) -> dict[str, float]:
    return quality(model, config.task, dev) if dev and model is not None else {}
