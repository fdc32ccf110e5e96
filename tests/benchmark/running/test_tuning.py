"""The search for hyper-parameters: equal budgets, validation alone, resumable, and a rule that prefers safety."""

from __future__ import annotations

import dataclasses
import io
import math
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from benchmark.metrics.tolerance import tolerant_gain
from benchmark.records import tuned
from benchmark.records.schema import BaseInfo
from benchmark.running import tuning
from benchmark.running.runner import Run
from benchmark.running.search import search
from benchmark.running.tuning import Outcome, Trial, Tuning, candidates, rank
from methods.finetune import Finetune, FinetuneSettings
from scenarios.stream import LabelledImages
from tests.conftest import make_toy_stream

INFO = BaseInfo(name="toy", sha256="0" * 64, model="mds-tiny")


class Quick(FinetuneSettings):
    """Four steps, and two axes to search."""

    steps: int = 4
    GRID: ClassVar = {"lr": (3e-5, 3e-4, 1e-2), "warmup": (0.0, 0.3)}


class Quickly(Finetune):
    """Fine-tuning in four steps."""

    SETTINGS = Quick


def runs(base, seeds=(7, 8), **changes) -> list[Run]:
    streams = [dataclasses.replace(make_toy_stream(seed), **changes) for seed in seeds]
    return [Run(stream, base, INFO, "quickly", Quickly, Quick()) for stream in streams]


def trial(gain: float, safety: float) -> Trial:
    return Trial(settings={}, outcomes=(Outcome(seed=1, round=0, target_gain=gain, devsafety=safety),))


def test_the_defaults_come_first_and_every_point_of_the_grid_once():
    points = candidates(Quick(), 100, "a method")
    assert points[0] == {} and len(points) == 6
    whole = [Quick(**point) for point in points]
    assert len({(s.lr, s.warmup) for s in whole}) == 6


@given(st.integers(1, 6), st.integers(1, 6))
def test_a_larger_budget_goes_on_where_a_smaller_one_ended(small, large):
    small, large = sorted((small, large))
    assert candidates(Quick(), large, "a method")[:small] == candidates(Quick(), small, "a method")


def test_what_is_gained_for_losses_that_can_be_accepted_comes_first_then_safety():
    """A loss counts from the noise on: of 6 points 2 are noise, and 4 more than the 3 that are accepted."""
    ordered = [trial(0.9, -0.5), trial(-0.1, -0.06), trial(0.9, -0.06), trial(0.1, -0.01), trial(0.3, -0.03)]
    assert sorted(ordered, key=lambda t: rank(t, margin=0.02)) == ordered
    assert rank(trial(0.3, 0.5), 0.06) == rank(trial(0.3, 0.0), 0.06)  # more safety than needed earns nothing
    assert rank(Trial(settings={}, outcomes=()), 0.06) < rank(trial(-1, -1), 0.06)  # a diverged one is the worst


@given(st.floats(0, 1), st.floats(-1, 1), st.floats(0, 0.1))
def test_without_noise_it_is_the_tolerant_gain(gain, safety, margin):
    assert tuning.forgiven_gain(trial(gain, safety), 0) == tolerant_gain([(gain, safety)])
    assert tuning.forgiven_gain(trial(gain, safety), margin) >= tuning.forgiven_gain(trial(gain, safety), 0)


def test_a_trial_that_harms_the_target_is_not_chosen_for_its_safety():
    """Plain MDS with β 2000 in the quick budget loses on the target, and a hair less than the default elsewhere."""
    harmful, usual = trial(-0.03, -0.024), trial(0.176, -0.025)
    assert rank(usual, margin=0.0245) > rank(harmful, margin=0.0245)


def test_the_margin_is_the_noise_of_a_class_that_did_not_change():
    rng = torch.Generator().manual_seed(0)
    images, rounds = 300, 20_000
    flips = torch.rand(rounds, images, generator=rng) < tuning.FLIPS
    signs = torch.randint(0, 2, (rounds, images), generator=rng) * 2 - 1
    changes = (flips * signs).sum(1) / images
    assert tuning.noise_margin(images) == pytest.approx(2 * changes.std().item(), rel=0.02)


