"""Memory that nobody holds is handed out again, and memory that somebody holds is not."""

import torch

from plait.store.memory import Memory


def test_what_is_held_is_not_handed_out_again() -> None:
    memory = Memory()
    held = torch.from_numpy(memory.take(1000)).view(torch.bfloat16)[100:200]
    held.fill_(3)
    for _ in range(5):
        memory.take(1000)[:] = 255
    assert (held == 3).all()


def test_what_is_let_go_is_handed_out_again() -> None:
    memory = Memory()
    first = memory.take(1000)
    place = first.ctypes.data
    del first
    assert memory.take(1001).ctypes.data == place  # blocks are a little longer than asked
    assert memory.take(5).ctypes.data == place
    larger = memory.take(5000)
    assert larger.ctypes.data != place and len(larger) == 5000


def test_no_more_is_kept_than_the_limit() -> None:
    memory = Memory(limit=3000)
    held = [memory.take(1024) for _ in range(5)]
    assert len({block.ctypes.data for block in held}) == 5
    places = {block.ctypes.data for block in held}
    assert len(places) == 5
    del held
    assert len(memory._blocks) == 2
