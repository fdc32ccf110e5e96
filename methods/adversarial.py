"""Training on images that are altered to mislead the model: an attack in one step, and RCAT with it."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from methods.batches import generator
from methods.clip import Encoded
from methods.nonregression import RCAT, RCATSettings


class RCATAdvSettings(RCATSettings):
    """Hyper-parameters of RCATAdv; ``epsilon`` and its grid are the authors' for ImageNet and CIFAR-10."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = RCATSettings.GRID | {"epsilon": (4 / 255, 8 / 255)}

    epsilon: float = Field(4 / 255, ge=0, le=1, description="greatest change of a pixel, of a range of 1")


class RCATAdv(RCAT):
    """Robustness-congruent training (arXiv 2402.17390) with its attack: the loss of ``RCAT``, all of it on x'.

    x' is made anew for each step, from the model as it is then (``one_step_attack``), and all three models see it:
    the trained one, n and the old one.

    Differences from the paper, made knowingly:

    * The paper's n was trained against attacks. Here the round makes it, so the first ``first_share`` of the steps are
      under attack, too: n is what plain adversarial training leaves.
    * Where the data asks for random views, the view is attacked.
    * As for ``RCAT``, models are chosen by the suite's rule and not by S-NFR, and so on images without an attack.
    """

    SETTINGS = RCATAdvSettings
    settings: RCATAdvSettings
    alters_images = True
    mbatch: list[Tensor]  # images, labels, tasks

    def _before_forward(self, **kwargs: Any) -> None:
        s, rng = self.settings, generator(self.seed, f"attack step {len(self.losses)}")
        self.mbatch[0] = one_step_attack(self.model, self.mb_x, self.mb_y, s.epsilon, s.tau, rng)
        super()._before_forward(**kwargs)


def one_step_attack(
    model: nn.Module, images: Tensor, labels: Tensor, epsilon: float, tau: float, rng: torch.Generator
) -> Tensor:
    """Images that differ by at most ``epsilon`` in each pixel and raise the cross-entropy: FGSM from a random start.

    With delta ~ U(-epsilon, epsilon) and g the gradient of the cross-entropy by the images at x + delta, it is
    x + clamp(delta + 1.25 sign(g), -epsilon, epsilon), clamped to [0, 1]. The model is in evaluation mode.

    So it is in the published code of RCAT: the step is 1.25, not 1.25 epsilon, so that every pixel ends at -epsilon or
    epsilon, and the random start decides only where the gradient is taken and what becomes of pixels without one.

    Args:
        model: any classifier.
        images: (B, 3, S, S) float in [0, 1].
        labels: (B,).
        epsilon: in [0, 1].
        tau: the logits are similarities divided by it.
        rng: a CPU generator, which decides the start.

    Returns:
        (B, 3, S, S), without gradient; the model and its gradients are as they were.
    """
    training = model.training
    model.eval()
    start = (2 * torch.rand(images.shape, generator=rng, dtype=images.dtype) - 1) * epsilon
    delta = start.to(images.device).requires_grad_()
    with torch.no_grad():
        encoded = Encoded(model)
    loss = F.cross_entropy(encoded.similarity(images + delta) / tau, labels)
    (gradient,) = torch.autograd.grad(loss, delta)
    model.train(training)
    moved = (delta.detach() + 1.25 * gradient.sign()).clamp_(-epsilon, epsilon)
    return (images + moved).clamp_(0, 1)


__all__ = ["RCATAdv", "RCATAdvSettings", "one_step_attack"]
