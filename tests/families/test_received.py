"""What a selector by attention goes by, where attention minds how far apart tokens stand."""

from __future__ import annotations

import pytest
import torch

from plait.attention import received
from plait.families import adapter
from plait.layout import Layout
from plait.relation import Where
from tests.kinds import WRITING
from tests.small import VOCABULARY, small_base

RELATIVE = ["mpnet", "modernbert", "deberta-v2", "xlnet", "gte", "eurobert", *WRITING]


@pytest.mark.parametrize("model_type", RELATIVE)
def test_attention_received_is_that_of_transformers(model_type: str) -> None:
    """In every layer; of the tokens of two texts at once, each by itself."""
    base = small_base(model_type)
    base.set_attn_implementation("eager")
    family = adapter(base)
    lengths = [9, 14]
    ids = [torch.randint(5, VOCABULARY, (n,), generator=torch.Generator().manual_seed(n)) for n in lengths]
    with torch.no_grad():
        theirs = [base(input_ids=one[None], output_attentions=True, output_hidden_states=True) for one in ids]
    for layer in range(family.shape.layers):
        relation = family.relation(layer)
        assert relation is not None
        x = torch.cat([one.hidden_states[layer][0] for one in theirs])
        layout = Layout(lengths)
        with torch.no_grad():
            source = family.key_value(layer, x, layout)
            ours = received(family.query(layer, x), source, family.scale, Where(relation))
        expected = [one.attentions[layer][0].mean(0).fill_diagonal_(0).sum(0) for one in theirs]
        torch.testing.assert_close(ours, torch.cat(expected), atol=1e-5, rtol=1e-4)
