"""MDS's objective and constraints with Lagrange multipliers, by the library cooper (arXiv 2504.01212).

Minimise F(w) subject to h_k(w) <= 0 for every protected class k, with a multiplier lambda_k >= 0 that remembers how far
and for how long a constraint was violated. A penalty has no such memory: it must leave a violation to hold against F.
F, the heads and the estimates u_k of h_k are those of ``methods/mds.py``: only how constraints are handled differs.

Each step first moves the multipliers of the classes that it shows, by projected gradient ascent,

    lambda_k <- [lambda_k + eta u_k]_+ ,

then the weights, down the Lagrangian of the new multipliers: cooper's alternating order that needs no further pass.
Multipliers, projection and Lagrangians are cooper's. Its optimizers are not used, as the suite's AdamW moves the
weights of every method; nor is one of torch's for the multipliers, whose steps would count as steps of the round.

Differences, made knowingly:

* The Lagrangian has the mean over the classes of the step and not a sum over all, so that it means the same where a
  step shows some of hundreds of classes: a lambda_k here is K times that of the Kuhn-Tucker conditions.
* u_k, a moving average, is the value of h_k in the Lagrangians, and L_k's gradient that of h_k; ``gamma_protected`` = 1
  leaves the batch's own h_k.
* Each round starts from lambda = 0, as its old model is another.
* eta is a setting also of the augmented Lagrangian, whose textbook step is c, the penalty's coefficient: by default 30,
  a hundred times greater. That one is taken once the inner problem is solved, this one before every step on a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from methods.constraints import Constrained, ConstraintSettings, PenaltySettings
from methods.mds import ContrastiveSettings, ContrastiveStrategy
from methods.strategy import Settings
from methods.unavailable import check_extra


class PrimalDualSettings(ContrastiveSettings, ConstraintSettings):
    """Hyper-parameters of the primal-dual method."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = Settings.GRID | {"multiplier_lr": (0.03, 0.1, 0.3, 1.0)}

    multiplier_lr: float = Field(0.3, ge=0, description="eta: step size of the ascent on the multipliers")


class AugmentedLagrangianSettings(PrimalDualSettings, PenaltySettings):
    """Hyper-parameters of the augmented Lagrangian method."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = PrimalDualSettings.GRID | {"beta": (30.0, 100.0, 300.0, 600.0)}

    beta: float = Field(600.0, gt=0, description="penalty weight; the penalty coefficient c is beta * tau")


class PrimalDual(Constrained, ContrastiveStrategy):
    """Gradient descent-ascent on the Lagrangian F + mean_k lambda_k h_k."""

    SETTINGS = PrimalDualSettings
    settings: PrimalDualSettings

    def __init__(self, **arguments: Any) -> None:
        check_extra(type(self).__name__, "cooper")
        super().__init__(**arguments)

    def prepare_round(self) -> None:
        """As MDS; multipliers of 0."""
        super().prepare_round()
        classes = len(self.violation.value)
        self.constraint = self.make_constraint(classes)
        self.ascended = torch.zeros(self.settings.steps, classes, device=self.device)  # lambda_k in each step

    def make_constraint(self, classes: int) -> Any:
        """cooper's constraint on all classes, of which a step may show some."""
        import cooper

        multiplier = cooper.multipliers.IndexedMultiplier(classes, device=self.device)
        return cooper.Constraint(cooper.ConstraintType.INEQUALITY, cooper.formulations.Lagrangian, multiplier)

    def constraint_loss(self, losses: Tensor, violations: Tensor) -> Tensor:
        """What the constraints add to F in the Lagrangian, once the multipliers have moved."""
        import cooper

        surrogate = violations + (losses - losses.detach())  # the value of u_k with the gradient of L_k
        state = cooper.ConstraintState(surrogate.float(), constraint_features=self.positions)
        self.ascend(state)
        self.ascended[len(self.losses)] = self.constraint.multiplier.weight.detach().flatten()
        found: Tensor = self.constraint.compute_contribution_to_lagrangian(state, "primal").lagrangian_contribution
        return found / len(losses)

    def ascend(self, state: Any) -> None:
        """A projected gradient step on the multipliers of the classes shown."""
        multiplier = self.constraint.multiplier
        dual = self.constraint.compute_contribution_to_lagrangian(state, "dual").lagrangian_contribution
        (slope,) = torch.autograd.grad(dual, [multiplier.weight])
        with torch.no_grad():
            multiplier.weight.add_(slope, alpha=self.settings.multiplier_lr)
        multiplier.post_step_()  # the projection

    def multipliers(self, steps: Sequence[int]) -> Tensor:
        """What each class's loss was multiplied by, before the mean over the classes: lambda_k.

        Args:
            steps: numbers of steps, from 1.

        Returns:
            (steps, K), at least 0.
        """
        return self.ascended[[step - 1 for step in steps]]


class AugmentedLagrangian(PrimalDual):
    """As primal-dual, on the augmented Lagrangian F + mean_k ([lambda_k + c h_k]_+^2 - lambda_k^2) / (2 c).

    c = beta tau. cooper takes the form for inequalities from Nocedal and Wright, Numerical Optimization (equations
    17.64 and 17.65). While multipliers are 0 it is MDS; as they grow, nothing need be violated to hold against F, and
    the penalty damps their oscillation. c stays as it is: a schedule by violations would follow the noise of batches.
    """

    SETTINGS = AugmentedLagrangianSettings
    settings: AugmentedLagrangianSettings

    def make_constraint(self, classes: int) -> Any:
        """The same, with the coefficient."""
        import cooper

        return cooper.Constraint(
            cooper.ConstraintType.INEQUALITY,
            cooper.formulations.AugmentedLagrangian,
            cooper.multipliers.IndexedMultiplier(classes, device=self.device),
            cooper.penalty_coefficients.DensePenaltyCoefficient(torch.tensor(self.coefficient, device=self.device)),
        )

    @property
    def coefficient(self) -> float:
        """c."""
        return self.settings.beta * self.settings.tau

    def multipliers(self, steps: Sequence[int]) -> Tensor:
        """[lambda_k + c u_k]_+."""
        violations = torch.stack([self.violations[step - 1] for step in steps])
        return (super().multipliers(steps) + self.coefficient * violations).clamp_min(0)


__all__ = ["AugmentedLagrangian", "AugmentedLagrangianSettings", "PrimalDual", "PrimalDualSettings"]
