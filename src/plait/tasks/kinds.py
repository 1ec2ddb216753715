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
        metric: what models are compared by; head: whose answers it is of; beside: another head that may be trained too.
        libraries: modules of the extra `train` that measure it.
        grouped: whether examples belong together in groups.
    """

    metric: str
    head: str = "score"
    libraries: tuple[str, ...] = ()
    grouped: bool = False
    beside: str = ""

    @property
    def heads(self) -> tuple[str, ...]:
        """All that it trains, if they have plans."""
        return (self.beside, self.head) if self.beside else (self.head,)


KINDS = {
    "qa": Kind("f1", "span", beside="score"),
    "class": Kind("accuracy", libraries=("sklearn.metrics",)),
    "value": Kind("spearman", libraries=("scipy.stats",)),
    "rank": Kind("rr10", libraries=("ir_measures",), grouped=True),
    "choice": Kind("accuracy", grouped=True),
    "text": Kind("em", "text"),
}


def unanswerable(name: str, right: int, wrong: int) -> PlaitError:
    """The error for a question of multiple choice that cannot be answered rightly or wrongly."""
    return PlaitError(
        f"a question must have one right and some wrong options, but {name!r} has {right} right and {wrong} wrong "
        "ones; label one as right"
    )


def require_roles(roles: Sequence[str], examples: Sequence[Example]) -> None:
    """Refuse examples of more texts than there are roles, and of two roles those that have one text; of more roles the
    last texts may be absent.
    """
    for example in examples:
        if len(example.texts) > len(roles):
            raise PlaitError(
                f"an example must have at most {len(roles)} texts ({', '.join(roles)}), but example {example.id} has "
                f"{len(example.texts)}; give the plan as many roles"
            )
    alone = [example for example in examples if len(roles) == 2 and len(example.texts) < 2]
    if not alone:
        return
    if len(alone) == len(examples):
        raise PlaitError(
            f"a plan of {' and '.join(roles)} needs examples of two texts, but none of the {len(examples)} has two; "
            "give a plan of single texts, such as join=0,roles=text"
        )
    raise PlaitError(
        f"an example of {' and '.join(roles)} must have both, but example {alone[0].id} has one text; leave it out"
    )
