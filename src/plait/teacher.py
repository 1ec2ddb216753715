"""The full model that a split one learns from: its outputs, computed in evaluation mode without gradients, and kept."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from plait.errors import PlaitError
from plait.layout import Layout
from plait.lessons import Lesson
from plait.model import Plait
from plait.outputs import Output, continued, full, outputs, own
from plait.tasks import Target


class Teacher:
    """A pair model under its full plan; with positions as its checkpoint says, those of the ordinary pair model
    unless it was saved with others.

    Args:
        model: heads as the student's; it is put into evaluation mode.
        kept: folder of outputs that were computed before; each is written there once.
    """

    def __init__(self, model: Plait, kept: Path | None = None) -> None:
        self.model = model.eval()
        self.kept = kept
        self.plans = {head: plan if plan.join == 0 else full(plan) for head, plan in model.plans.items()}
        self._name = str(sorted((head, str(plan)) for head, plan in self.plans.items())) + str(model.fingerprint)

    @torch.no_grad()
    def outputs(self, lesson: Lesson, targets: Sequence[Target], *, upper: bool = False) -> list[Output]:
        """Its outputs for the targets of a lesson, and with `upper` the states behind them, which are not kept."""
        file = None if self.kept is None or upper else self._file(self.kept, lesson, targets)
        if file is not None and file.exists():
            return self._load(file, lesson, targets)
        found = self._compute(lesson, targets, upper)
        if file is not None:
            _save(file, found)
        return found

    def _compute(self, lesson: Lesson, targets: Sequence[Target], upper: bool) -> list[Output]:
        if any(self.plans[target.head].positions == "continue" for target in targets):
            states, examples = continued(self.model, lesson, targets)
        else:
            states = own(self.model, lesson, [self.plans[target.head] for target in targets])
            examples = [target.examples for target in targets]
        asked = [(target.head, rows) for target, rows in zip(targets, examples, strict=True)]
        return outputs(self.model, self.plans, states, asked, upper=upper)

    def _file(self, folder: Path, lesson: Lesson, targets: Sequence[Target]) -> Path:
        digest = hashlib.sha256(self._name.encode())
        for role, segments in lesson.segments.items():
            digest.update(f"{role} {[s.ids for s in segments]}".encode())
        for target in targets:
            digest.update(f"{target.head} {target.examples.tolist()}".encode())
        name = digest.hexdigest()
        return folder / name[:2] / f"{name[2:32]}.safetensors"

    def _load(self, file: Path, lesson: Lesson, targets: Sequence[Target]) -> list[Output]:
        try:
            tensors = load_file(file)
        except (OSError, SafetensorError) as error:
            raise PlaitError(
                f"kept outputs of a teacher must be whole, but {file} is not ({error}); delete it"
            ) from None
        roles = list(lesson.segments)
        found = []
        for number, target in enumerate(targets):
            role = self.plans[target.head].reader
            groups = target.examples[:, roles.index(role)]
            lengths = [len(lesson.segments[role][i].ids) for i in groups.tolist()]
            found.append(Output(tensors[str(number)].to(self.model.device), Layout(lengths, device=self.model.device)))
        return found


def _save(file: Path, found: Sequence[Output]) -> None:
    """Written beside and renamed, so that a file is whole or is not there."""
    beside = file.with_suffix(f".{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({str(i): output.logits.cpu().contiguous() for i, output in enumerate(found)}, beside)
        os.replace(beside, file)
    except (OSError, SafetensorError) as error:
        beside.unlink(missing_ok=True)
        raise PlaitError(
            f"a teacher's outputs must be kept whole, but {file} could not be written ({error}); free some space "
            "there, or leave teacher_outputs out"
        ) from None