def test_a_search_keeps_every_trial_and_goes_on_where_it_was(toy_base, tmp_path):
    first = search(runs(toy_base), 1, tmp_path)
    (file,) = tmp_path.rglob("*.json")
    assert tuning.read(file) == first and len(first.trials) == 1
    assert [o.seed for o in first.trials[0].outcomes] == [7, 8]
    made = []
    second = search(runs(toy_base), 3, tmp_path, lambda done, total: made.append((done, total)))
    assert second.trials[0] == first.trials[0] and len(second.trials) == 3 and made[-1] == (3, 3)
    before = file.stat().st_mtime_ns
    assert search(runs(toy_base), 3, tmp_path) == second and file.stat().st_mtime_ns == before
    assert tuning.collect(tmp_path) == {"toy": {"quickly": second.chosen.settings}}


def test_a_method_that_is_another_in_a_first_round_is_searched_as_that(toy_base, tmp_path):
    class Alike(Quickly):
        """The same, by another name."""

        SEARCHED_AS = "quickly"

    alike = [dataclasses.replace(run, method="alike", strategy=Alike) for run in runs(toy_base)]
    trials = {s.method: s.trials for s in (search(runs(toy_base), 3, tmp_path), search(alike, 3, tmp_path))}
    assert trials["alike"] == trials["quickly"]
    other = [dataclasses.replace(run, method="other") for run in runs(toy_base)]
    assert [t.settings for t in search(other, 3, tmp_path).trials] != [t.settings for t in trials["quickly"]]


def test_an_interrupted_search_loses_one_trial_at_most(toy_base, tmp_path, monkeypatch):
    trainings = []
    prepare = Quickly.prepare_round

    def interrupted(strategy):
        trainings.append(strategy)
        if len(trainings) == 6:
            raise KeyboardInterrupt
        prepare(strategy)

    monkeypatch.setattr(Quickly, "prepare_round", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search(runs(toy_base), 6, tmp_path)
    (file,) = tmp_path.rglob("*.json")
    assert len(tuning.read(file).trials) == 2  # of the five trainings before, two seeds each
    monkeypatch.undo()
    assert search(runs(toy_base), 6, tmp_path) == search(runs(toy_base), 6, tmp_path / "whole")


@pytest.mark.parametrize("differing", ["seeds", "base", "code", "method"])
def test_another_search_is_not_written_over(toy_base, tmp_path, differing):
    search([dataclasses.replace(run, method="my/own.py:M") for run in runs(toy_base)], 1, tmp_path)
    (file,) = tmp_path.rglob("*.json")
    before = file.read_bytes()
    changes = {
        "base": {"base_info": INFO.model_copy(update={"sha256": "1" * 64})},
        "code": {"strategy": type("Quickly", (Quickly,), {"CODE": "other"})},
        "method": {"method": "my_own.py:M"},  # in the same file
    }.get(differing, {})
    others = runs(toy_base, seeds=(7, 9) if differing == "seeds" else (7, 8))
    others = [dataclasses.replace(run, **{"method": "my/own.py:M"} | changes) for run in others]
    message = rf"my_own\.py_M\.json: holds another search, which differs in {differing}: delete it, .*--results"
    with pytest.raises(ValueError, match=message):
        search(others, 2, tmp_path)
    assert file.read_bytes() == before
    file.unlink()
    assert len(search(others, 1, tmp_path).trials) == 1


def test_methods_of_a_command_do_not_share_a_file(toys):
    for file in ("my/own.py", "my_own.py"):
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).write_text("from methods.finetune import Finetune as M\n")
    code, _, err = toys("tune", "-m", "my/own.py:M,my_own.py:M", "-s", "toy", "--base", "toy.safetensors", "--quiet")
    told = "error: --method my/own.py:M, my_own.py:M: both are kept in runs/tuning/toy/my_own.py_M.json: "
    assert code == 2 and err.startswith(told) and "--results" in err and not Path("runs/tuning").exists()


def test_test_images_decide_nothing(toy_base, tmp_path):
    noise = torch.Generator().manual_seed(0)

    def spoiled(data):
        images = torch.randint(0, 256, data.test.images.shape, dtype=torch.uint8, generator=noise)
        return dataclasses.replace(data, test=LabelledImages(images, data.test.labels))

    usual = search(runs(toy_base), 2, tmp_path / "a")
    stream = make_toy_stream(7)
    other = search(runs(toy_base, data=tuple(map(spoiled, stream.data))), 2, tmp_path / "b")
    assert [t.outcomes[0] for t in other.trials] == [t.outcomes[0] for t in usual.trials]


