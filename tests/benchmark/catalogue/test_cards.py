"""Data cards: the sizes and the fingerprint of the stream itself."""

from __future__ import annotations

from benchmark.catalogue.cards import card
from tests.conftest import make_toy_stream


def test_a_card_counts_every_split(toy_stream):
    text = card(make_toy_stream(0, per_class=30))
    assert f"version {toy_stream.version}, fingerprint `{make_toy_stream(1, per_class=30).fingerprint}`" in text
    assert "| train | 60 | 60 | 0 |" in text
    assert "| protected | 150 | 0 | 30 |" in text
    assert "| test | 180 | 30 | 30 |" in text


def test_rounds_are_told_apart():
    text = card(make_toy_stream(0, per_class=8, rounds=2))
    assert "| round 1, f: train | 16 | 16 | 0 |" in text and "| round 2, e: protected | 40 | 0 | 8 |" in text
