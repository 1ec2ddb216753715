"""Hashes of what makes states, so that a store is opened by the model that made it and by no other."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import nn


def of_weights(*modules: nn.Module) -> str:
    """Hash of the weights of modules, in the dtype that they have now (32 hexadecimal digits)."""
    digest = hashlib.sha256()
    for name, tensor in (item for module in modules for item in sorted(module.state_dict().items())):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(memoryview(tensor.detach().cpu().contiguous().view(torch.uint8).numpy()))
    return digest.hexdigest()[:32]


def of_tokenizer(tokenizer: Any) -> str:
    """Hash of everything that a fast tokenizer does to a text (32 hexadecimal digits)."""
    return hashlib.sha256(str(tokenizer.backend_tokenizer.to_str()).encode()).hexdigest()[:32]
