"""SONEX (arXiv 2506.02504): the objective and constraints of MDS, with a smoothed hinge and variance-reduced estimates.

The exact hinge penalty, smoothed over a width mu so that it has a gradient everywhere, in one loop over

    u_k <- (1 - gamma) u_k + gamma h_k(w_t) + gamma' (h_k(w_t) - h_k(w_t-1))          for the classes of the step
    z   =  grad F + beta tau mean_k min([u_k]_+ / mu, 1) grad L_k
    v   <- (1 - b) v + b z,        w_t+1 = w_t - eta v

after version 2 of the algorithm SONEX in the book on compositional optimization by T. Yang, an author of the paper
(chapter 5.3, algorithm 17), the version that has the paper's rate, eps^-5. The same images give both h_k of the
estimator MSVR, so that their difference is what the last step did to the class. Where a step shows B of K classes,
gamma' = (K - B) / (B (1 - gamma)) + 1 - gamma, as in the book's analysis (lemma 5.12), where classes are drawn
independently: the difference stands for the steps since the class was last seen. Of a loss that drifts evenly u_k is
then ahead where B is far below K, as classes come in shuffled order here; where every step shows all it is exact.

Differences, made knowingly:

* v is the first moment of the suite's optimizer, AdamW, as for every method, with b = 1 - 0.9 and its correction of the
  start; the step is v over the root of the second moment, with weight decay.
* The images that give the values h_k also give the gradients of L_k; in the book a second draw does.
* Classes come in shuffled order and not as independent draws. u_k starts from the first value met.
* F keeps its own averages, and h_k is paired, as in ``methods/mds.py``. The weight is beta tau, as there.
* Numbers for beta, mu and gamma are this suite's: those of the paper's runs are not known here.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor
from torch.func import functional_call

from methods.mds import MDS, MDSSettings
from methods.objectives import class_losses, smoothed_hinge_penalty
from methods.strategy import Settings


class SONEXSettings(MDSSettings):
    """Hyper-parameters of SONEX."""

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = Settings.GRID | {
        "beta": (5.0, 20.0, 60.0, 200.0),
        "mu": (0.02, 0.1, 0.5),
    }

    beta: float = Field(
        20.0, ge=0, description="penalty weight; the effective weight of a class violated by mu or more is beta * tau"
    )
    mu: float = Field(0.1, gt=0, description="width over which the hinge is smoothed; towards 0 it is mds-l1's penalty")
    gamma_protected: float = Field(
        0.2, gt=0, le=0.5, description="gamma: weight of the new batch in the estimates of h_k"
    )


class SONEX(MDS):
    """MDS with the smoothed hinge penalty, beta tau mean_k f(h_k), and estimates of h_k that follow the last step."""

    SETTINGS = SONEXSettings
    settings: SONEXSettings

    def prepare_round(self) -> None:
        """As MDS; nothing comes before the first step."""
        super().prepare_round()
        self.previous: dict[str, Tensor] = {}

    def penalty(self, losses: Tensor, violations: Tensor, beta: float) -> Tensor:
        """beta tau mean_k min([u_k]_+ / mu, 1) L_k."""
        return smoothed_hinge_penalty(losses, violations, beta, self.settings.tau, self.settings.mu)

    def track(self, losses: Tensor) -> Tensor:
        """u_k by the estimator MSVR: the average, moved beforehand to where the last step has taken h_k."""
        if self.previous:
            moved = self.batches.class_means(losses - self.previous_losses())
            self.violation.shift(self.positions, self.correction / (1 - self.settings.gamma_protected) * moved)
        weights = (*self.model.named_parameters(), *self.model.named_buffers())
        self.previous = {name: value.detach().clone() for name, value in weights}
        return super().track(losses)

    @property
    def correction(self) -> float:
        """gamma', the weight of a difference."""
        shown, gamma = len(self.batches.class_positions), self.settings.gamma_protected
        return (len(self.violation.value) - shown) / (shown * (1 - gamma)) + 1 - gamma

    def previous_losses(self) -> Tensor:
        """Losses of the protected images with the weights before the last step, (K * b,), without gradient.

        Computed as those of now, on the whole batch and with gradients enabled, so that the two round alike.
        """
        targets = len(self.batches.target_rows)
        logits = functional_call(self.model, self.previous, (self.mb_x,))
        return class_losses(logits[targets:] * self.temperature, self.mb_y[targets:], self.settings.tau)

    def _after_training_exp(self, **kwargs: Any) -> None:
        super()._after_training_exp(**kwargs)
        del self.previous


__all__ = ["SONEX", "SONEXSettings"]
