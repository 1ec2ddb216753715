"""docs/families.md: what every family can, each cell by running it here.

python -m tests.families.test_table        write the table anew
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from plait.encoder import Encoder
from plait.errors import PlaitError
from plait.families import MODEL_TYPES, adapter
from plait.model import Plait
from plait.plan import Plan
from plait.text import Tokens
from tests.kinds import CLOSING, WITHOUT_SPANS, WRITING
from tests.oracle import oracle, oracle_kept
from tests.small import LAYERS, random_segments, small_base, small_checkpoint, small_writer

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
PAIRS = [("who built the bridge?", "a silver bridge of stone was built by the doctor."), ("why", "the river")]
BF16 = 0.05
"""How far last states in bfloat16 may be from those in float32, as a share of their norm."""


def states(model_type: str, plan: Plan, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """The reader's last states in one example."""
    encoder = Encoder(adapter(small_base(model_type).to(dtype)))
    found = {
        role: encoder.own(Tokens.pack([s]), plan.needs(role, LAYERS)) for role, s in example(encoder, plan).items()
    }
    with torch.no_grad():
        joined = encoder.join(plan, found, torch.zeros(1, len(plan.roles), dtype=torch.int64), "all")
    return joined.states[: joined.layout.used].float()


def example(encoder: Encoder, plan: Plan) -> dict[str, Any]:
    """A segment a role."""
    shape = encoder.family.shape
    last = len(plan.roles) - 1
    return {
        role: random_segments([9 + 5 * i], i, shape.types, i, closed=shape.last and i == last)[0]
        for i, role in enumerate(plan.roles)
    }


def as_the_oracle(plan: str) -> Callable[[str], None]:
    """Laws 1 and 2 at every join."""

    def check(model_type: str) -> None:
        base = small_base(model_type)
        for join in range(LAYERS):
            at = replace(Plan.parse(plan), join=join)
            segments = list(example(Encoder(adapter(base)), at).values())
            with torch.no_grad():
                expected = oracle(base, at, segments)[: len(segments[0].ids)]
            torch.testing.assert_close(states(model_type, at), expected, atol=1e-5, rtol=1e-4)

    return check


def budgets(model_type: str) -> None:
    """Law 2 with few tokens."""
    base = small_base(model_type)
    plan = Plan.parse("join=1,keep.passage=6,keep.query=5@2,selector=norm")
    segments = list(example(Encoder(adapter(base)), plan).values())
    with torch.no_grad():
        expected, alive = oracle_kept(base, plan, segments)
    count = len(segments[0].ids)
    torch.testing.assert_close(states(model_type, plan), expected[:count][alive[:count]], atol=1e-5, rtol=1e-4)


def dual(model_type: str) -> None:
    """Vectors of both texts, compared."""
    with tempfile.TemporaryDirectory() as folder:
        small_checkpoint(Path(folder), model_type)
        model = Plait.from_pretrained(folder, plan={"score": f"join={LAYERS},compare=cosine"}, new_heads=["score"])
        assert np.ptp(model.predict(PAIRS)) > 0


def stored(model_type: str) -> None:
    """Law 3 with keys and values."""
    with tempfile.TemporaryDirectory() as folder:
        small_checkpoint(Path(folder), model_type)
        roles = "passage+query" if model_type in CLOSING else "query+passage"
        plan = f"join=1,mode=oneway,states=kv,roles={roles},reader=query,known=passage"
        model = Plait.from_pretrained(folder, plan={"score": plan}, heads=["score"])
        pairs = [{"query": query, "passage": passage} for query, passage in PAIRS]
        encoded = model.encode("passage", [pair["passage"] for pair in pairs])
        known = [pair | {"passage": one} for pair, one in zip(pairs, encoded, strict=True)]
        live, stored = ([tuple(pair[role] for role in roles.split("+")) for pair in x] for x in (pairs, known))
        np.testing.assert_allclose(model.predict(stored), model.predict(live), atol=1e-6)


