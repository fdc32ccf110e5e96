"""Weight-space methods that settle tensor by tensor, or entry by entry, between the weights of two times.

Names and conventions are those of ``methods.merging``: at c = 0 every merge is theta_old, and it is so at every c where
the round changed nothing, bit for bit.
"""

from __future__ import annotations

from methods.merging import TaskArithmeticSettings, before_stream
from methods.state_arithmetic import add_task_vector, magmax, slerp, task_vector
from methods.strategy import RoundStrategy
from methods.weight_space import State, WeightSpace


class Slerp(WeightSpace):
    """theta = sin((1 - c) w) / sin w theta_old + sin(c w) / sin w theta_new, with w the angle of each pair of tensors.

    Spherical interpolation (Shoemake, SIGGRAPH 1985), as is usual in merging, tensor by tensor: along the arc and not
    along the chord, which passes nearer to 0. Where |cos w| > 0.9995 a tensor is interpolated.

    Expect nearly WiSE-FT, for theta_new started as theta_old: half-way, arc and chord of two tensors of one length are
    about w / 8 of the change apart, which is 5 % at cos w = 0.92 and 0.4 % at 0.9995.
    """

    def merge(self, coefficient: float) -> State:
        """On the arcs from old to new."""
        return slerp(self.old, self.new, coefficient)


class MagMax(WeightSpace):
    """theta = theta_old + c (MagMax(tau_old, tau_new) - tau_old), of each entry the greatest change (arXiv 2407.06322).

    tau_old = theta_old - theta_pre and tau_new = theta_new - theta_pre are the vectors of weights that were fine-tuned
    one after the other; of two of one magnitude the later counts. So an entry takes this round's change where that
    leaves it no nearer to theta_pre than it was. At c = 1 this is the paper's merge at lambda = 1,
    theta_pre + MagMax(tau_old, tau_new).

    In a first round, or where no pretrained model is given, tau_old = 0: every entry of tau_new is the greatest, and
    this is ``TaskArithmetic``. Deviations: the paper keeps the vectors of all tasks, each fine-tuned from the one
    before, and merges them once. A round knows of two models: theta_old, the merge of all earlier rounds, stands for
    them and is what is fine-tuned. The paper's lambda scales both vectors, so that less than 1 would undo earlier
    rounds; c goes back to theta_old.
    """

    SETTINGS = TaskArithmeticSettings
    settings: TaskArithmeticSettings

    def prepare(self, strategy: RoundStrategy) -> None:
        """Take the greatest of each entry."""
        start = before_stream(strategy, self.old)
        before, after = task_vector(start, self.old), task_vector(start, self.new)
        self.change = task_vector(before, magmax([before, after]))

    def merge(self, coefficient: float) -> State:
        """On the line from old to the greatest changes, and beyond."""
        return add_task_vector(self.old, self.change, coefficient)


__all__ = ["MagMax", "Slerp"]
