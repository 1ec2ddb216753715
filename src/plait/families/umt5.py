"""umT5: T5 with a table of distances in every layer."""

from __future__ import annotations

from plait.families import t5
from plait.families.buckets import Buckets
from plait.relation import Relation

shape = t5.shape


class Adapter(t5.Adapter):
    """Of the encoder's stack."""

    def relation(self, layer: int) -> Relation:
        """The layer's own table."""
        attention = self._blocks[layer].layer[0].SelfAttention
        return Buckets(attention.relative_attention_bias, attention._relative_position_bucket)
