"""Tables of learned positions: what is said of them, and longer ones."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from plait.errors import PlaitError
from plait.model import Plait
from plait.positions import WAYS, extended, look, periods, similarity, sinusoids, table_of
from tests.command import done, refused
from tests.small import small_checkpoint

PAIR = ("who built the bridge?", "a silver bridge of stone was built by the doctor.")
TABLES = ("bert", "roberta", "electra", "ernie", "data2vec-text", "distilbert", "albert", "mpnet")


def wave(period: float, length: int = 120, width: int = 6) -> torch.Tensor:
    """A table whose rows turn once in `period` tokens."""
    angles = 2 * math.pi * torch.arange(length)[:, None] / period + torch.arange(width)
    return angles.sin()


def test_a_wave_is_known_by_its_period() -> None:
    rows = wave(24)
    (period, share), *_ = periods(rows)
    assert period == pytest.approx(24) and share == pytest.approx(1, abs=1e-3)
    assert similarity(rows, 24) == pytest.approx(1, abs=1e-3) and similarity(rows, 12) == pytest.approx(-1, abs=1e-3)
    mixed = wave(24) + 0.5 * wave(10)
    assert [round(p) for p, _ in periods(mixed, 2)] == [24, 10]
    assert [s for _, s in periods(mixed, 2)] == pytest.approx([0.8, 0.2], abs=0.01)


def test_sinusoids_explain_sinusoids_and_not_noise() -> None:
    place, rate = torch.arange(200.0)[:, None], 10_000.0 ** (-torch.arange(16) / 16)
    fixed = torch.cat([(place * rate).sin(), (place * rate).cos()], 1)
    assert sinusoids(fixed, 16) > 0.999
    noise = torch.randn(200, 32, generator=torch.Generator().manual_seed(0))
    assert 0 < sinusoids(noise, 4) < sinusoids(noise, 16) < 0.3


@pytest.mark.parametrize("how", WAYS)
def test_rows_past_the_end(how: str) -> None:
    rows = torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    longer = WAYS[how](rows, 50)
    assert longer.shape == (50, 8) and torch.isfinite(longer).all()
    if how in ("tile", "hierarchical"):
        torch.testing.assert_close(longer[:20], rows, atol=1e-6, rtol=1e-6)
    if how == "tile":
        assert torch.equal(longer[40:], rows[:10])
    if how == "interpolate":
        torch.testing.assert_close(longer[[0, -1]], rows[[0, -1]])
        torch.testing.assert_close(WAYS[how](rows, 39)[::2], rows)
    if how == "hierarchical":  # every pair of a coarse and a fine place is another row
        assert len(torch.unique(WAYS[how](rows, 400), dim=0)) == 400


@pytest.mark.parametrize("model_type", TABLES)
def test_a_longer_table_is_an_ordinary_checkpoint(tmp_path: Path, model_type: str) -> None:
    small_checkpoint(tmp_path / "short", model_type, heads=("score",))
    model = Plait.from_pretrained(tmp_path / "short", plan="join=0,positions=continue")
    before, length = model.predict([PAIR]), len(table_of(model))
    hash = model.fingerprint
    extended(model, 3 * length, "tile").save_pretrained(tmp_path / "long")
    assert model.fingerprint != hash
    again = Plait.from_pretrained(tmp_path / "long")
    assert again.text.positions == 3 * length
    np.testing.assert_allclose(again.predict([PAIR]), before, atol=1e-6)
    text = "stone river music " * 40
    assert length < len(again.segments("passage", [text])[0].ids) <= 3 * length
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "long").eval()
    tokens = AutoTokenizer.from_pretrained(tmp_path / "long")(PAIR[0], text, return_tensors="pt")
    with torch.no_grad():
        expected = theirs(**tokens).logits[0]
    ours = again.predict([(PAIR[0], text)], activation_fn=lambda x: x)
    np.testing.assert_allclose(ours, expected.numpy(), atol=1e-5)


def test_moving_a_text_along_a_table_that_repeats_changes_nothing(tmp_path: Path) -> None:
    model = Plait.from_pretrained(small_checkpoint(tmp_path, "bert"))
    weight = model.encoder.family.position_table()[0].weight  # type: ignore[index]
    found = look(model, [PAIR[1]])
    assert found.length == 66 and model.encoder.family.position_table()[0].weight is weight  # type: ignore[index]
    assert found.moved["tile"][66] == pytest.approx(1, abs=1e-5) and found.moved["tile"][0] == pytest.approx(
        1, abs=1e-5
    )
    assert found.moved["learned"][33] < 0.999 and found.moved["hierarchical"][66] < 0.999
    with torch.no_grad():
        weight.copy_(weight[:1].expand_as(weight))  # a table that says nothing
    assert all(cosine > 0.999 for cosine in look(model, [PAIR[1]]).moved["learned"].values())


def test_the_command(tmp_path: Path) -> None:
    small_checkpoint(tmp_path / "m", "bert", max_position_embeddings=128)
    said = done("positions", tmp_path / "m", "--chart", tmp_path / "chart.png")
    assert said.startswith("128 learned positions\n") and "hierarchical" in said
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(done("positions", tmp_path / "m", "--json"))["length"] == 128
    assert "300 positions by tile" in done(
        "positions", tmp_path / "m", "--extend", 300, "--how", "tile", "--out", tmp_path / "long"
    )
    assert Plait.from_pretrained(tmp_path / "long").text.positions == 300
    assert "come together" in refused("positions", tmp_path / "m", "--extend", 300)
    out = ("--out", tmp_path / "no")
    assert "than its 128 rows, but length is 20" in refused("positions", tmp_path / "m", "--extend", 20, *out)
    assert "one of interpolate, tile" in refused("positions", tmp_path / "m", "--extend", 300, "--how", "x", *out)
    assert "16,384 hierarchical ones at most" in refused("positions", tmp_path / "m", "--extend", 20_000, *out)
    small_checkpoint(tmp_path / "modern", "modernbert")
    assert "must end in one of .png, .svg, .pdf" in refused("positions", tmp_path / "m", "--chart", "c.xyz")
    assert "give one of them" in refused("positions", tmp_path / "m", "--extend", 300, "--json", *out)
    assert "distances in attention" in refused("positions", tmp_path / "modern")


@pytest.mark.parametrize("buckets", [-1, 8])
def test_a_longer_table_leaves_distances_alone(tmp_path: Path, buckets: int) -> None:
    """DeBERTa can have both, and its distances go by the table's length where nothing else is said."""
    folder = small_checkpoint(tmp_path / "m", "deberta-v2", position_biased_input=True, position_buckets=buckets)
    model = Plait.from_pretrained(folder)
    before = model.predict([PAIR])
    extended(model, 100, "tile").save_pretrained(tmp_path / "long")
    np.testing.assert_allclose(model.predict([PAIR]), before, atol=1e-6)
    np.testing.assert_allclose(Plait.from_pretrained(tmp_path / "long").predict([PAIR]), before, atol=1e-6)


def test_refusals_of_the_library(tmp_path: Path) -> None:
    model = Plait.from_pretrained(small_checkpoint(tmp_path, "deberta-v2"))
    with pytest.raises(PlaitError, match="those of deberta-v2 are distances"):
        table_of(model)
