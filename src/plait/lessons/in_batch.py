"""In-batch negatives: what answers the other queries of a batch is wrong for this one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

from plait.data import Example
from plait.tasks import group_name

Passage = tuple[str, ...]
"""The texts of an example behind its query."""
Right = Mapping[str, Set[Passage]]
"""What is right, by the name of a group and by the text of a query."""


def crossed(units: Sequence[Sequence[Example]], right: Right) -> list[list[Example]]:
    """Each list of candidates with those of the other lists behind its own, every passage once, but for such as are
    right for its own query too.
    """
    passages = {example.texts[1:]: example for unit in units for example in unit}
    found = []
    for unit in units:
        first = unit[0]
        own = {example.texts[1:] for example in unit}
        for name in (group_name(first.group, first.texts), first.texts[0]):
            own |= right.get(name, frozenset())
        others = [replace(e, texts=(first.texts[0], *texts)) for texts, e in passages.items() if texts not in own]
        found.append([*unit, *others])
    return found
