"""Families whose classification token stands last (XLNet): where it goes, and what it cannot do."""

from __future__ import annotations

from pathlib import Path

import pytest

from plait.errors import PlaitError
from plait.model import Plait
from plait.text import Text, fit
from tests.small import change_config, small_checkpoint
from tests.tokenizers import small_tokenizer


def test_a_classification_token_that_stands_last_ends_the_last_role() -> None:
    """Of XLNet; of three texts, and of those that are too long together."""
    tokenizer = small_tokenizer("xlnet")
    text = Text(tokenizer, ("query", "passage", "third"), positions=64, types=2, last=True)
    a, b, c = ([one] for one in ("the river", "a silver bridge", "stone"))
    segments = [text.segments(role, some)[0] for role, some in zip(text.roles, (a, b, c), strict=True)]
    assert [tokenizer.convert_ids_to_tokens(s.ids[-2:])[1] for s in segments] == ["<sep>", "<sep>", "<cls>"]
    assert [s.types() for s in segments] == [[0] * 3, [1] * 4, [1, 1, 2]]
    pair = Text(tokenizer, ("query", "passage"), positions=64, types=2, last=True)
    both = [pair.segments(role, some)[0] for role, some in zip(pair.roles, (a, b), strict=True)]
    theirs = tokenizer(a[0], b[0])
    assert [i for s in both for i in s.ids] == theirs["input_ids"]
    assert [t for s in both for t in s.types()] == theirs["token_type_ids"]
    [cut] = fit([[both[1]]], 4)[0]
    assert cut.ids == [*both[1].ids[:2], *both[1].ids[-2:]] and cut.types() == [1, 1, 1, 2] and cut.cut == 1


def test_a_tokenizer_with_the_template_of_another_family_is_refused() -> None:
    for kind, last in (("bert", True), ("xlnet", False)):
        with pytest.raises(PlaitError, match=r"from the (last|first) token .*, but its tokenizer puts [01] tokens"):
            Text(small_tokenizer(kind), ("query", "passage"), positions=64, types=2, last=last)


def test_what_a_score_from_the_last_token_cannot_do(tmp_path: Path) -> None:
    folder = small_checkpoint(tmp_path / "m", "xlnet", heads=("score",))
    with pytest.raises(PlaitError, match="a budget must leave it, but protect is first; add protect=ends"):
        Plait.from_pretrained(folder, plan="join=1,keep.passage=4,selector=norm")
    with pytest.raises(PlaitError, match="the passage ends with the token that a score is read from"):
        Plait.from_pretrained(folder, plan="join=1,roles=query+title+passage").predict([("why", "river", None)])
    with pytest.raises(PlaitError, match="attn_type='uni' and bi_data=False"):
        Plait.from_pretrained(small_checkpoint(tmp_path / "uni", "xlnet", attn_type="uni"))
    change_config(folder, summary_type="mean")
    with pytest.raises(PlaitError, match="has summary_type='mean'"):
        Plait.from_pretrained(folder)