def test_a_diverged_trial_is_kept_and_not_chosen(toy_base, tmp_path, monkeypatch):
    monkeypatch.setitem(Quickly.SETTINGS.GRID, "lr", (3e-5, 1.0))
    monkeypatch.setitem(Quickly.SETTINGS.GRID, "warmup", (0.3,))
    monkeypatch.setitem(Quickly.SETTINGS.GRID, "weight_decay", (1e30,))
    found = search(runs(toy_base, seeds=(7,)), 3, tmp_path)
    diverged = [t for t in found.trials if not t.outcomes]
    assert diverged and found.chosen.outcomes
    assert all(math.isinf(t.target_gain) for t in diverged)


@pytest.mark.parametrize(
    ("trials", "said"),
    [
        ([trial(0.1, -0.5), trial(0.1, -0.2)], "the safest, as none has a tolerant gain, 6.0 points of"),
        ([trial(0.1, -0.5), trial(0.1, -0.05)], "the greatest tolerant gain, 6.0 points of each loss"),
        ([Trial(settings={}, outcomes=())], "none was chosen: every trial diverged"),
    ],
)
def test_the_table_says_why_a_trial_was_chosen(trials, said):
    shown = Console(file=io.StringIO(), width=100)
    found = Tuning(
        scenario="toy", fingerprint="", method="quickly", version=1, base=INFO, seeds=(1,), margin=0.06, trials=trials
    )
    tuning.print_trials(found, shown)
    assert said in shown.file.getvalue()


def test_an_unreadable_file_is_named(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"x\.json.*delete it"):
        tuning.read(path)


