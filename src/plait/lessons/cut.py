"""What training leaves out of its texts, said."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from plait.errors import TruncationWarning
from plait.text import Segment


def say_cut(what: str, room: int, segments: Sequence[Segment]) -> None:
    """Warn of the segments of `what` whose text was longer than `room` tokens, if there are any."""
    cut = [segment.cut for segment in segments if segment.cut]
    if cut:
        warnings.warn(
            f"{len(cut)} of {len(segments)} {what} are longer than {room} tokens; {sum(cut)} tokens at their ends are "
            "left out",
            TruncationWarning,
            stacklevel=4,
        )
