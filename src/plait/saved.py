"""What a checkpoint's `config.json` says of Plait, under the key `plait`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from plait.errors import PlaitError
from plait.plan import Plan


@dataclass(frozen=True)
class Saved:
    """The plan of each head; whether spans can say that there is no answer; and, of plans that compare, whether their
    texts are framed alone (None: no plan compares).
    """

    plans: Mapping[str, Plan] = field(default_factory=dict)
    no_answer: bool = False
    single: bool | None = None

    @classmethod
    def of(cls, config: Any, name: str, heads: Sequence[str]) -> Self:
        """Of these heads of the checkpoint `name`; nothing where the config says nothing.

        Raises:
            PlaitError: the key holds something else, or a plan that cannot be.
        """
        said = getattr(config, "plait", None) or {}
        if not isinstance(said, dict) or not isinstance(said.get("plans", {}), dict):
            raise PlaitError(
                f"the key plait in a config.json must hold plans by head, but in {name!r} it is {said!r}; take it out"
            )
        plans = {head: Plan.from_dict(fields) for head, fields in said.get("plans", {}).items() if head in heads}
        compared = any(plan.compare != "none" for plan in plans.values())
        return cls(plans, bool(said.get("no_answer", False)), bool(said.get("single")) if compared else None)

    def to_dict(self) -> dict[str, Any]:
        """As `of` reads it."""
        said: dict[str, Any] = {"plans": {head: plan.to_dict() for head, plan in self.plans.items()}}
        return said | {key: True for key in ("no_answer", "single") if getattr(self, key)}