@pytest.fixture
def settings_file(tmp_path, monkeypatch):
    """The package's file of settings in a checkout, and a cache of the test's own."""
    monkeypatch.setenv("MDS_BENCH_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "package" / "tuned.json"
    file.parent.mkdir()
    file.write_bytes(tuned.as_bytes({"driving-foggy": {"ewc": {"strength": 2}, "finetune": {"lr": 1e-3}}}))
    monkeypatch.setattr(tuned, "FILE", file)
    tuned._package.cache_clear()
    yield file
    monkeypatch.undo()
    tuned._package.cache_clear()


def keep(results, method, settings, scenario="driving-foggy", **fields):
    """A search that chose ``settings``."""
    outcomes = fields.pop("outcomes", (Outcome(seed=1, round=0, target_gain=0.5, devsafety=0),))
    found = tuning.Tuning(
        scenario=scenario,
        fingerprint="",
        method=method,
        version=fields.pop("version", 1),
        base=INFO,
        seeds=(1,),
        margin=0.1,
        trials=(Trial(settings=settings, outcomes=outcomes),),
        **fields,
    )
    path = tuning.path_of(results, scenario, method)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(found.model_dump_json())


def test_adopting_keeps_the_others_and_says_what_changes(settings_file, tmp_path, capsys):
    keep(tmp_path / "r", "finetune", {"lr": 1e-4})
    keep(tmp_path / "r", "mds", {}, scenario="places-mini")
    tuning.adopt(tmp_path / "r")
    assert tuned.tuned("driving-foggy", "ewc") == {"strength": 2}
    assert tuned.tuned("driving-foggy", "finetune") == {"lr": 1e-4}
    assert capsys.readouterr().out.splitlines() == [
        "driving-foggy finetune: lr=0.001 → lr=0.0001",
        "places-mini mds: not tuned → defaults",
        f"settings: {settings_file} (2 changed, 0 as before, all others kept)",
    ]
    before = settings_file.read_bytes()
    tuning.adopt(tmp_path / "r")
    assert "0 changed, 2 as before" in capsys.readouterr().out and settings_file.read_bytes() == before


def test_a_full_budget_without_a_search_takes_what_was_chosen_for_the_quick_one(settings_file, tmp_path):
    assert tuned.tuned("driving-foggy-full", "ewc") == tuned.published("driving-foggy-full", "ewc") == {"strength": 2}
    assert tuned.tuned("driving-foggy-full", "mds") == {} == tuned.published("places-mini-full", "ewc")
    keep(tmp_path / "r", "ewc", {}, scenario="driving-foggy-full")  # the defaults are a choice, too
    tuning.adopt(tmp_path / "r")
    assert tuned.tuned("driving-foggy-full", "ewc") == {} != tuned.tuned("driving-foggy", "ewc")


def test_a_stream_without_a_search_takes_what_was_chosen_for_one_like_it(settings_file, tmp_path):
    for stream in ("driving-tunnel", "driving-tunnel-full", "driving-rounds"):
        assert tuned.tuned(stream, "ewc") == tuned.published(stream, "ewc") == {"strength": 2}
    assert tuned.tuned("places-mini", "ewc") == tuned.tuned("nobody-knows-it", "ewc") == {}
    keep(tmp_path / "r", "ewc", {"strength": 3}, scenario="driving-tunnel")
    tuning.adopt(tmp_path / "r")
    assert tuned.tuned("driving-tunnel-full", "ewc") == {"strength": 3} != tuned.tuned("driving-rounds", "ewc")


def test_a_plugin_without_a_search_takes_what_was_chosen_for_its_training(settings_file, tmp_path):
    for stream in ("driving-foggy", "driving-foggy-full", "driving-tunnel"):
        assert tuned.tuned(stream, "ewc+balanced") == tuned.published(stream, "ewc+balanced") == {"strength": 2}
    assert tuned.tuned("driving-foggy", "replay+balanced") == {}
    keep(tmp_path / "r", "ewc+balanced", {"strength": 3})
    keep(tmp_path / "r", "ewc", {"strength": 4}, scenario="driving-foggy-full")
    tuning.adopt(tmp_path / "r")
    assert tuned.tuned("driving-foggy-full", "ewc+balanced") == {"strength": 3}  # its own, though of another budget
    assert tuned.tuned("driving-foggy-full", "ewc+certified") == {"strength": 4}


def test_an_installed_package_is_not_written_to(settings_file, tmp_path, monkeypatch, capsys):
    before = settings_file.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(tuned, "INSTALLED", {"package"})
        keep(tmp_path / "r", "finetune", {"lr": 1e-4})
        tuning.adopt(tmp_path / "r")
    assert str(tuned.user_file()) in capsys.readouterr().out and settings_file.read_bytes() == before
    assert tuned.tuned("driving-foggy", "finetune") == {"lr": 1e-4}  # the user's choice goes before
    assert tuned.tuned("driving-foggy", "ewc") == {"strength": 2}
    keep(tmp_path / "r", "finetune", {"lr": 1e-5})
    tuning.adopt(tmp_path / "r")  # in a checkout: what is adopted last counts
    assert tuned.tuned("driving-foggy", "finetune") == {"lr": 1e-5}
    tuned.user_file().write_text("[1]")
    with pytest.raises(ValueError, match=r"tuned\.json: holds no settings"):
        tuned.tuned("driving-foggy", "finetune")


def test_searches_on_other_sizes_and_diverged_ones_are_not_adopted(settings_file, tmp_path):
    before = settings_file.read_bytes()
    keep(tmp_path / "r", "finetune", {"lr": 1e-4}, options={"test_per_class": 20})
    with pytest.raises(ValueError, match=r'finetune\.json: was a search on .*"test_per_class": 20'):
        tuning.adopt(tmp_path / "r")
    keep(tmp_path / "r", "finetune", {"lr": 1e-4}, outcomes=())
    with pytest.raises(ValueError, match="holds no searches that chose settings"):
        tuning.adopt(tmp_path / "r")
    assert settings_file.read_bytes() == before


@pytest.mark.parametrize(
    ("method", "settings", "version", "message"),
    [
        ("finetune", {"lr": 1e-4}, 9, "was a search of version 9 of finetune, which is at 1 now"),
        ("finetune", {"learning_rate": 1e-4}, 1, "settings: method finetune has no setting 'learning_rate': .*"),
        ("finetune", {"lr": 7}, 1, "settings lr=7: input should be less than or equal to 1"),
        ("finetunes", {}, 1, "unknown method 'finetunes': did you mean 'finetune'.*"),
    ],
)
def test_a_search_that_no_run_could_start_from_is_not_adopted(
    settings_file, tmp_path, method, settings, version, message
):
    before = settings_file.read_bytes()
    keep(tmp_path / "r", "ewc", {"strength": 3})
    keep(tmp_path / "r", method, settings, version=version)
    with pytest.raises(ValueError, match=rf"{method}\.json: {message}; delete it and tune again$"):
        tuning.adopt(tmp_path / "r")
    assert settings_file.read_bytes() == before


def test_a_search_knows_the_options_that_are_not_defaults(toy_base, tmp_path):
    known = {"image_size": 64, "protected_per_class": 1000, "external": False, "test_per_class": 20}
    changed = {"name": "bdd100k-foggy", "options": known}
    found = search(runs(toy_base, seeds=(7,), **changed), 1, tmp_path / "changed")
    assert found.options == {"test_per_class": 20}
    usual = runs(toy_base, seeds=(7,), name="bdd100k-foggy", options=known | {"test_per_class": None})
    assert search(usual, 1, tmp_path / "usual").options == {}
    with pytest.raises(ValueError, match="differs in options"):
        search(usual, 1, tmp_path / "changed")
