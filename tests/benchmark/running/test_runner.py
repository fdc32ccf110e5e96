"""A run: scored once on test, selected on validation, the same again with the same seed."""

from __future__ import annotations

import copy
from dataclasses import replace
from importlib.metadata import version

import pytest
import torch

import methods
from benchmark.metrics.scene_pairs import CHANCE
from benchmark.records.files import recompute
from benchmark.records.schema import BaseInfo
from benchmark.running import rounds
from benchmark.running.runner import Run
from benchmark.running.selection import EVALUATIONS
from methods.clip import predict_logits
from methods.mds import MDSSettings
from scenarios.counterfactual import Counterfactuals
from scenarios.stream import LabelledImages
from tests.conftest import make_toy_stream

INFO = BaseInfo(name="toy", sha256="0" * 64, model="mds-tiny")


def run(stream, base, method: str = "mds", **settings) -> Run:
    strategy = methods.load(method)
    chosen = strategy.SETTINGS(**({} if method == "frozen" else {"steps": 8, "lr": 3e-4, **settings}))
    return Run(stream, base, INFO, method, strategy, chosen)


def outcome(record) -> str:
    """A record as JSON without what time and place decide."""
    rounds = tuple(r.model_copy(update={"seconds": 0.0}) for r in record.rounds)
    return record.model_copy(
        update={"rounds": rounds, "seconds": 0.0, "created": "", "environment": None}
    ).model_dump_json(warnings=False)


def test_two_runs_of_one_seed_give_identical_records(toy_stream, toy_base):
    (one, table), (two, same_table) = run(toy_stream, toy_base).execute(), run(make_toy_stream(0), toy_base).execute()
    assert outcome(one) == outcome(two) and one.run_id == two.run_id
    assert table.equals(same_table)


def test_the_base_is_left_as_it_was(toy_stream, toy_base):
    before = copy.deepcopy(toy_base.state_dict())
    run(toy_stream, toy_base).execute()
    assert all(torch.equal(before[key], value) for key, value in toy_base.state_dict().items())


def test_counts_are_those_of_the_predictions_and_the_old_model_is_the_base(toy_stream, toy_base):
    record, table = run(toy_stream, toy_base).execute()
    assert recompute(record, table) == []
    test = toy_stream.data[0].test
    wanted = predict_logits(toy_base, test.images).argmax(1)
    rows = table[table["split"] == "test"]
    assert rows["old"].tolist() == [toy_stream.classes[k] for k in wanted]
    assert rows["label"].tolist() == [toy_stream.classes[k] for k in test.labels]
    assert set(table["split"]) == {"val", "test"} and len(rows) == len(test)


def test_predictions_name_what_images_belong_to(toy_stream, toy_base):
    (data,) = toy_stream.data
    groups = [f"drive {row // 7}" for row in range(len(data.test))]
    grouped = replace(data, test=LabelledImages(data.test.images, data.test.labels, groups))
    _, predictions = run(replace(toy_stream, data=(grouped,)), toy_base, "frozen").execute()
    assert list(predictions.loc[predictions["split"] == "test", "group"]) == groups
    assert set(predictions.loc[predictions["split"] == "val", "group"]) == {""}
    assert "group" not in run(toy_stream, toy_base, "frozen").execute()[1]


def test_frozen_changes_exactly_nothing(toy_stream, toy_base):
    record, table = run(toy_stream, toy_base, "frozen").execute()
    (result,) = record.rounds
    assert (table["old"] == table["new"]).all()
    assert result.target_gain == 0 and result.devsafety == 0 and result.strictly_preserved
    assert all(c.old_correct == c.new_correct == c.both_correct for c in result.test.values())


def with_scenes(stream):
    """The toy stream, which can now show the same scene under two classes: any image of each will do."""

    def pairs(class_a: str, class_b: str, count: int, split: str) -> Counterfactuals:
        assert split == "pairs"
        test = stream.data[0].test
        shown = (test.images[test.labels == stream.classes.index(name)][:count] for name in (class_a, class_b))
        return Counterfactuals(class_a, class_b, class_a, class_b, *shown)

    return replace(stream, counterfactuals=pairs)


