"""One training batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from plait.tasks import Target
from plait.text import Segment


@dataclass(frozen=True)
class Lesson:
    """Segments by role, each once however many examples share it, and what heads are to give for examples of them."""

    segments: Mapping[str, Sequence[Segment]]
    targets: Sequence[Target]
