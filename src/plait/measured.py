"""What one live text with many known ones takes, measured: milliseconds and memory."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from plait.model import Plait
from plait.outputs import Asked, outputs
from plait.plan import Plan
from plait.states import States
from plait.text import Segment

ROUNDS = 7

Segments = Mapping[str, list[Segment]]
"""Texts of every role, equally many, or none of one that all examples lack; of live roles only the first is read."""


@torch.inference_mode()
def milliseconds(systems: Sequence[tuple[Plait, Plan]], head: str, segments: Segments) -> list[float]:
    """Median milliseconds of models under plans, in turn: the first segment of every live role with all known ones,
    whose states are at hand; of a text head, until it has written a token.
    """
    models = {id(model): model for model, _ in systems}
    stored = {
        key: _stored(model, [plan for of, plan in systems if of is model], segments) for key, model in models.items()
    }
    seconds: list[list[float]] = [[] for _ in systems]
    for turn in range(ROUNDS + 2):
        for (model, plan), taken in zip(systems, seconds, strict=True):
            begin = time.perf_counter()
            _asked(model, plan, head, segments, stored[id(model)])
            if model.device.type == "cuda":
                torch.cuda.synchronize(model.device)  # what runs on after the call is not the next one's
            if turn >= 2:  # the first two compile
                taken.append(time.perf_counter() - begin)
    return [1000 * statistics.median(taken) for taken in seconds]


@torch.inference_mode()
def memory(model: Plait, plan: Plan, head: str, segments: Segments) -> int:
    """Most bytes that the same holds at once beside the model: the known texts' states and all tensors computed; not
    what kernels work in.
    """
    stored = _stored(model, [plan], segments)
    held = sum(tensor.nbytes for role, states in stored.items() if segments[role] for tensor in states.tensors.values())
    return held + peak(lambda: _asked(model, plan, head, segments, stored), model.device)


def peak(work: Callable[[], None], device: torch.device) -> int:
    """Most bytes of tensors on a device that work holds at once, beside those that were there before."""
    work()  # what is compiled or kept once is not counted
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler tells standard error that it begins and ends
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        work()
    with tempfile.TemporaryDirectory() as folder:
        found.export_chrome_trace(str(Path(folder) / "trace.json"))
        events = json.loads((Path(folder) / "trace.json").read_text())["traceEvents"]
    now = most = 0
    for event in sorted((e for e in events if e.get("name") == "[memory]"), key=lambda e: float(e["ts"])):
        now += event["args"]["Bytes"]
        most = max(most, now)
    return most


def _stored(model: Plait, plans: Sequence[Plan], segments: Segments) -> dict[str, States]:
    """What plans need of their known roles, each tensor once."""
    needs: dict[str, dict[str, None]] = {}
    for plan in plans:
        for role in plan.known:
            needs.setdefault(role, {}).update(dict.fromkeys(plan.needs(role, model.layers)))
    return {role: _own(model, role, segments[role], list(names)) for role, names in needs.items()}


def _own(model: Plait, role: str, some: Sequence[Segment], names: Sequence[str]) -> States:
    return model.own(some or model.text.segments(role, ["."]), names)  # where there are none, what nobody reads


def _asked(model: Plait, plan: Plan, head: str, segments: Segments, stored: Mapping[str, States]) -> None:
    count = max(map(len, segments.values()))
    live = [role for role in plan.roles if role not in plan.known]
    now = {role: _own(model, role, segments[role][:1], plan.needs(role, model.layers)) for role in live}
    columns = [torch.arange(count) * (role in plan.known) if segments[role] else torch.full((count,), -1)
               for role in plan.roles]  # fmt: skip
    examples = torch.stack(columns, 1).to(model.device)
    written = torch.zeros(count, 1, dtype=torch.int64) if head == "text" else None
    outputs(model, {head: plan}, {**stored, **now}, [Asked(head, examples, written)])
