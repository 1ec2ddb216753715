"""One vector for a text, made of its own states: what an index with vectors=pooled searches by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plait.model import Plait
from plait.parts import Encoded


def vector_name(model: Plait, role: str) -> str:
    """What the vector of a role's texts is made of: the deepest states; of a dual encoder what it compares."""
    plan = max(model.plans.values(), key=lambda plan: plan.join)
    return plan.needs(role, model.layers)[0] if plan.compare != "none" else f"states.{plan.join}"


def pooled(encoded: Encoded, name: str) -> NDArray[np.float32]:
    """Mean over the rows of a tensor, float32 [H]."""
    mean: NDArray[np.float32] = encoded.states[name].float().mean(0).cpu().numpy()
    return mean
