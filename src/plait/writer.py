"""The decoder of an encoder-decoder model: it reads all states of an example and writes (LAIT: text to text)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from plait.layout import Layout

ENDED = -100
"""What stands behind the end of a shorter text that is to be written, as `transformers` has it."""


def laid(written: Tensor) -> Layout:
    """The layout of texts that are to be written, int64 [G, W], without what stands behind their ends."""
    return Layout((written != ENDED).sum(1).tolist(), device=written.device)


class Writer(nn.Module):
    """A `...ForConditionalGeneration`, whose encoder Plait runs in its place."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        for module in model.modules():
            if isinstance(getattr(module, "dropout", None), float):
                module.dropout = 0.0  # of attention, which has none here

    def write(self, states: Tensor, layout: Layout, *, max_new_tokens: int, num_beams: int) -> Tensor:
        """The encoder's last states [T, H] -> token ids int64 [G, written], by `transformers`' own `generate`."""
        read = BaseModelOutput(last_hidden_state=layout.pad(states))  # [G, M, H]
        written: Tensor = self.model.generate(
            encoder_outputs=read, attention_mask=layout.mask.long(), max_new_tokens=max_new_tokens, num_beams=num_beams,
            do_sample=False, num_return_sequences=1,
        )  # fmt: skip
        return written

    def logits(self, states: Tensor, layout: Layout, written: Tensor) -> Tensor:
        """The encoder's last states [T, H], and what is to be written of them, int64 [G, W] with `ENDED` behind it ->
        float32 [tokens written, vocabulary], each from the right ones before it; `laid` lays them out.
        """
        read = BaseModelOutput(last_hidden_state=layout.pad(states))  # [G, M, H]
        logits: Tensor = self.model(
            encoder_outputs=read, attention_mask=layout.mask.long(), use_cache=False,
            decoder_input_ids=self.model._shift_right(written),
        ).logits  # [G, W, V]  # fmt: skip
        return logits[written != ENDED].float()  # [tokens written, V]

    def saved(self) -> dict[str, Tensor]:
        """Weights as a checkpoint names them, each once: embeddings are shared."""
        found: dict[int, tuple[str, Tensor]] = {}
        for name, weight in self.model.state_dict().items():
            found.setdefault(weight.data_ptr() if weight.numel() else id(weight), (name, weight))
        return dict(found.values())


@torch.no_grad()
def require_whole(model: Any, missing: set[str]) -> str:
    """The first weight that a loaded model lacks, or nothing; those that others stand for are there."""
    there = {p.data_ptr() for name, p in model.named_parameters(remove_duplicate=False) if name not in missing}
    lacking = [
        n for n, p in model.named_parameters(remove_duplicate=False) if n in missing and p.data_ptr() not in there
    ]
    return lacking[0] if lacking else ""