def test_preferences_over_scene_pairs_are_counted(toy_stream, toy_base):
    stream = with_scenes(toy_stream)
    one = run(stream, toy_base, lr=2e-3)
    record, _ = one.execute()
    (developed,) = rounds.develop([one])
    holds, items = {"old": 0, "new": 0, "both": 0}, 0
    for pairs in stream.scene_pairs[0]:
        for k in range(len(pairs)):
            items += 1
            own = {}
            for which, model in (("old", toy_base), ("new", developed.model)):
                logits = predict_logits(model, torch.stack([pairs.images_a[k], pairs.images_b[k]]))
                a, f = (stream.classes.index(name) for name in (pairs.class_a, "f"))
                own[which] = bool(logits[0, a] > logits[0, f] and logits[1, f] > logits[1, a])  # each its own text
            for which in own:
                holds[which] += own[which]
            holds["both"] += own["old"] and own["new"]
    text = record.rounds[0].scene_pairs["text"]
    assert (text.n, text.old_correct, text.new_correct, text.both_correct) == (items, *holds.values())
    assert text.old_correct != text.new_correct, "the new model has learned something"
    assert set(record.rounds[0].scene_pairs) == set(CHANCE)


def test_a_stream_without_counterfactuals_has_no_scene_pairs(toy_stream, toy_base):
    record, _ = run(toy_stream, toy_base, "frozen").execute()
    assert record.rounds[0].scene_pairs == {}
    same, _ = run(with_scenes(toy_stream), toy_base, "frozen").execute()
    counts = same.rounds[0].scene_pairs.values()
    assert counts and all(own.old_correct == own.new_correct == own.both_correct for own in counts)
    assert same.run_id == record.run_id and same.rounds[0].test == record.rounds[0].test


def test_the_selected_point_is_the_best_on_validation(toy_stream, toy_base):
    record, _ = run(toy_stream, toy_base, steps=12, lr=2e-3).execute()
    (result,) = record.rounds
    assert [c.step for c in result.checkpoints] == [3, 6, 9, 12] and len(result.checkpoints) == EVALUATIONS
    best = max(result.checkpoints, key=lambda c: (min(c.devsafety, 0), c.target_accuracy))
    assert result.selected_step == best.step
    assert result.val["f"].counts.new_accuracy == best.target_accuracy  # the weights went back to that point


@pytest.mark.parametrize("name", ["finetune+wise-ft", "finetune+soup", "uwm"])
def test_what_a_method_proposes_is_chosen_on_validation_by_the_same_rule(name, toy_stream, toy_base):
    strategy = methods.load(name)
    chosen = strategy.SETTINGS(**({"steps": 8, "lr": 2e-3} if strategy.trains else {}))
    record, table = Run(toy_stream, toy_base, INFO, name, strategy, chosen).execute()
    (result,) = record.rounds
    assert len(result.checkpoints) > 1 and all(c.candidate for c in result.checkpoints)  # none along the training
    best = max(result.checkpoints, key=lambda c: (min(c.devsafety, 0), c.target_accuracy))
    assert result.selected == best.candidate
    assert result.val["f"].counts.new_accuracy == best.target_accuracy  # these weights were put back
    assert recompute(record, table) == []


def test_a_loss_that_is_not_finite_ends_a_run_that_would_propose(toy_stream, toy_base):
    strategy = methods.load("finetune+wise-ft")
    settings = strategy.SETTINGS(steps=8, lr=1.0, weight_decay=1e30)
    record, _ = Run(toy_stream, toy_base, INFO, "finetune+wise-ft", strategy, settings).execute()
    assert record.status == "diverged" and record.rounds == ()


def test_a_proposed_model_that_is_not_finite_is_never_kept(toy_stream, toy_base):
    class Spoils(methods.load("finetune+wise-ft")):
        def propose(self, score):
            for parameter in self.model.parameters():
                parameter.data.fill_(float("nan"))
            score("nothing")
            self.weight_space.propose(self, score)

    record, _ = Run(toy_stream, toy_base, INFO, "spoils", Spoils, Spoils.SETTINGS(steps=4)).execute()
    assert record.status == "complete" and record.rounds[0].selected.startswith("coefficient")