def bfloat16(model_type: str) -> None:
    """Last states, the full plan and a split one."""
    for plan in (Plan(), Plan(join=1, mode="oneway")):
        exact, half = states(model_type, plan), states(model_type, plan, torch.bfloat16)
        assert (half - exact).norm() <= BF16 * exact.norm()


def head(name: str, labels: int = 1) -> Callable[[str], None]:
    """The head loads, and answers under a split plan; tests/families holds it against `transformers`."""

    def check(model_type: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            small_checkpoint(Path(folder), model_type, heads=(name,), num_labels=labels)
            model = Plait.from_pretrained(folder, plan="join=1")
            assert list(model.plans) == [name]
            if name == "score":
                assert model.predict(PAIRS).shape == ((2,) if labels == 1 else (2, labels))
            else:
                assert model.read(PAIRS[0][1]).ask("who built the bridge?").answer

    return check


def generate(model_type: str) -> None:
    """Written from a split plan."""
    with tempfile.TemporaryDirectory() as folder:
        model = Plait.from_pretrained(small_writer(model_type, Path(folder) / "model"), plan="join=1")
        assert len(model.generate(PAIRS, max_new_tokens=4)) == 2


CELLS: dict[str, Callable[[str], None]] = {
    "joint": as_the_oracle("mode=joint"), "oneway": as_the_oracle("mode=oneway"),
    "frozen": as_the_oracle("mode=frozen"), "budgets": budgets, "bfloat16": bfloat16, "score": head("score"),
    "class": head("score", 3), "span": head("span"), "dual": dual, "stored K/V": stored, "generate": generate,
}  # fmt: skip
ENCODERS = ("oneway", "frozen", "score", "class", "span", "dual", "stored K/V")


def can(model_type: str, cell: str) -> bool:
    """What has a decoder writes, from joint plans, and has no other head; nothing else does. Two have no span head."""
    if cell == "span" and model_type in WITHOUT_SPANS:
        return False
    return cell not in (ENCODERS if model_type in WRITING else ("generate",))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_cell(model_type: str, cell: str) -> None:
    if can(model_type, cell):
        CELLS[cell](model_type)
    else:
        with tempfile.TemporaryDirectory() as folder, pytest.raises(PlaitError):
            refuse(model_type, cell, Path(folder) / "model")


def refuse(model_type: str, cell: str, folder: Path) -> None:
    """What a user would do to have it all the same."""
    if model_type in WRITING:
        small_writer(model_type, folder)
        plan = f"join=1,mode={cell}" if cell in ("oneway", "frozen") else "join=1,mode=oneway,states=kv"
        if cell in ("oneway", "frozen", "stored K/V"):
            Plait.from_pretrained(folder, plan=plan)
        elif cell == "dual":
            Plait.from_pretrained(folder, plan={"score": f"join={LAYERS},compare=cosine"}, new_heads=["score"])
        else:
            Plait.from_pretrained(folder, new_heads=["span" if cell == "span" else "score"], labels=["a", "b"])
    elif cell == "generate":
        Plait.from_pretrained(small_checkpoint(folder, model_type)).generate(PAIRS)
    else:
        Plait.from_pretrained(small_checkpoint(folder, model_type), new_heads=["span"])


def table() -> str:
    """As the page has it."""
    lines = [f"| `model_type` | {' | '.join(CELLS)} |", f"| --- |{' :-: |' * len(CELLS)}"]
    lines += [f"| `{kind}` | {' | '.join('yes' if can(kind, c) else '' for c in CELLS)} |" for kind in MODEL_TYPES]
    return "\n".join(re.sub(r" +", " ", line) for line in lines)


def test_the_page_says_so() -> None:
    assert table() in PAGE.read_text("utf-8")


if __name__ == "__main__":
    text = PAGE.read_text("utf-8")
    begin, end = text.index("| `model_type`"), text.index("\n\n", text.index("| `model_type`"))
    PAGE.write_text(text[:begin] + table() + text[end:])
