"""What a checkpoint holds beside the weights of a class of `transformers`: what its plans need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from plait.bottleneck import Bottleneck
from plait.compare import Compare
from plait.plan import Plan
from plait.saliency import Saliency

FOR_STATES = ("bottleneck.", "saliency.")
"""Names of weights that are the encoder's, of whichever head."""
OURS = ("compare.", *FOR_STATES, "qa_outputs.head.", "qa_outputs.classifier.")
"""Names of weights that are no class's of `transformers`: those of dual encoders, of bottlenecks and saliency, and of a
span head beside a score head with the same names.
"""


def compare(config: Any, plan: Plan, weights: Mapping[str, Tensor]) -> Compare:
    """The head that compares, of a checkpoint that has one."""
    head = Compare(plan.compare, plan.bottleneck or config.hidden_size, config.num_labels)
    own = _named(weights, "compare.")
    head.load_state_dict(own)
    head.begun = True
    return head.to(next(iter(own.values())).dtype)


def bottlenecks(config: Any, weights: Mapping[str, Tensor]) -> nn.ModuleDict:
    """Those of a checkpoint, by `bottleneck_key`."""
    own, made = _named(weights, "bottleneck."), nn.ModuleDict()
    for name, weight in own.items():
        place, _, rest = name.partition(".")
        if rest == "down.weight":
            narrow = Bottleneck(config.hidden_size, len(weight)).to(weight.dtype)
            narrow.begun = True
            made[place] = narrow
    made.load_state_dict(own)
    return made


def saliency(weights: Mapping[str, Tensor]) -> nn.ModuleDict:
    """That of a checkpoint, by layer."""
    own, made = _named(weights, "saliency."), nn.ModuleDict()
    for name, weight in own.items():
        layer = Saliency(len(weight)).to(weight.dtype)
        layer.begun = True
        made[name.partition(".")[0]] = layer
    made.load_state_dict(own)
    return made


def _named(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
