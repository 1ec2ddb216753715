"""The tasks by name: what each is measured by, and what its metric needs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A task.

    Attributes:
        metric: what models are compared by.
        libraries: modules of the extra `train` that measure it.
        grouped: whether examples belong together in groups.
    """

    metric: str
    libraries: tuple[str, ...] = ()
    grouped: bool = False


KINDS = {
    "qa": Kind("f1"),
    "class": Kind("accuracy", ("sklearn.metrics",)),
    "value": Kind("spearman", ("scipy.stats",)),
    "rank": Kind("rr10", ("ir_measures",), grouped=True),
    "choice": Kind("accuracy", grouped=True),
    "text": Kind("em"),
}
