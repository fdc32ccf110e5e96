"""Merges of the weights before and after a round: what each computes, and what it does to a model."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from avalanche.core import SupervisedPlugin

import methods
from methods.clip import predict_logits
from methods.fisher import fisher_information
from methods.state_arithmetic import average, mean_one, ties
from tests.conftest import make_toy_stream
from tests.methods.developing import accuracy, develop, equal, measured_shortly, replayed, second_round

PLUGINS = [
    *("wise-ft", "task-arithmetic", "ties", "dare", "fisher-merge", "bcwi", "ptm", "soup"),
    *("slerp", "magmax", "regmean", "safe-layers"),
]
MERGES = [name for name in PLUGINS if name != "soup"]
TO_THE_NEW = ["wise-ft", "task-arithmetic", "fisher-merge", "bcwi", "slerp", "safe-layers"]  # theta_new at 1


def distance(one, other) -> float:
    return sum((one[key] - other[key]).square().sum().item() for key in one) ** 0.5


def copied(model):
    return copy.deepcopy(model.state_dict())


@pytest.fixture(scope="module")
def two_rounds():
    return make_toy_stream(seed=0, rounds=2)


@pytest.fixture(scope="module")
def naive(toy_base, toy_stream):
    """A model that was fine-tuned on the first target."""
    return develop("finetune", toy_base, toy_stream, steps=10, lr=1e-3).model


@pytest.fixture(scope="module")
def developed(toy_base, naive, toy_stream):
    """Each plugin after that round."""
    return {name: replayed(name, toy_base, naive, toy_stream) for name in MERGES}


def protected_accuracy(model, stream) -> float:
    return sum(accuracy(model, stream.data[0].test, k) for k in range(5)) / 5


@pytest.mark.parametrize("name", MERGES)
def test_at_zero_the_merge_is_the_old_model_bit_for_bit(name, developed, toy_base):
    assert equal(developed[name].weight_space.merge(0.0), toy_base.state_dict())


@pytest.mark.parametrize("name", TO_THE_NEW)
def test_at_one_it_is_the_trained_model_bit_for_bit(name, developed, naive):
    assert equal(developed[name].weight_space.merge(1.0), naive.state_dict())


@pytest.mark.parametrize("name", MERGES)
def test_a_merge_writes_to_neither_model(name, developed):
    plugin = developed[name].weight_space
    kept = copy.deepcopy((plugin.old, plugin.new))
    for coefficient in (0.0, 0.5, 1.0):
        for value in plugin.merge(coefficient).values():
            value.zero_()
    assert equal(plugin.old, kept[0]) and equal(plugin.new, kept[1])


@pytest.mark.parametrize("name", MERGES)
def test_a_merge_forgets_less_than_finetuning(name, developed, naive, toy_stream):
    merged = developed[name].model  # by itself a plugin leaves the middle coefficient's merge
    assert protected_accuracy(merged, toy_stream) > protected_accuracy(naive, toy_stream) + 0.05


@pytest.mark.parametrize("trainer", ["finetune", "mds"])
@pytest.mark.parametrize("name", PLUGINS)
def test_zero_steps_are_the_old_function_bit_for_bit_whatever_is_proposed(trainer, name, toy_base, toy_stream):
    strategy = develop(f"{trainer}+{name}", toy_base, toy_stream, steps=0, **measured_shortly(name, 8))
    images = toy_stream.test[0].images[:20]
    old, seen = predict_logits(toy_base, images), [predict_logits(strategy.model, images)]
    strategy.propose(lambda name: seen.append(predict_logits(strategy.model, images)))
    assert len(seen) > 1 and all(torch.equal(logits, old) for logits in seen)


@pytest.mark.parametrize("name", MERGES)
def test_every_coefficient_is_proposed_and_each_gives_another_model(name, developed):
    strategy, proposed = copy.copy(developed[name]), []
    strategy.model = copy.deepcopy(strategy.model)
    strategy.propose(lambda name: proposed.append((name, copied(strategy.model))))
    assert [name for name, _ in proposed] == [f"coefficient {c:g}" for c in strategy.settings.coefficients]
    old = strategy.weight_space.old
    distances = [distance(weights, old) for _, weights in proposed]
    assert distances[0] > 0 and len(set(distances)) == len(distances)
    assert distances == sorted(distances) or name == "regmean"  # which is near in outputs, not in weights


@pytest.mark.parametrize("name", ["bcwi", "fisher-merge", "regmean", "safe-layers"])
def test_a_plugin_that_needs_protected_data_says_so_before_it_trains(name, toy_base, toy_stream):
    strategy_class = methods.load(f"finetune+{name}")
    strategy = strategy_class(model=copy.deepcopy(toy_base), settings=strategy_class.SETTINGS(steps=1))
    with pytest.raises(ValueError, match="call protect"):
        strategy.train(toy_stream.train[0], eval_streams=[])
    assert not strategy.losses


# What each computes


def test_task_arithmetic_goes_on_along_the_line(developed):
    plugin = developed["task-arithmetic"].weight_space
    key = "clip.visual.proj"
    wanted = plugin.old[key] + 1.5 * (plugin.new[key] - plugin.old[key])
    torch.testing.assert_close(plugin.merge(1.5)[key], wanted)


def test_ties_in_a_first_round_trims_the_vector_across_all_tensors(developed):
    plugin = developed["ties"].weight_space
    vector = {key: plugin.new[key] - plugin.old[key] for key in plugin.old}
    flat = torch.cat([value.flatten() for value in vector.values() if value.any()])
    least = flat.abs().sort(descending=True).values[round(0.2 * len(flat)) - 1]
    for key, value in plugin.merge(1.0).items():
        wanted = plugin.old[key] + torch.where(vector[key].abs() >= least, vector[key], 0)
        assert torch.equal(value, wanted)


def test_dare_keeps_a_tenth_of_the_vector_ten_times_as_large(developed):
    plugin = developed["dare"].weight_space
    key = "clip.token_embedding.weight" if "clip.token_embedding.weight" in plugin.old else "clip.visual.proj"
    vector, kept = plugin.new[key] - plugin.old[key], plugin.vector[key]
    moved = vector != 0
    assert (kept[moved] != 0).float().mean().item() == pytest.approx(0.1, abs=0.03)
    torch.testing.assert_close(kept[kept != 0], vector[kept != 0] / (1 - 0.9))


def test_fisher_merge_weighs_protected_against_target_images(developed, naive, toy_base, toy_stream):
    plugin = developed["fisher-merge"].weight_space
    for model, images, measured in (
        (toy_base, toy_stream.data[0].protected.images, plugin.old_fisher),
        (naive, toy_stream.data[0].train.images, plugin.new_fisher),
    ):
        wanted = mean_one(fisher_information(copy.deepcopy(model), images, max_samples=8, seed=0))
        assert measured.keys() == wanted.keys()
        assert all(torch.allclose(measured[key], wanted[key], rtol=1e-4, atol=1e-6) for key in wanted)


def test_bcwi_is_the_published_formula(developed):
    plugin, alpha = developed["bcwi"].weight_space, 0.9
    merged = plugin.merge(1 - alpha)
    for key, f in plugin.old_fisher.items():
        f, old, new = (tensor.double() for tensor in (f.clamp_min(1e-6), plugin.old[key], plugin.new[key]))
        wanted = (alpha * f * old + (1 - alpha) * new) / (alpha * f + 1 - alpha)
        torch.testing.assert_close(merged[key].double(), wanted, atol=1e-6, rtol=1e-5)
    assert torch.cat([f.flatten() for f in plugin.old_fisher.values()]).mean().item() == pytest.approx(1, rel=1e-3)


# Several rounds


def test_ptm_learns_apart_from_what_earlier_rounds_changed(two_rounds, toy_base, naive):
    plugin = second_round("finetune+ptm", toy_base, naive, two_rounds).weight_space
    alone = second_round("finetune", None, toy_base, two_rounds).model
    old, new, pre = naive.state_dict(), alone.state_dict(), toy_base.state_dict()
    assert equal(plugin.merge(0.0), old) and equal(plugin.new, new)
    wanted = {key: old[key] + 0.7 * (new[key] - pre[key]) for key in old}
    torch.testing.assert_close(plugin.merge(0.7), wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("trainer", ["finetune", "lora"])
def test_ptm_adds_nothing_twice(trainer, two_rounds, toy_base, naive):
    """What earlier rounds changed is in the old weights already."""
    plugin = second_round(f"{trainer}+ptm", toy_base, naive, two_rounds, lr=0.0).weight_space
    torch.testing.assert_close(plugin.merge(1.0), naive.state_dict(), atol=1e-6, rtol=1e-5)


def test_several_models_have_no_pretrained_one_to_go_back_to(two_rounds, toy_base, naive):
    with pytest.raises(ValueError, match="keeps several models"):
        second_round("ensemble+ptm", toy_base, naive, two_rounds)


def test_ptm_without_a_pretrained_model_is_wise_ft_and_with_one_is_not(two_rounds, toy_base, naive):
    ptm, without, wise = (
        second_round(f"finetune+{name}", base, naive, two_rounds).weight_space.merge(0.5)
        for name, base in (("ptm", toy_base), ("ptm", None), ("wise-ft", toy_base))
    )
    torch.testing.assert_close(without, wise, atol=1e-6, rtol=1e-5)
    assert distance(ptm, wise) > 0.1 * distance(wise, naive.state_dict())


def test_ties_settles_what_this_round_and_earlier_ones_changed(two_rounds, toy_base, naive):
    plugin = second_round("finetune+ties", toy_base, naive, two_rounds, trim=0.5).weight_space
    pre, old = toy_base.state_dict(), naive.state_dict()
    earlier = {key: old[key] - pre[key] for key in old}
    merged = ties([earlier, {key: plugin.new[key] - old[key] for key in old}], 0.5)
    torch.testing.assert_close(plugin.merge(1.0), {key: pre[key] + merged[key] for key in pre}, atol=1e-6, rtol=1e-5)
    assert equal(plugin.merge(0.0), old)


@pytest.mark.parametrize("name", PLUGINS)
def test_a_second_round_of_zero_steps_changes_nothing(name, two_rounds, toy_base, naive):
    strategy = second_round(f"finetune+{name}", toy_base, naive, two_rounds, steps=0, **measured_shortly(name, 8))
    states = [copied(strategy.model)]
    strategy.propose(lambda name: states.append(copied(strategy.model)))
    assert len(states) > 1 and all(equal(state, naive.state_dict()) for state in states)


def test_rounds_drop_other_entries(two_rounds, toy_base):
    strategy = develop("finetune+dare", toy_base, two_rounds, steps=2)
    first = strategy.weight_space.vector["clip.visual.proj"] != 0
    strategy.train(two_rounds.train[1], eval_streams=[])
    assert not torch.equal(strategy.weight_space.vector["clip.visual.proj"] != 0, first)


@pytest.mark.parametrize("name", ["wise-ft", "ptm", "ties"])
def test_heads_that_the_pretrained_model_lacks_are_merged_with_the_rest(name, two_rounds, toy_base):
    strategy_class = methods.load(f"mds+{name}")
    strategy = strategy_class(model=copy.deepcopy(toy_base), settings=strategy_class.SETTINGS(steps=3, lr=3e-4))
    strategy.pretrained = toy_base
    strategy.protect(two_rounds.protected[0])
    strategy.train(two_rounds.train[0], eval_streams=[])
    plugin = strategy.weight_space
    assert {"heads_in", "heads_out"} <= plugin.old.keys()
    assert not plugin.old["heads_out"].any() and plugin.merge(0.5)["heads_out"].any()
    torch.testing.assert_close(strategy.model.state_dict(), plugin.merge(strategy.settings.coefficients[4]))


# Soup


def stirred(plugin, ingredients, scores):
    """What greedy soup does with ingredients whose every soup is scored by its single weight."""
    model, tasted = torch.nn.Linear(1, 1, bias=False), []

    def score(name: str) -> float:
        tasted.append((name, model.weight.item()))
        return scores(model.weight.item())

    plugin.ingredients = [{"weight": torch.tensor([[value]])} for value in ingredients]
    plugin.propose(SimpleNamespace(model=model), score)
    return tasted


def test_greedy_soup_starts_from_the_best_and_adds_what_does_not_lower_the_score():
    plugin = methods.load("finetune+soup").WEIGHT_SPACE(None)
    tasted = stirred(plugin, [8.0, 1.0, 2.75, 5.0], lambda weight: -abs(weight - 2))
    assert tasted[:4] == [("soup of 1", 8.0), ("soup of 2", 1.0), ("soup of 3", 2.75), ("soup of 4", 5.0)]
    assert tasted[4:] == [
        ("soup of 3, 2", 1.875),  # better: stays
        ("soup of 3, 2, 4", pytest.approx(8.75 / 3)),  # worse, as all of the rest
        ("soup of 3, 2, 1", pytest.approx(11.75 / 3)),
    ]


def test_an_equal_score_lets_an_ingredient_in():
    plugin = methods.load("finetune+soup").WEIGHT_SPACE(None)
    tasted = stirred(plugin, [1.0, 2.0, 3.0], lambda weight: 0.0)
    assert [name for name, _ in tasted][-2:] == ["soup of 1, 2", "soup of 1, 2, 3"]


def test_ingredients_are_evenly_spaced_and_without_validation_all_are_mixed(toy_base, toy_stream):
    along = []

    class Watch(SupervisedPlugin):
        def after_training_iteration(self, strategy, **kwargs):
            along.append(copied(strategy.model))

    soup = methods.load("finetune+soup")
    strategy = soup(model=copy.deepcopy(toy_base), settings=soup.SETTINGS(steps=8, lr=1e-3), plugins=[Watch()])
    strategy.train(toy_stream.train[0], eval_streams=[])
    ingredients = strategy.weight_space.ingredients
    assert len(ingredients) == 4
    assert all(equal(got, along[step - 1]) for got, step in zip(ingredients, (2, 4, 6, 8), strict=True))
    assert equal(strategy.model.state_dict(), average(ingredients))


# Every setting has its own name


@pytest.mark.parametrize("name", PLUGINS)
def test_each_plugin_goes_with_each_method_that_trains(name):
    for trainer in ("finetune", "joint", "mds", "rm", "wccl"):
        strategy = methods.load(f"{trainer}+{name}")
        assert strategy.SETTINGS().steps and strategy.SETTINGS.GRID.keys() <= strategy.SETTINGS.model_fields.keys()


@pytest.mark.parametrize("name", ["fisher-merge", "bcwi"])
def test_after_a_training_of_no_weight_of_the_model_the_merge_is_the_old_one(name, toy_base, toy_stream):
    """Fisher information is of weights that are trained, and target-bias trains none."""
    strategy = develop(f"target-bias+{name}", toy_base, toy_stream, steps=3)
    old, kept = toy_base.state_dict(), strategy.model.state_dict()
    assert all(torch.equal(kept[key], value) for key, value in old.items())
