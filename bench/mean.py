"""The mean of two checkpoints' weights: a model soup (Wortsman et al., ICML 2022), here of two stages of one training.

Command:   python -m bench.mean runs/teacher/final runs/teacher-more/final runs/teacher-mean
           python -m bench.mean runs/minilm-squad-mean/final runs/minilm-squad-hard/final runs/minilm --dtype float16
"""

import argparse

import torch

from plait.machine import to_dtype
from plait.model import Plait


def main() -> None:
    """Save the mean with the first checkpoint's plans and tokenizer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("output")
    parser.add_argument("--dtype", default="float32", help="of the saved weights")
    a = parser.parse_args()
    found = mean(Plait.from_pretrained(a.first), Plait.from_pretrained(a.second))
    found.to(to_dtype(a.dtype)).save_pretrained(a.output)


@torch.no_grad()
def mean(first: Plait, second: Plait) -> Plait:
    """`first`, whose weights become the mean of both."""
    others = dict(second.named_parameters())
    for name, weight in first.named_parameters():  # each once, though heads share modules with the encoder
        weight.add_(others[name]).div_(2)
    return first


if __name__ == "__main__":
    main()
