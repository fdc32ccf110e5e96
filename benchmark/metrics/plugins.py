"""Developmental safety as Avalanche metrics, for any ``EvaluationPlugin`` and strategy, without this suite's runner.

Evaluate the same images before and after training: every pass is compared, image by image, with the last one before the
current training experience. Labels and classes are the integers of the Avalanche benchmark::

    evaluator = EvaluationPlugin(StrictPreservation(), DevSafety(), TargetGain(), NegativeFlipRate())
    strategy = Naive(model=model, optimizer=optimizer, evaluator=evaluator)
    strategy.eval(benchmark.streams["test"])  # the old model's predictions
    for experience in benchmark.streams["train"]:
        strategy.train(experience)  # develops the classes of the experience: they are the target
        values = strategy.eval(benchmark.streams["test"])
        print(values["DevSafety/eval_phase/test_stream"])

A pass gives no value where there is nothing to compare: before any training, after ``train`` on several experiences
without a pass between them, and where a class that a metric needs is not among the images of both passes. Definitions
are those of ``benchmark.metrics``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np
import torch
from avalanche.evaluation import PluginMetric
from avalanche.evaluation.metric_results import MetricValue
from avalanche.evaluation.metric_utils import get_metric_name
from numpy.typing import NDArray

from benchmark.metrics import flips, preservation
from benchmark.metrics.counts import Counts, count_pairs

Place = tuple[str, int]  # a stream and which of its experiences
Pass = dict[Place, list[NDArray[np.integer[Any]]]]  # one entry per batch: labels and predictions, (2, B)


class _PairedMetric(PluginMetric[float]):
    """Compares every evaluation pass with the state before the current training experience.

    Args:
        classes: the classes to score; None for those of ``default_classes``.
    """

    def __init__(self, classes: Iterable[int] | None = None) -> None:
        super().__init__()
        self.classes = None if classes is None else {str(number) for number in classes}
        if self.classes == set():
            raise ValueError("no class is named: name one or more, or leave it to None")
        self.reset()

    def __str__(self) -> str:
        return type(self).__name__

    @abstractmethod
    def default_classes(self, measured: Set[str], trained: Set[str]) -> Set[str]:
        """The classes to score where none was named, of those measured in both passes and those now trained."""

    @abstractmethod
    def score(self, counts: Mapping[str, Counts]) -> float:
        """The value, from the counts of the classes to score."""

    def result(self) -> float | None:
        """The value of the last pass, None where it gave none."""
        return self._value

    def reset(self) -> None:
        """Forget all predictions."""
        self._old: Pass = {}
        self._new: Pass = {}
        self._evaluated: list[Place] = []
        self._trained: Set[str] = set()
        self._value: float | None = None

    def before_training_exp(self, strategy: Any) -> None:
        """The last predictions are from here on those of the old model."""
        self._old, self._new = self._new, {}
        self._trained = {str(int(label)) for label in strategy.experience.dataset.targets}

    def before_training_iteration(self, strategy: Any) -> None:
        """A pass amid the training shows no state that a later experience could start from."""
        self._new = {}

    def before_eval(self, strategy: Any) -> None:
        """A new pass."""
        self._evaluated, self._value = [], None

    def before_eval_exp(self, strategy: Any) -> None:
        """Predictions of this experience start over."""
        place = strategy.experience.origin_stream.name, strategy.experience.current_experience
        self._evaluated.append(place)
        self._new[place] = []

    def after_eval_iteration(self, strategy: Any) -> None:
        """Keep the predictions for a batch."""
        batch = torch.stack([strategy.mb_y, strategy.mb_output.argmax(dim=1)])
        self._new[self._evaluated[-1]].append(batch.cpu().numpy())

    def after_eval(self, strategy: Any) -> list[MetricValue] | None:
        """The value of this pass, named by the stream; None where there is nothing to compare."""
        counts = self._paired_counts()
        wanted = self.default_classes(counts.keys(), self._trained) if self.classes is None else self.classes
        if not wanted or not wanted <= counts.keys():
            return None
        self._value = self.score({name: counts[name] for name in sorted(wanted)})
        name = get_metric_name(self, strategy, add_task=False)
        return [MetricValue(self, name, self._value, strategy.clock.train_iterations)]

    def _paired_counts(self) -> dict[str, Counts]:
        """Counts of every class that has images in this pass and in the one before training."""
        places = [place for place in self._evaluated if place in self._old]
        if not places:
            return {}
        old_labels, old = _joined(self._old, places)
        labels, new = _joined(self._new, places)
        if not np.array_equal(labels, old_labels):
            raise ValueError(
                "labels differ between the evaluation before training and this one: evaluate the same images in the "
                "same order, without shuffling"
            )
        counts = count_pairs(labels, old, new, [str(number) for number in range(int(labels.max()) + 1)])
        return {name: own for name, own in counts.items() if own.n}


class _ProtectedMetric(_PairedMetric):
    def __init__(self, protected: Iterable[int] | None = None) -> None:
        super().__init__(protected)

    def default_classes(self, measured: Set[str], trained: Set[str]) -> Set[str]:
        return measured - trained


class StrictPreservation(_ProtectedMetric):
    """1.0 if no protected class got worse since before the current training experience, else 0.0.

    Example:
        ``EvaluationPlugin(StrictPreservation(protected=[0, 1, 2]))``

    Args:
        protected: the protected classes; None for every evaluated class that the experience does not train.
    """

    def score(self, counts: Mapping[str, Counts]) -> float:
        """``metrics.strictly_preserved`` as a number."""
        return float(preservation.strictly_preserved(counts, list(counts)))


class DevSafety(_ProtectedMetric):
    """The smallest change of accuracy over the protected classes, in [-1, 1] (arXiv 2410.03955, Eq. 2).

    Example:
        ``EvaluationPlugin(DevSafety(protected=[0, 1, 2]))``

    Args:
        protected: the protected classes; None for every evaluated class that the experience does not train.
    """

    def score(self, counts: Mapping[str, Counts]) -> float:
        """``metrics.devsafety``."""
        return preservation.devsafety(counts, list(counts))


class TargetGain(_PairedMetric):
    """New minus old accuracy on the target, in [-1, 1].

    Example:
        ``EvaluationPlugin(TargetGain(target=5))``

    Args:
        target: the target class; None for the classes of the training experience, over all of their images.
    """

    def __init__(self, target: int | None = None) -> None:
        super().__init__(None if target is None else [target])

    def default_classes(self, measured: Set[str], trained: Set[str]) -> Set[str]:
        """The classes now trained."""
        return trained

    def score(self, counts: Mapping[str, Counts]) -> float:
        """Change of accuracy over all images."""
        return _pooled(counts).change


class NegativeFlipRate(_PairedMetric):
    """Share of images that were right before the current training experience and are wrong now (Yan et al., CVPR 2021).

    Example:
        ``EvaluationPlugin(NegativeFlipRate())``

    Args:
        classes: the classes whose images count; None for all.
    """

    def default_classes(self, measured: Set[str], trained: Set[str]) -> Set[str]:
        """All."""
        return measured

    def score(self, counts: Mapping[str, Counts]) -> float:
        """``flips.negative_flips`` over all images."""
        return flips.negative_flips(_pooled(counts))


def _joined(found: Pass, places: Iterable[Place]) -> NDArray[np.integer[Any]]:
    """Labels and predictions (2, N) of all images in ``places``."""
    return np.concatenate([batch for place in places for batch in found[place]], axis=1)


def _pooled(counts: Mapping[str, Counts]) -> Counts:
    """The counts of all images, whatever their class."""
    return Counts(*(sum(column) for column in zip(*counts.values(), strict=True)))
