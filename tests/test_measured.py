"""Memory: what PyTorch holds at once, and what a query of a split model holds beside the full one's."""

from __future__ import annotations

from pathlib import Path

import torch

from plait.measured import memory, peak
from plait.model import Plait
from plait.plan import Plan

SIZE = 1 << 20


def test_the_peak_is_what_was_held_at_once() -> None:
    before = torch.zeros(SIZE, dtype=torch.uint8)

    def work() -> None:
        one = before + 1  # 1 held
        two = one.repeat(2)  # 3
        del one  # 2
        three = torch.cat([two, before])  # 5
        del two  # 3
        three.clone()  # 6, and 3 again

    assert 6 * SIZE <= peak(work, before.device) <= 6 * SIZE + 4096
    assert peak(lambda: None, before.device) == 0


def test_a_query_holds_less_where_texts_are_stored(checkpoint_path: Path) -> None:
    model = Plait.from_pretrained(checkpoint_path)
    texts = {"query": ["the river"] * 32, "passage": ["the castle of the queen on the mountain " * 12] * 32}
    segments = {role: model.text.segments(role, some) for role, some in texts.items()}

    def held(plan: str, count: int = 32) -> int:
        some = {role: of[:count] for role, of in segments.items()}
        return memory(model, Plan.parse(plan), "score", some)

    whole, split, few = held("join=0"), held("join=2,mode=oneway"), held("join=2,mode=oneway,keep.passage=8")
    assert whole > split > few
    assert 1.7 < split / held("join=2,mode=oneway", 16) < 2.3
    tokens = sum(len(segment.ids) for segment in segments["passage"])
    assert split > tokens * 32 * 4  # the states of a layer at least: 32 numbers of 4 bytes
