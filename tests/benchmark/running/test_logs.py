"""What TensorBoard reads of a run is what its record says, and the run is what it would be without."""

from __future__ import annotations

import copy
import io
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import methods
from benchmark.output.files import check_writable
from benchmark.running import logs
from benchmark.running.development import develop_round
from benchmark.running.selection import Selection
from methods.suspension import restore, suspend
from tests.benchmark.running.test_runner import run

STEPS = 8


def logged(name: str, stream, base, folder: Path, between=None, **settings):
    """The round of a method with a log, from the base, and its selection."""
    strategy = methods.load(name)
    chosen = strategy.SETTINGS(**({"steps": STEPS, "lr": 3e-4} | settings if strategy.trains else {}))
    old = run(stream, base).old(base, 0, "val")
    selection = Selection(stream.data[0].val, old, stream.rounds[0], stream.classes, chosen.steps)
    plugins, access = [selection, logs.RoundLog(folder, selection)], methods.access(name)
    model = copy.deepcopy(base)
    developed = develop_round(strategy, model, base, stream, 0, chosen, access, plugins=plugins, between_steps=between)
    return developed, selection


def curves(folder: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard would draw: name -> step -> value, each step once."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    found = {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}
    assert all(len(dict(points)) == len(points) for points in found.values())
    return {name: dict(points) for name, points in found.items()}


def single(values) -> list[float]:
    """As events hold them, in single precision."""
    return torch.tensor(list(values), dtype=torch.float32).tolist()


@pytest.mark.parametrize(("name", "beta"), [("mds", 50.0), ("mds-l1", 5.0)])
def test_curves_are_those_of_the_record_of_the_same_run_without_a_log(name, beta, toy_stream, toy_base, tmp_path):
    record, _ = run(toy_stream, toy_base, name, beta=beta).execute()
    (result,) = record.rounds
    strategy, selection = logged(name, toy_stream, toy_base, tmp_path, beta=beta)
    found = curves(tmp_path)
    assert list(found["loss"].values()) == single(result.losses) and list(found["loss"]) == list(range(1, STEPS + 1))
    constraints, tau = result.constraints, strategy.settings.tau
    for k, c in enumerate(result.protected):
        own = found[f"constraint/{c}"]
        assert [own[step] for step in constraints.steps] == pytest.approx(constraints.violations[c], abs=1e-5)
        for step, u in own.items():
            wanted = beta * tau * (max(u, 0.0) if name == "mds" else float(u > 0))
            assert found[f"multiplier/{c}"][step] == pytest.approx(wanted, rel=1e-5, abs=1e-9)
        assert u == float(strategy.violations[-1][k])
    assert max(max(found[f"multiplier/{c}"].values()) for c in result.protected) > 0
    steps, points = [point.step for point in result.checkpoints], result.checkpoints
    accuracies, safeties = (single(getattr(p, name) for p in points) for name in ("target_accuracy", "devsafety"))
    assert found[f"validation/{result.target}"] == dict(zip(steps, accuracies, strict=True))
    assert found["DevSafety/validation"] == dict(zip(steps, safeties, strict=True))
    last = {c: result.val[c].new_correct / result.val[c].n for c in result.protected}
    assert {c: found[f"validation/{c}"][result.selected_step] for c in last} == pytest.approx(last)
    assert tuple(selection.checkpoints) == result.checkpoints and selection.selected_step == result.selected_step
    assert not any(name.startswith("candidates") for name in found)


def test_learning_rate_is_the_one_that_each_step_is_taken_with(toy_stream, toy_base, tmp_path):
    logged("finetune", toy_stream, toy_base, tmp_path, lr=0.01, warmup=0.25)
    rates = list(curves(tmp_path)["learning rate"].values())
    assert len(rates) == STEPS and rates[:3] == pytest.approx([0.005, 0.01, 0.01]) and rates[-1] < rates[-2] < 0.005


def test_proposed_models_are_numbered_as_in_the_record(toy_stream, toy_base, tmp_path):
    _, selection = logged("finetune+wise-ft", toy_stream, toy_base, tmp_path)
    found = curves(tmp_path)
    accuracies = [point.target_accuracy for point in selection.checkpoints]
    assert len(accuracies) == 10 and selection.checkpoints[0].candidate == "coefficient 0.1"
    assert found[f"candidates/{toy_stream.rounds[0].target}"] == dict(enumerate(single(accuracies), 1))
    assert len(found["loss"]) == STEPS and not any(name.startswith(("validation", "constraint")) for name in found)


def test_a_method_without_steps_has_its_candidates_alone(toy_stream, toy_base, tmp_path):
    _, selection = logged("uwm", toy_stream, toy_base, tmp_path)
    found = curves(tmp_path)
    assert {name.partition("/")[0] for name in found} == {"candidates", "DevSafety"}
    assert len(found["DevSafety/candidates"]) == len(selection.checkpoints)


def test_a_diverged_round_is_written_up_to_where_it_ends(toy_stream, toy_base, tmp_path):
    strategy, selection = logged("finetune", toy_stream, toy_base, tmp_path, t=1e-45)
    assert len(curves(tmp_path)["loss"]) == len(strategy.losses) and selection.counts == [{}] * len(
        selection.checkpoints
    )


def test_constraints_of_many_classes_and_steps_are_thinned(toy_stream, toy_base, tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "PER_CLASS", STEPS * 5 // 3)
    logged("mds", toy_stream, toy_base, tmp_path)
    found = curves(tmp_path)
    assert all(list(found[f"{what}/a"]) == [4, 8] for what in ("constraint", "multiplier"))
    assert len(found["loss"]) == STEPS


class Killed(Exception):
    """The process ends here."""


class Kill:
    """Suspends a training after the third step, and ends it after the fifth."""

    def __init__(self, stream) -> None:
        self.outside, self.file = {"stream": stream, "method": methods.load("mds")}, io.BytesIO()

    def __call__(self, strategy) -> None:
        if len(strategy.losses) == 3:
            suspend(strategy, self.outside, self.file)
        if len(strategy.losses) == 5:
            raise Killed


def test_a_killed_round_has_its_curves_up_to_the_last_point_and_a_resumed_one_has_them_once(
    toy_stream, toy_base, tmp_path
):
    kill = Kill(toy_stream)
    with pytest.raises(Killed):
        logged("mds", toy_stream, toy_base, tmp_path / "killed", between=kill)
    assert list(curves(tmp_path / "killed")["loss"]) == [1, 2, 3, 4]
    kill.file.seek(0)
    restore(kill.file, kill.outside).resume()
    logged("mds", toy_stream, toy_base, tmp_path / "undisturbed")
    assert len(list((tmp_path / "killed").iterdir())) == 2
    assert curves(tmp_path / "killed") == curves(tmp_path / "undisturbed")


def test_an_unwritable_folder_is_told_of_before_any_training(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot write to") as error:
        check_writable(tmp_path / "file" / "logs")
    assert "\n" not in str(error.value)