def test_test_images_decide_nothing(toy_stream, toy_base):
    """With other test images, every choice and every weight stays the same."""
    data = toy_stream.data[0]
    noise = torch.randint(0, 256, data.test.images.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    other = replace(toy_stream, data=(replace(data, test=LabelledImages(noise, data.test.labels)),))
    (one, _), (two, _) = run(toy_stream, toy_base).execute(), run(other, toy_base).execute()
    assert one.rounds[0].test != two.rounds[0].test
    assert one.rounds[0].losses == two.rounds[0].losses and one.rounds[0].val == two.rounds[0].val
    assert one.rounds[0].selected_step == two.rounds[0].selected_step
    assert one.run_id != two.run_id


def test_each_round_is_compared_with_the_one_before(toy_base):
    stream = make_toy_stream(0, rounds=2)
    record, table = run(stream, toy_base).execute()
    first, second = (table[(table["round"] == r) & (table["split"] == "test")].reset_index() for r in (0, 1))
    assert (second["old"] == first["new"]).all()
    assert [r.target for r in record.rounds] == ["f", "e"] and "f" in record.rounds[1].test


def test_a_run_that_diverges_is_recorded_so_and_not_scored(toy_stream, toy_base):
    record, table = run(toy_stream, toy_base, "finetune", lr=1.0, weight_decay=1e30).execute()
    assert record.status == "diverged" and "step" in record.message
    assert record.rounds == () and table.empty


@pytest.mark.parametrize("change", [{"lr": 1e-4}, {"beta": 1.0}, {"steps": 9}], ids=["lr", "beta", "steps"])
def test_settings_and_seed_name_the_run(toy_stream, toy_base, change):
    base = run(toy_stream, toy_base).run_id
    assert base == run(toy_stream, toy_base).run_id
    assert base != run(toy_stream, toy_base, **change).run_id
    assert base != run(make_toy_stream(1), toy_base).run_id


def test_losses_are_of_every_step(toy_stream, toy_base):
    record, _ = run(toy_stream, toy_base).execute()
    assert len(record.rounds[0].losses) == MDSSettings(steps=8).steps


def test_a_record_keeps_the_constraints_of_a_method_that_has_some(toy_stream, toy_base):
    """Before the first step nothing has changed, so nothing is violated; then the averages move."""
    constraints = run(toy_stream, toy_base).execute()[0].rounds[0].constraints
    assert constraints is not None and constraints.steps == tuple(range(1, 9))
    assert set(constraints.violations) == set(toy_stream.rounds[0].protected)
    first, last = (torch.tensor([values[k] for values in constraints.violations.values()]) for k in (0, -1))
    assert first.abs().max() < 1e-4 and last.abs().min() > 1e-4
    assert run(toy_stream, toy_base, "finetune").execute()[0].rounds[0].constraints is None


def test_a_record_names_the_versions_of_all_packages_that_its_method_needs(toy_stream, toy_base):
    pytest.importorskip("cooper")
    packages = {
        method: run(toy_stream, toy_base, method, steps=1).execute()[0].environment.packages
        for method in ("mds", "primal-dual")
    }
    assert packages["primal-dual"] == packages["mds"] | {"cooper-optim": version("cooper-optim")}


def test_a_method_is_not_given_what_is_known_of_test_images(toy_stream, toy_base):
    met: list[bool] = []

    class Looks(methods.load("finetune")):
        def round_loss(self, logits, labels):
            kept, waiting = {}, [vars(self)]
            while waiting:
                value = waiting.pop()
                if id(value) not in kept and not isinstance(value, type):
                    kept[id(value)] = value
                    parts = (
                        value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
                    )
                    waiting += [*parts, *getattr(value, "__dict__", {}).values()]
            met.append(id(hidden) in kept)
            assert id(shown) in kept
            return super().round_loss(logits, labels)

    one = Run(toy_stream, toy_base, INFO, "looks", Looks, Looks.SETTINGS(steps=1))
    shown, hidden = (one.old(toy_base, 0, split) for split in ("val", "test"))
    one.execute()
    assert met == [False]
