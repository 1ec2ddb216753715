"""The tasks by name: what each is measured by, and what its metric needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from plait.data import Example
from plait.errors import PlaitError


@dataclass(frozen=True)
class Kind:
    """A task.

    Attributes:
        metric: what models are compared by; head: whose answers it is of.
        libraries: modules of the extra `train` that measure it.
        grouped: whether examples belong together in groups.
    """

    metric: str
    head: str = "score"
    libraries: tuple[str, ...] = ()
    grouped: bool = False


KINDS = {
    "qa": Kind("f1", "span"),
    "class": Kind("accuracy", libraries=("sklearn.metrics",)),
    "value": Kind("spearman", libraries=("scipy.stats",)),
    "rank": Kind("rr10", libraries=("ir_measures",), grouped=True),
    "choice": Kind("accuracy", grouped=True),
    "text": Kind("em", "text"),
}


def require_both(roles: Sequence[str], examples: Sequence[Example]) -> None:
    """Refuse an example of two roles that has one text; of more roles the last texts may be absent."""
    alone = next((e for e in examples if len(roles) == 2 and len(e.texts) < 2), None)
    if alone is not None:
        raise PlaitError(
            f"an example of {' and '.join(roles)} must have both, but example {alone.id} has one text; leave it out"
        )
