"""The full pair model of every family, by Plait and by `transformers`, side by side on the same weights.

Command:   python -m bench.families [--rounds 7]
Runs:      for each family an encoder of 6 layers of 384 with random weights, 32 pairs of a 12-token query and a passage
           of 40 to 300 tokens (seed 0), in order of length, as `predict` takes them. Plait: join=0, packed.
           `transformers`: one padded batch, `sdpa` where the model has it; and batches of 8.
Measured:  milliseconds of all 32 pairs' last states, medians of rounds in turn, and how far the two agree; float32 and
           the processor's fast dtype. Rows to results/families.jsonl.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel

from bench.rows import append
from plait.encoder import Encoder
from plait.families import MODEL_TYPES, adapter
from plait.machine import fast_dtype, keep_memory, to_dtype
from plait.plan import Plan
from plait.text import Segment, Tokens

PAIRS, QUERY, SHORTEST, LONGEST = 32, 12, 40, 300
PAD = 0
WRITING = ("t5", "mt5", "umt5")


def config(model_type: str) -> object:
    """6 layers of 384, 12 heads, feed-forward 1,536, under the names that the family has for them."""
    sizes: dict[str, object] = dict(
        vocab_size=1000, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536,
        max_position_embeddings=514, pad_token_id=PAD,
    )  # fmt: skip
    if model_type == "distilbert":
        sizes["hidden_dim"] = sizes.pop("intermediate_size")
    if model_type == "albert":
        sizes["embedding_size"] = 128
    if model_type == "deberta-v2":  # as deberta-v3
        sizes |= {"relative_attention": True, "position_buckets": 256, "pos_att_type": ["p2c", "c2p"],
                  "share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False,
                  "type_vocab_size": 0}  # fmt: skip
    if model_type == "xlnet":
        sizes = dict(vocab_size=1000, d_model=384, n_layer=6, n_head=12, d_inner=1536, pad_token_id=PAD)
    if model_type in WRITING:
        sizes = dict(vocab_size=1000, d_model=384, d_kv=32, num_heads=12, d_ff=1536, num_layers=6, pad_token_id=PAD)
    return AutoConfig.for_model(model_type, **sizes)


def main() -> None:
    """Measure every family and append its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--families", nargs="+", default=list(MODEL_TYPES), choices=MODEL_TYPES)
    parser.add_argument("--dtypes", nargs="+", default=list(dict.fromkeys(("float32", fast_dtype()))))
    a = parser.parse_args()
    keep_memory()
    for dtype in a.dtypes:
        for model_type in a.families:
            append(
                "families", {"bench": "families", "family": model_type, "dtype": dtype, **_one(model_type, dtype, a)}
            )


@torch.inference_mode()
def _one(model_type: str, dtype: str, a: argparse.Namespace) -> dict[str, object]:
    torch.manual_seed(0)
    whole = AutoModel.from_config(config(model_type))
    base = (whole.get_encoder() if model_type in WRITING else whole).eval().to(to_dtype(dtype))
    encoder = Encoder(adapter(base))
    rng = random.Random(0)
    lengths = sorted(rng.randint(SHORTEST, LONGEST) for _ in range(PAIRS))
    query = [rng.randrange(5, 1000) for _ in range(QUERY)]
    passages = [[rng.randrange(5, 1000) for _ in range(n)] for n in lengths]
    joined = [query + passage for passage in passages]
    asks_types = encoder.family.shape.last  # XLNet: of attention

    def ours() -> list[Tensor]:
        segments = [Segment(ids, [(0, 0)] * len(ids), int(asks_types), closed=asks_types) for ids in passages]
        known = Tokens.pack(segments, first_positions=[QUERY] * PAIRS)
        live = Tokens.pack([Segment(query, [(0, 0)] * QUERY, 0)])
        states = {"query": encoder.own(live, ("states.0",)), "passage": encoder.own(known, ("states.0",))}
        examples = torch.stack([torch.zeros(PAIRS, dtype=torch.int64), torch.arange(PAIRS)], 1)
        found = encoder.join(Plan(), states, examples, "whole")
        return list(found.states[: found.layout.used].split(found.layout.lengths))

    def theirs(batch: int) -> list[Tensor]:
        last: list[Tensor] = []
        for begin in range(0, PAIRS, batch):
            some = joined[begin : begin + batch]
            ids = torch.tensor([one + [PAD] * (len(some[-1]) - len(one)) for one in some])
            types = (
                {"token_type_ids": torch.tensor([_types(len(one), ids.shape[1]) for one in some])} if asks_types else {}
            )
            states = base(input_ids=ids, attention_mask=(ids != PAD).long(), **types).last_hidden_state
            last += [x[: len(one)] for one, x in zip(some, states, strict=True)]
        return last

    ways: dict[str, Callable[[], list[Tensor]]] = {
        "plait": ours, "transformers": lambda: theirs(PAIRS), "transformers, batches of 8": lambda: theirs(8),
    }  # fmt: skip
    results = {name: run() for name, run in ways.items()}  # and warmed up
    apart = max(float((x - y).abs().max()) for x, y in zip(results["plait"], results["transformers"], strict=True))
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(a.rounds):
        for name, run in ways.items():
            begin = time.perf_counter()
            run()
            times[name].append(1000 * (time.perf_counter() - begin))
    found = {name: statistics.median(some) for name, some in times.items()}
    return {
        "ms": found, "times_faster": found["transformers"] / found["plait"],
        "times_faster_than_batches_of_8": found["transformers, batches of 8"] / found["plait"],
        "apart": apart, "pairs": PAIRS, "tokens": sum(map(len, joined)), "rounds": a.rounds,
        "attention": str(base.config._attn_implementation),
    }  # fmt: skip


def _types(tokens: int, width: int) -> list[int]:
    """XLNet's of a query and a passage that ends with its classification token, and of padding."""
    return [0] * QUERY + [1] * (tokens - QUERY - 1) + [2] + [0] * (width - tokens)


if __name__ == "__main__":
    main()
