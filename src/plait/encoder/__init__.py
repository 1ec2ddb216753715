"""The executor: a plan's own layers and its joined layers, one file for each way in which segments meet.

The same functions train, index and serve; there is no second implementation for inference, and no mask stands in
for the split: what a plan forbids is never computed.
"""

from plait.encoder.executor import CACHE_TOKENS, Encoder
from plait.encoder.joined import Answer, Joined
from plait.encoder.nothing import with_nothing

__all__ = ["CACHE_TOKENS", "Answer", "Encoder", "Joined", "with_nothing"]
