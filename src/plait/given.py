"""A checkpoint made of vectors that another model gave texts: LASER's, a service's, any sentence encoder's.

It is a dual encoder without an encoder. `plan="join=0,compare=cosine"` compares them as they are; `compare=mlp` is
trained by `plait train` as any other head; an index of it stores a vector a document and searches by it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from plait.checkpoint import Checkpoint
from plait.errors import PlaitError
from plait.families.vectors import PADDING, UNKNOWN, VectorsConfig, VectorsModel
from plait.saving import save
from plait.text import require_texts


def write_vectors(texts: Sequence[str], vectors: NDArray[np.float32], folder: str | os.PathLike[str]) -> None:
    """Write a checkpoint in which every text has its vector.

    Args:
        texts: with a character that is not blank; blanks at either end do not count. Each once is enough, and of one
            that is there again the vectors must be equal.
        vectors: of numbers [texts, width], finite; kept as float32.
        folder: for `Plait.from_pretrained`, and `model` of a training.

    Raises:
        PlaitError: no texts, blank ones or those that are not Unicode, another number of vectors, vectors that are not
            numbers or differ for one text.
    """
    from tokenizers import Tokenizer, models, normalizers
    from transformers import PreTrainedTokenizerFast

    require_texts("text", texts)
    try:
        given = np.asarray(vectors)
    except ValueError as error:  # ragged
        raise PlaitError(f"every text must have a vector of one width, but {error}; pass [texts, width]") from None
    if not np.issubdtype(given.dtype, np.integer) and not np.issubdtype(given.dtype, np.floating):
        raise PlaitError(f"vectors must be real numbers, but are of type {given.dtype}; pass an array of floats")
    rows = given.astype(np.float32)
    if rows.ndim != 2 or len(rows) != len(texts) or not len(texts) or not rows.shape[1]:
        raise PlaitError(
            f"every text must have a vector of one width, but there are {len(texts)} texts and vectors of shape "
            f"{rows.shape}; pass an array [texts, width]"
        )
    if not np.isfinite(rows).all():
        bad = int(np.flatnonzero(~np.isfinite(rows).all(1))[0])
        raise PlaitError(f"vectors must be finite numbers, but number {bad} is not; compute it again")
    place: dict[str, int] = {}
    for number, text in enumerate(texts):
        first = place.setdefault(text.strip(), number)
        if not np.array_equal(rows[first], rows[number]):
            raise PlaitError(
                f"a text must have one vector, but texts {first} and {number} are equal with two; drop one"
            )
    padding, unknown = (_foreign(name, place) for name in ("[PAD]", "[UNK]"))
    numbers = {padding: PADDING, unknown: UNKNOWN} | {text: i + 2 for i, text in enumerate(place)}
    core = Tokenizer(models.WordLevel(numbers, unk_token=unknown))  # no pre-tokenizer: a text is one word
    core.normalizer = normalizers.Strip()
    base = VectorsModel(VectorsConfig(vocab_size=len(numbers), hidden_size=rows.shape[1]))
    with torch.no_grad():
        base.table.weight.zero_()
        base.table.weight[2:] = torch.from_numpy(rows[list(place.values())])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token=unknown, pad_token=padding, model_input_names=["input_ids", "attention_mask"]
    )
    save(Checkpoint(base, tokenizer, base.config, {}, {}), Path(folder))


def _foreign(name: str, texts: Iterable[str]) -> str:
    """The name, as often as no text holds it: what a tokenizer finds in a text splits it."""
    every = "\n".join(texts)
    while name in every:
        name += name
    return name
