"""What the families are like, by `model_type`, as small models, tokenizers and the oracle ask."""

from __future__ import annotations

COUNTING_FROM_PADDING = ("roberta", "xlm-roberta", "camembert", "data2vec-text", "mpnet")
"""Families whose tokenizers write `</s></s>` between two texts and count positions from the padding token's number."""
WRITING = ("t5", "mt5", "umt5")
"""Families whose encoder feeds a decoder, which writes."""
CLOSING = ("xlnet",)
"""Families whose classification token stands last."""
ROTATING = ("eurobert", "gte", "nomic_bert", "jina_embeddings_v3")
WITHOUT_SPANS = (*WRITING, "eurobert", "gte", "nomic_bert")
"""Families of which `transformers` has no question answering."""
WITHOUT_TYPES = ("distilbert", "mpnet", "modernbert", "eurobert", *WRITING)
WITHOUT_POSITIONS = ("modernbert", "deberta-v2", "xlnet", *ROTATING, *WRITING)
"""Families that know only how far apart tokens are."""
