"""Gradient projection: a step on the target whose direction does not raise the loss of protected classes.

The batch's target images give the gradient g, its protected images the gradients g_k to stay in line with,
<g~, g_k> >= 0. A step's gradients form one matrix, and all that is solved works on its small Gram matrix.

Differences from the papers, made knowingly:

* Protected classes take the place of past tasks, and a step's protected images that of the memory.
* The projected gradient goes through the suite's optimizer, AdamW, as for every method. The papers take plain gradient
  steps: the promise that no constraint's loss rises, to first order, holds for those alone. Without a margin
  (A-GEM, and GEM of strength 0) some of the protection is lost by this.
* The loss of target and constraints alike is that of ``finetune``. Each gradient has a forward pass over its own
  images: together one pass over the batch, and one over the class prompts per part. Batch norms see the parts apart.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from scipy.optimize import nnls
from torch import Tensor

from methods.objectives import prompt_contrastive
from methods.strategy import RoundStrategy, Settings

CHUNK = 1 << 22  # columns of the gradients' matrix that are in float64 at a time
RIDGE = 1e-9  # on the diagonal of the cosines' matrix: equal constraints make it singular


class ProjectionSettings(Settings):
    """Hyper-parameters shared by GEM and A-GEM."""

    t: float = Field(0.05, gt=0, description="temperature of the losses")
    target_share: float = Field(0.5, gt=0, lt=1, description="share of a batch that shows the target")


class GEMSettings(ProjectionSettings):
    """Hyper-parameters of GEM."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = Settings.GRID | {"strength": (0.0, 0.5, 1.0)}

    strength: float = Field(0.5, ge=0, description="gamma, the memory strength; the authors' runs use 0.5")
    constraints: int = Field(16, ge=1, description="most constraints per step; more classes are averaged in groups")


