"""Law 1 where tokens stand for several: `transformers`' own layers, the logarithm of the sizes added to attention."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from plait.model import Plait
from tests.oracle import layers_of
from tests.small import small_checkpoint

PAIR = ("river stone", "the engine of the garden and a letter of the queen in winter")


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra"])
@pytest.mark.parametrize("selector", ["nearest", "tome", "ward"])
def test_attention_counts_every_token_that_one_stands_for(tmp_path: Path, kind: str, selector: str) -> None:
    """ToMe's proportional attention (Bolya et al., section 3): as if the token stood there that many times."""
    folder = small_checkpoint(tmp_path / "m", kind, heads=("score",))
    model = Plait.from_pretrained(folder, plan=f"join=1,keep.passage=4,selector={selector}")
    parts = [model.encode(role, [text])[0].states for role, text in zip(("query", "passage"), PAIR, strict=True)]
    states = [next(x for name, x in some.items() if name.startswith("states.")) for some in parts]
    sizes = next(x for name, x in parts[1].items() if name.startswith("sizes"))
    assert len(states[1]) == len(sizes) == 4 and sizes.max() > 1
    bias = torch.cat([torch.zeros(len(states[0])), sizes.flatten().log()])
    scores = []
    for mask in (bias, torch.zeros_like(bias)):
        x = torch.cat(states)[None]
        with torch.no_grad():
            for block in layers_of(model.base)[1:]:
                out = block(x, attention_mask=mask[None, None, None])
                x = out[0] if isinstance(out, tuple) else out
            scores.append(model.read_out("score", x[0, :1]).item())
    found = float(model.predict(PAIR, activation_fn=lambda logits: logits))
    assert found == pytest.approx(scores[0], abs=1e-4) and abs(found - scores[1]) > 1e-3
