"""Plait: precomputed, layer-adjustable interactions in transformers.

    model = plait.Plait.from_pretrained("bundled:minilm-squad")
    model.rank("who wrote Faust?", documents)

Names are loaded when they are first used, so that importing the package stays light.
"""

from typing import TYPE_CHECKING

from plait.errors import DataWarning, FallbackWarning, PlaitError, TruncationWarning
from plait.plan import Plan

if TYPE_CHECKING:
    from plait.config import TrainConfig
    from plait.cross_encoder import CrossEncoder
    from plait.data import Document, read_documents
    from plait.index import Index
    from plait.known import Known
    from plait.model import Plait
    from plait.training import train

__version__ = "0.1.0"
__all__ = [
    "CrossEncoder",
    "DataWarning",
    "Document",
    "FallbackWarning",
    "Index",
    "Known",
    "Plait",
    "PlaitError",
    "Plan",
    "TrainConfig",
    "TruncationWarning",
    "read_documents",
    "train",
]

_HOMES = {
    "CrossEncoder": "plait.cross_encoder",
    "Document": "plait.data",
    "Index": "plait.index",
    "Known": "plait.known",
    "Plait": "plait.model",
    "TrainConfig": "plait.config",
    "read_documents": "plait.data",
    "train": "plait.training",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'plait' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
