"""What choosing tokens costs: a third of the tokens of a batch, beside the encoder layer that it makes cheaper.

Command:   python -m bench.selection
Measured:  milliseconds to choose 100 of 300 tokens of each of 32 texts (random states of 384 numbers, bfloat16 where
           that is fast), for every selector, and, in turn, of one layer of the bundled encoder on all of them; medians
           of 15. Rows to results/selection.jsonl.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from bench.rows import append
from plait.attention import attend
from plait.keep import SALIENT, Step
from plait.layout import Layout
from plait.machine import fast_dtype, keep_memory, to_dtype
from plait.model import Plait
from plait.saliency import Saliency
from plait.thinning import Track, thinned

SELECTORS = (
    "coreset", "coreset-exact", "first", "random", "even", "norm", "saliency", "salient-coreset", "tome", "nearest",
    "kmeans", "salient-kmeans", "ward",
)  # fmt: skip
TEXTS, TOKENS, KEPT, ROUNDS = 32, 300, 100, 15


@torch.inference_mode()
def main() -> None:
    """Measure all of them side by side."""
    keep_memory()
    family = Plait.from_pretrained("bundled:minilm-squad", dtype=fast_dtype()).encoder.family
    layout = Layout([TOKENS] * TEXTS)
    states = torch.randn(layout.tokens, family.shape.hidden, generator=torch.Generator().manual_seed(0))
    track = Track(states.to(to_dtype(fast_dtype())), layout)
    saliency = Saliency(family.shape.hidden)
    saliency.weight.normal_(std=0.05, generator=torch.Generator().manual_seed(1))

    def layer() -> object:
        source = family.key_value(2, track.x, layout)
        return family.merge(2, track.x, attend(family.query(2, track.x), layout, [source], family.scale))

    def choosing(selector: str) -> Callable[[], object]:
        step = Step(2, KEPT, selector, False)
        if selector not in SALIENT:
            return lambda: thinned(track, step, layout.lengths)
        return lambda: thinned(replace(track, scores=saliency(track.x)), step, layout.lengths)

    ways: dict[str, Callable[[], object]] = {"layer": layer} | {name: choosing(name) for name in SELECTORS}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(ROUNDS + 2):
        for name, run in ways.items():
            begin = time.perf_counter()
            run()
            if turn >= 2:
                times[name].append(1000 * (time.perf_counter() - begin))
    found = {name: round(statistics.median(some), 2) for name, some in times.items()}
    for name in SELECTORS:
        append("selection", {
            "bench": "selection", "selector": name, "texts": TEXTS, "tokens": TOKENS, "kept": KEPT,
            "dtype": fast_dtype(), "ms": found[name], "ms_of_a_layer": found["layer"],
            "of_a_layer": round(found[name] / found["layer"], 2),
        })  # fmt: skip


if __name__ == "__main__":
    main()
