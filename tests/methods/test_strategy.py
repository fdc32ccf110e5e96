"""What every method promises, whatever it does inside; and that MDS serves any Avalanche user."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.training.plugins import EvaluationPlugin
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import methods
from methods.clip import predict_logits
from methods.mds import MDS, RM, MDSSettings
from methods.objectives import class_losses
from tests.conftest import make_toy_stream

TRAINING = [name for name in methods.METHODS if name != "frozen"]


def develop(name: str, base, stream, seed: int = 0, rounds: int = 1, **changes):
    strategy_class = methods.load(name)
    changes.setdefault("lr", 3e-4)
    settings = strategy_class.SETTINGS() if name == "frozen" else strategy_class.SETTINGS(**{"steps": 40, **changes})
    strategy = strategy_class(model=copy.deepcopy(base), settings=settings, seed=seed)
    for r in range(rounds):
        strategy.protect(stream.protected[r])
        strategy.train(stream.train[r], eval_streams=[])
    return strategy


def accuracy(model, data, label: int) -> float:
    rows = data.labels == label
    return (predict_logits(model, data.images[rows]).argmax(1) == label).float().mean().item()


@pytest.mark.parametrize("name", methods.METHODS)
def test_zero_steps_are_the_old_model_bit_for_bit(name, toy_stream, toy_base):
    developed = develop(name, toy_base, toy_stream, **({} if name == "frozen" else {"steps": 0})).model
    images = toy_stream.test[0].images[:20]
    assert torch.equal(predict_logits(developed, images), predict_logits(toy_base, images))


@pytest.mark.parametrize("name", TRAINING)
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(name, toy_stream, toy_base):
    one, same, other = (develop(name, toy_base, toy_stream, seed, steps=6).model for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), same.state_dict().values(), strict=True))
    assert any(
        not torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


def test_global_random_numbers_do_not_matter(toy_stream, toy_base):
    torch.manual_seed(1)
    one = develop("mds", toy_base, toy_stream, steps=3).model.state_dict()
    torch.manual_seed(2)
    two = develop("mds", toy_base, toy_stream, steps=3).model.state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("name", TRAINING)
def test_data_is_left_untouched(name, toy_base):
    stream = make_toy_stream(seed=5)
    before = copy.deepcopy(stream.data)
    develop(name, toy_base, stream, steps=3)
    for split in ("train", "protected", "val", "test"):
        assert torch.equal(getattr(stream.data[0], split).images, getattr(before[0], split).images)


@pytest.mark.parametrize("name", ["mds", "rm", "joint"])
def test_the_target_is_learned_and_less_is_forgotten_than_by_finetuning(name, toy_stream, toy_base):
    naive = develop("finetune", toy_base, toy_stream).model
    kept = develop(name, toy_base, toy_stream).model
    data, old = toy_stream.data[0].test, [accuracy(toy_base, toy_stream.data[0].test, k) for k in range(5)]
    worst = {m: min(accuracy(m, data, k) - old[k] for k in range(5)) for m in (naive, kept)}
    assert accuracy(naive, data, 5) > 0.9 > 0.3 > accuracy(toy_base, data, 5)
    assert accuracy(kept, data, 5) > 0.6
    assert worst[naive] < -0.4
    assert worst[kept] > worst[naive] + 0.3


def test_mds_without_a_penalty_forgets_more(toy_stream, toy_base):
    data = toy_stream.data[0].test

    def protected(model):
        return sum(accuracy(model, data, k) for k in range(5)) / 5

    free, bound = (develop("mds", toy_base, toy_stream, beta=beta).model for beta in (0.0, 100.0))
    assert protected(bound) > protected(free)


def test_steps_are_counted_and_losses_kept(toy_stream, toy_base):
    strategy = develop("mds", toy_base, toy_stream, steps=7)
    assert len(strategy.losses) == 7 and all(torch.isfinite(loss) for loss in strategy.losses)


def test_learning_rate_rises_and_falls_to_zero(toy_stream, toy_base):
    rates = []

    class Watch:
        def before_update(self, strategy, **kwargs):
            rates.append(strategy.optimizer.param_groups[0]["lr"])

    strategy = methods.load("finetune")(
        model=copy.deepcopy(toy_base),
        settings=methods.load("finetune").SETTINGS(steps=20, lr=0.01, warmup=0.25),
        plugins=[Watch()],
    )
    strategy.train(toy_stream.train[0], eval_streams=[])
    assert (
        rates[0] == pytest.approx(0.01 / 5) and max(rates) == pytest.approx(0.01) and rates.index(max(rates)) in (4, 5)
    )
    assert rates[5:] == sorted(rates[5:], reverse=True) and rates[-1] < 0.001
    assert strategy.optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-6)


def test_heads_and_what_they_learned_stay_for_the_next_round(toy_base):
    stream = make_toy_stream(seed=0, rounds=2)
    first = develop("mds", toy_base, stream, steps=5)
    learned = first.model.heads_out.detach().clone()
    assert learned.abs().sum() > 0
    first.settings = MDSSettings(steps=0)
    first.protect(stream.protected[1])
    first.train(stream.train[1], eval_streams=[])
    assert torch.equal(first.model.heads_out, learned)


def test_reference_losses_are_those_of_the_model_before_the_round(toy_stream, toy_base):
    strategy = develop("mds", toy_base, toy_stream, steps=1)
    data = toy_stream.data[0].protected
    wanted = nn.functional.cross_entropy(predict_logits(toy_base, data.images), data.labels, reduction="none")
    torch.testing.assert_close(strategy.clean_losses, wanted)


# Augmentation


@pytest.fixture(scope="module")
def varied_stream(toy_stream):
    """The toy stream, asking for varied views."""
    return dataclasses.replace(toy_stream, augment=True)


@pytest.mark.parametrize("name", TRAINING)
def test_every_method_trains_on_the_views_that_the_data_asks_for(name, toy_stream, varied_stream, toy_base):
    one, same, plain = (develop(name, toy_base, s, steps=3) for s in (varied_stream, varied_stream, toy_stream))
    losses = [torch.stack(strategy.losses) for strategy in (one, same, plain)]
    assert torch.equal(losses[0], losses[1]) and (losses[0] != losses[2]).all()
    assert losses[0].isfinite().all()


def constraint_values(base, stream, changed=MDS) -> Tensor:
    """h_k of every step of a round in which nothing is learned, (steps, K)."""
    values = []

    class Watched(changed):
        def protected_loss(self, losses):
            values.append(self.per_class(losses.detach() - self.old_losses()))
            return super().protected_loss(losses)

    strategy = Watched(model=copy.deepcopy(base), settings=MDSSettings(steps=5, lr=0.0))
    strategy.protect(stream.protected[0])
    strategy.train(stream.train[0], eval_streams=[])
    return torch.stack(values)


def test_a_model_that_does_not_change_violates_nothing_on_varied_views(varied_stream, toy_base):
    class AgainstClean(MDS):  # as published: the new model on views, the old one on the images themselves
        def old_losses(self):
            old, pool = self.old_similarity, self.batches.protected
            images, labels = pool.take(self.batches.protected_rows)
            return class_losses(old(images), labels, self.settings.tau)

    assert constraint_values(toy_base, varied_stream).abs().max() < 1e-5  # batches of other sizes round differently
    assert constraint_values(toy_base, varied_stream, AgainstClean).abs().min() > 1e-3


def test_old_losses_on_views_are_those_of_the_model_before_the_round(varied_stream, toy_base):
    compared = []

    class Watched(MDS):
        def protected_loss(self, losses):
            rows = len(self.batches.protected_rows)
            wanted = class_losses(toy_base.similarity(self.mb_x[-rows:]), self.mb_y[-rows:], self.settings.tau)
            torch.testing.assert_close(self.old_losses(), wanted.detach(), atol=1e-4, rtol=1e-4)
            assert not self.old_losses().requires_grad
            compared.append((losses.detach() - wanted.detach()).abs().max())
            return super().protected_loss(losses)

    strategy = Watched(model=copy.deepcopy(toy_base), settings=MDSSettings(steps=4, lr=1e-3))
    strategy.protect(varied_stream.protected[0])
    strategy.train(varied_stream.train[0], eval_streams=[])
    assert len(compared) == 4 and compared[-1] > 0.01


def test_the_old_model_is_kept_for_the_round_alone_and_only_where_views_vary(toy_stream, varied_stream, toy_base):
    kept = []

    class Watched(MDS):
        def protected_loss(self, losses):
            kept.append(self.old_similarity)
            return super().protected_loss(losses)

    for stream in (varied_stream, toy_stream):
        strategy = Watched(model=copy.deepcopy(toy_base), settings=MDSSettings(steps=1))
        strategy.protect(stream.protected[0])
        strategy.train(stream.train[0], eval_streams=[])
        assert strategy.old_similarity is None
    assert kept[0] is not None and kept[1] is None


def test_predictions_and_evaluations_see_images_as_they_are(varied_stream, toy_base):
    strategy = methods.load("mds")(model=copy.deepcopy(toy_base), settings=MDSSettings(steps=0))
    seen = []
    strategy.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    strategy.eval(varied_stream.test)
    images = varied_stream.test[0].images
    assert torch.equal(torch.cat(seen), images.float() / 255)
    assert torch.equal(predict_logits(toy_base, images), predict_logits(toy_base, images))


def test_a_method_that_needs_protected_data_says_so(toy_stream, toy_base):
    with pytest.raises(ValueError, match="call protect"):
        MDS(model=copy.deepcopy(toy_base), settings=MDSSettings(steps=1)).train(toy_stream.train[0], eval_streams=[])


# MDS outside this suite: a plain classifier, a plain benchmark, Avalanche's own metrics


def two_blobs(labels: list[int], count: int, seed: int) -> TensorDataset:
    rng = torch.Generator().manual_seed(seed)
    y = torch.tensor(labels).repeat_interleave(count)
    centres = torch.tensor([[2.0, 0.0], [-2.0, 0.5], [0.0, 2.0]])
    data = TensorDataset(centres[y] + 0.9 * torch.randn(len(y), 2, generator=rng), y)
    data.targets = y.tolist()
    return data


@pytest.mark.parametrize("strategy_class", [MDS, RM])
def test_it_trains_a_plain_classifier_on_a_plain_avalanche_benchmark(strategy_class):
    train, kept, test = two_blobs([2], 200, 0), two_blobs([0, 1], 100, 1), two_blobs([0, 1, 2], 200, 2)
    benchmark = benchmark_from_datasets(
        train=[as_classification_dataset(train)],
        kept=[as_classification_dataset(kept)],
        test=[as_classification_dataset(test)],
    )
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 3))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    x, y = kept.tensors
    for _ in range(100):  # the old model: two classes learned, the third never met
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()

    settings = strategy_class.SETTINGS(steps=100, batch_size=64, lr=0.01, tau=1.0, t=1.0, weight_decay=0.0)
    evaluator = EvaluationPlugin(accuracy_metrics(stream=True), loggers=[])
    strategy = strategy_class(model=model, settings=settings, evaluator=evaluator)
    before = strategy.eval(benchmark.streams["test"])["Top1_Acc_Stream/eval_phase/test_stream"]
    strategy.protect(benchmark.streams["kept"][0])
    strategy.train(benchmark.streams["train"][0], eval_streams=[])
    after = strategy.eval(benchmark.streams["test"])["Top1_Acc_Stream/eval_phase/test_stream"]
    assert before < 0.67 and after > before + 0.1