class AGEMSettings(ProjectionSettings):
    """Hyper-parameters of A-GEM."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = Settings.GRID | {"target_share": (0.25, 0.5, 0.75)}


class Projection(RoundStrategy):
    """Fine-tuning on the target with projected gradients; a method says on what and how."""

    SETTINGS = ProjectionSettings
    settings: ProjectionSettings

    @property
    def constraints(self) -> int:
        """The most constraints per step."""
        raise NotImplementedError

    def weights(self, gram: Tensor) -> Tensor:
        """Factors (K,) on the g_k added to g, from the (1 + K, 1 + K) float64 inner products of g, g_1, ..., g_K."""
        raise NotImplementedError

    def forward(self) -> Tensor:
        """In training a pass of its own for each gradient, so that no backward pass walks through other images."""
        if not self.is_training:
            return super().forward()
        sizes = self.part_sizes()
        self.parts = [self.model(images) for images in self.mb_x.split(sizes)]
        self.part_labels = self.mb_y.split(sizes)
        return torch.cat([self.parts[0], *(logits.detach() for logits in self.parts[1:])])

    def part_sizes(self) -> list[int]:
        """Images that each gradient is taken on: the target's, then those of each class or group of classes."""
        classes = self.batches.class_positions
        groups = classes.tensor_split(min(len(classes), self.constraints))
        return [len(self.batches.target_rows), *(len(group) * self.batches.images_per_class for group in groups)]

    def part_loss(self, part: int) -> Tensor:
        """The loss of ``finetune`` on one part of the batch."""
        return prompt_contrastive(self.parts[part] * self.temperature, self.part_labels[part], self.settings.t)

    def round_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of ``finetune`` on the target images alone."""
        return self.part_loss(0)

    def backward(self) -> None:
        """Set the projected gradient in place of the loss's own.

        A parameter that a loss does not reach has a gradient of zero there; one that none reaches keeps none.
        """
        losses = [self.loss, *(self.part_loss(part) for part in range(1, len(self.parts)))]
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        sizes = [p.numel() for p in parameters]
        gradients = self.loss.new_zeros(len(losses), sum(sizes))
        reached: set[int] = set()
        for row, loss in zip(gradients, losses, strict=True):
            parts = torch.autograd.grad(loss, parameters, allow_unused=True)
            for i, (place, part) in enumerate(zip(row.split(sizes), parts, strict=True)):
                if part is not None:
                    place.copy_(part.flatten())
                    reached.add(i)
        projected = gradients[0] + self.weights(gram_matrix(gradients)).to(gradients) @ gradients[1:]
        for i, part in enumerate(projected.split(sizes)):
            parameters[i].grad = part.view_as(parameters[i]).to(parameters[i].dtype) if i in reached else None


class GEM(Projection):
    """Gradient episodic memory (arXiv 1706.08840): the nearest gradient that is in line with every constraint.

    Where a constraint is violated, the dual of equation 11 is solved, min_v 1/2 v^T G G^T v + g^T G^T v, and
    g~ = G^T v + g. ``strength`` is gamma of the authors' code, which asks for v >= gamma: a pull towards the
    constraints beyond what they need. The paper's text adds gamma to the solution for v >= 0 instead, which can break
    constraints again; both are the same at 0. The small problem is solved on the CPU, so a step waits for the device.

    Where a step holds more classes than ``constraints``, as many groups of consecutive classes take their place, each
    with the mean of its classes' losses; the paper has one constraint per task.

    Avalanche's ``GEMPlugin`` keeps G over all parameters, frozen ones too, and copies it to float64 on the CPU for each
    projected step: at the size of ViT-B/32 that took 5 s with one constraint and 29 s with five. An experience is a
    constraint, seen in one batch, and the first experience is never projected. It also adds 0.001 to the diagonal of
    G G^T, as the authors do, whatever the scale of the gradients; here 1e-9 is added to that of their cosines.
    """

    SETTINGS = GEMSettings
    settings: GEMSettings

    @property
    def constraints(self) -> int:
        """As set."""
        return self.settings.constraints

    def weights(self, gram: Tensor) -> Tensor:
        """The dual solution v."""
        return torch.from_numpy(gem_weights(gram.cpu().numpy(), self.settings.strength))


class AGEM(Projection):
    """Averaged GEM (arXiv 1812.00420, equation 11): one constraint, on the mean loss of the step's protected images.

    Avalanche's ``AGEMPlugin`` draws its reference batch with a loader of its own, from the global random numbers and
    beyond the batch, and never projects in the first experience. No step waits for the device here.
    """

    SETTINGS = AGEMSettings
    settings: AGEMSettings
    constraints = 1

    def weights(self, gram: Tensor) -> Tensor:
        """-<g, g_ref> / <g_ref, g_ref> where that is positive."""
        return torch.where(gram[0, 1] < 0, -gram[0, 1] / gram[1, 1], 0.0)[None]


def gram_matrix(rows: Tensor) -> Tensor:
    """Inner products (N, N) of ``rows`` (N, P), in float64 without a float64 copy of them."""
    total = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=rows.device)
    for chunk in rows.split(CHUNK, dim=1):
        chunk = chunk.double()
        total += chunk @ chunk.T
    return total


def gem_weights(gram: np.ndarray, strength: float = 0.0) -> np.ndarray:
    """GEM's dual solution v, (K,): all >= ``strength``, or all 0 where no constraint is violated.

    Args:
        gram: (1 + K, 1 + K) inner products of the gradient, first, and of the constraints' gradients.
        strength: gamma, the least weight of a constraint.
    """
    slopes, constraints = gram[0, 1:], gram[1:, 1:]
    if not (np.isfinite(gram).all() and (slopes < 0).any()):  # a diverged run is for others to notice
        return np.zeros_like(slopes)
    return strength + nonnegative_minimum(constraints, slopes + strength * constraints.sum(axis=1))


def nonnegative_minimum(matrix: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """argmin_{v >= 0} 1/2 v^T A v + q^T v, (K,), as non-negative least squares on the Cholesky factor of A.

    Args:
        matrix: A, (K, K), positive semidefinite; it may be singular.
        slope: q, (K,), in the range of A.
    """
    scale = np.sqrt(matrix.diagonal())
    scale = np.where(scale > 0, scale, 1.0)  # a constraint of gradient zero always holds
    unit = matrix / np.outer(scale, scale) + RIDGE * np.eye(len(matrix))
    root = np.linalg.cholesky(unit).T
    solution, _ = nnls(root, -np.linalg.solve(root.T, slope / scale), maxiter=100 * len(slope))
    return solution / scale


__all__ = ["AGEM", "GEM", "AGEMSettings", "GEMSettings", "Projection", "ProjectionSettings"]
