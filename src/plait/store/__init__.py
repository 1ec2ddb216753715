"""The sealed room of stored states: tensors in, tensors out. It knows no model and no tokenizer."""

from plait.store.codec import Codec
from plait.store.fingerprint import FORMAT, Fingerprint, check
from plait.store.gone import retried
from plait.store.row import Batch, Damage, Hit, Passage, Row
from plait.store.stats import Stats, Version
from plait.store.table import Store
from plait.store.words import Words

__all__ = [
    "FORMAT",
    "Batch",
    "Codec",
    "Damage",
    "Fingerprint",
    "Hit",
    "Passage",
    "Row",
    "Stats",
    "Store",
    "Version",
    "Words",
    "check",
    "retried",
]
