"""The model card that a training writes: what was trained on what, how, how good it is, and what it costs."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from plait.config import TrainConfig
from plait.cost import cost
from plait.data import is_beir
from plait.explain import KNOWN, LIVE, usual_lengths
from plait.model import Plait

TEXTS = 100
"""Known texts that the card counts operations for."""
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")

KIND = {"qa": "question-answering", "rank": "text-ranking", "text": "text-generation"}
"""What the hub calls a task; others classify texts."""

TEMPLATE = """---
library_name: plait
pipeline_tag: {kind}
{hub}tags: [plait]
---

# {name}

A pair model of {layers} layers ({family}) for the task `{task}`, made by `plait train`.

```python
import plait

model = plait.Plait.from_pretrained("{path}")
```

## Plans

| head | plan | stored of a known text | bytes, int8 | times fewer operations online |
|---|---|---|---|---|
{plans}

Bytes and operations of {long} known tokens, the latter for {short} live ones with {known} known texts.

## Figures

{figures}

## Training

- data: {data}, {items:,} {unit}
- started from `{base}`{taught}
- seed {seed}; positions: {positions}
- command: `plait train config.toml` with

```toml
{config}
```
"""


def card(
    config: TrainConfig,
    model: Plait,
    metrics: Mapping[str, float],
    teacher_metrics: Mapping[str, float],
    items: int,
    figures: str = "",
) -> str:
    """Markdown with the metadata that the Hugging Face hub reads.

    Args:
        config: the training.
        model: what came of it.
        metrics, teacher_metrics: on `config.dev`; empty where nothing was measured.
        items: questions or examples that were trained on.
        figures: what was measured otherwise, in place of these.
    """
    return TEMPLATE.format(
        kind=KIND.get("rank" if config.task == "qa" and not config.span else config.task, "text-classification"),
        hub=f"base_model: {config.model}\n" if _on_hub(config.model) else "",
        base=_public(config.model), name=Path(config.output).name,
        path=_public(str(Path(config.output) / "final")), layers=model.layers, family=model.config.model_type,
        task=config.task, plans="\n".join(_plans(model)), long=KNOWN, short=LIVE, known=TEXTS,
        figures=figures or "\n".join(_figures(config, metrics, teacher_metrics)),
        data=_named(config.data, config.split, config.task), items=items,
        unit="questions" if config.task == "qa" else "examples",
        taught=f", taught by `{_public(config.teacher)}`" if config.teacher else "",
        seed=config.seed, positions=next(iter(model.plans.values())).positions,
        config="\n".join(_keys(config)),
    )  # fmt: skip


def _plans(model: Plait) -> Iterator[str]:
    for head, plan in model.plans.items():
        shape = model.encoder.family.shape
        counted = cost(plan, shape, usual_lengths(plan, shape), TEXTS, "int8")
        stored = ", ".join(f"`{tensor}`" for role in plan.known for tensor in plan.stored(role, model.layers))
        yield f"| `{head}` | `{plan}` | {stored} | {counted.bytes_per_example:,} | {counted.gain:.1f} |"


def _figures(config: TrainConfig, metrics: Mapping[str, float], teacher_metrics: Mapping[str, float]) -> Iterator[str]:
    if not metrics:
        yield "Nothing was measured: the training had no `dev`."
        return
    yield f"On {_named(config.dev, 'dev', config.task)}, which was not trained on; one run."
    yield ""
    yield "| | " + " | ".join(metrics) + " |"
    yield "|---" * (len(metrics) + 1) + "|"
    for who, found in (("this model", metrics), ("its teacher", teacher_metrics)):
        if found:
            yield f"| {who} | " + " | ".join(f"{found[key]:.4g}" for key in metrics) + " |"
    if config.teacher and not teacher_metrics:
        yield ""
        yield "Its teacher cannot read a passage before its question (`positions=continue`): not measured."


def _named(path: str, split: str, task: str) -> str:
    """Data, and of a folder with splits the split."""
    of = f"the split `{split}` of " if task == "rank" and is_beir(Path(path)) else ""
    return f"{of}`{Path(path).name}`"


def _keys(config: TrainConfig) -> Iterator[str]:
    """The keys of a config file that differ from the defaults."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value != field.default:
            yield f"{field.name} = {json.dumps(_public(value) if isinstance(value, str) else value)}"


def _on_hub(name: str) -> bool:
    """Whether a checkpoint's name is one that the hub knows models by, which alone its metadata may name."""
    return HUB_ID.fullmatch(name) is not None and not Path(name).exists()


def _public(name: str) -> str:
    """A path by its last parts; a hub id or a package as it is."""
    path = Path(name)
    return "/".join(path.parts[-2:]) if path.is_absolute() else name
