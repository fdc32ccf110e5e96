"""The page on open_clip's families: equal to open_clip's own model, or why not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from scripts import open_clip_families as families


def test_a_family_is_compared_with_open_clips_own_model(monkeypatch):
    *_, found, reason = families.row("tiny", "mds-tiny")
    assert found.startswith("yes, ") and float(found.removeprefix("yes, ")) < 1e-6 and reason == ""
    own = families._own
    monkeypatch.setattr(families, "_own", lambda name, images: own(name, images) + 0.01 * torch.ones(()))
    assert families.row("tiny", "mds-tiny")[-2] == "yes, 1e-02"


def test_a_family_that_cannot_be_developed_says_why():
    row = families.row("RoBERTa text", "roberta-ViT-B-32")
    assert row[-2:] == ("no", "its text tower is roberta-base of the package transformers")


def test_the_page_holds_what_was_asked_for(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        families.main(["--out", "nowhere/page.md"])
    assert "nowhere/page.md" in capsys.readouterr().err
    families.main(["--out", "page.md", "--only", "RoBERTa text"])
    page = Path("page.md").read_text()
    assert page.count("\n| ") == 3 and "`roberta-ViT-B-32`" in page and capsys.readouterr().out.strip() == page.strip()
