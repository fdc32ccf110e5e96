"""The calibration table: what it measures, what it calls out of range, and that the committed one is the records'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmark.catalogue import calibration
from benchmark.catalogue.calibration import Row, measure
from benchmark.records import files
from benchmark.records.files import read_all
from benchmark.records.schema import Record
from benchmark.running.jobs import budget_of
from benchmark.running.tuning import TUNING_SEEDS
from methods import load
from tests import ROOT
from tests.benchmark.example_records import record

GOOD = Row("s", 1, "fog", {"clear": 0.7, "rain": 0.9}, 0.4, (-0.3, -0.25), (0.3, 0.26))


def changed(**values) -> Row:
    return Row(**vars(GOOD) | values)


def test_figures_are_those_of_the_records():
    made = [
        record("frozen", 0, (0, 0, 0)),
        *(record("finetune", seed, (40, -30 + seed, 2)) for seed in (0, 1)),
        *(record("joint", seed, (30 + seed, 1, -4)) for seed in (0, 1)),
        record("mds", 0, (9, 9, 9)),
    ]
    (row,) = measure(made)
    assert (row.scenario, row.number, row.target) == ("driving", 1, "foggy")
    assert row.protected == {"clear": 0.5, "partly cloudy": 0.5} and row.target_accuracy == 0.5
    assert row.forgetting == (-0.30, -0.29) and row.room == (0.30, 0.31)


def test_what_earlier_rounds_taught_is_not_asked_of_the_base():
    made = [record(method, 0, (30, -30, 2), (30, -30, 2)) for method in calibration.METHODS]
    second = made[0].rounds[1].model_copy(update={"target": "clear", "protected": ("foggy", "partly cloudy")})
    made[0] = made[0].model_copy(update={"rounds": (made[0].rounds[0], second)})
    first, later = measure(made)
    assert set(first.protected) == {"clear", "partly cloudy"} and set(later.protected) == {"partly cloudy"}


def test_a_missing_method_is_said():
    with pytest.raises(ValueError, match="there is none of joint"):
        measure([record("frozen", 0, (0, 0, 0)), record("finetune", 0, (1, 1, 1))])


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (GOOD, None),
        (changed(protected={"clear": 0.64, "rain": 0.9}), "clear 64.0%"),
        (changed(protected={"clear": 0.7, "rain": 0.93}), "rain 93.0%"),
        (changed(target_accuracy=0.2), "fog 20.0%"),
        (changed(forgetting=(-0.3, -0.1)), "forgets only 10.0"),
        (changed(forgetting=(-0.3, -0.1), number=2), None),
        (changed(room=(0.3, 0.2)), "gains only 20.0"),
        (changed(protected={str(k): 0.5 if k < 9 else 0.8 for k in range(364)}), None),
        (changed(protected={str(k): 0.5 for k in range(364)}), "mean of the protected classes 50.0%"),
    ],
)
def test_what_is_out_of_range_is_named(row, fault):
    assert row.faults == [] if fault is None else [fault in found for found in row.faults] == [True]
    assert row.cells()[-1] == "ok" if fault is None else fault in row.cells()[-1]


STREAM = "driving-foggy-full"


def made(method: str, seed: int, *rounds: tuple[int, int, int], **settings: Any) -> Record:
    usual = load(method).SETTINGS(**budget_of(load(method), STREAM)).model_dump() | settings
    return record(method, seed, *rounds, scenario={"name": STREAM}, as_method={"settings": usual})


def test_headroom_is_what_a_longer_joint_training_reaches_after_the_last_round():
    found = calibration.headroom(
        [
            made("joint", 1000, (30, 1, 2), (30, 3, 4)),
            made("joint", 1001, (30, 1, 2), (30, 5, 6)),
            made("joint", 1000, (40, 7, 8), (40, 9, 10), steps=4 * 960),
        ]
    )
    assert [(row.name, row.base, row.joint, row.longer) for row in found] == [
        ("clear", 0.5, pytest.approx(0.54), pytest.approx(0.59)),
        ("partly cloudy", 0.5, pytest.approx(0.55), pytest.approx(0.60)),
    ]
    assert found[0].cells() == (STREAM, "clear", "50.0", "54.0", "59.0")


def test_a_longer_run_is_not_among_those_that_calibrate():
    usual = [made("frozen", 0, (0, 0, 0)), made("finetune", 0, (40, -30, 2)), made("joint", 0, (30, 1, 2))]
    (row,) = calibration.rows([*usual, made("joint", 0, (45, 1, 2), steps=4 * 960)])
    assert row.room == (0.30,)


def test_the_command_scores_what_nothing_else_uses_and_writes_both_tables(monkeypatch, command):
    asked = []

    def make(requests, reporter):
        asked.extend(requests)
        return [
            made(name, seed, (30, -30 if name == "finetune" else 2, 1), **request.settings)
            for request in requests
            for name in request.methods
            for seed in request.seeds
        ]

    monkeypatch.setattr(calibration, "make_records", make)
    for name in ("frozen", "finetune", "joint"):
        earlier = made(name, 1000, (30, -30, 1))
        scenario = earlier.scenario.model_copy(update={"name": "driving-tunnel-full", "options": {"scored": "probe"}})
        earlier = earlier.model_copy(update={"scenario": scenario})
        place = files.record_path(Path("runs"), "driving-tunnel-full", name, 1000, earlier.run_id)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(earlier.model_dump_json())
    code, out, err = command("calibrate", "--scenario", STREAM, "--out", "table.md")
    assert code == 0, err
    usual, longer = asked
    assert usual.seeds == (1000, 1001) and longer.seeds == (1000,) and not usual.tuned
    assert usual.options == {"scored": "probe"} and usual.methods == calibration.METHODS
    assert longer.options == {"scored": "probe", "protected_per_class": 8_000} and longer.settings == {"steps": 3_840}
    table = Path("table.md").read_text()
    assert f"| {STREAM} | 1: foggy |" in table and f"| {STREAM} | clear | 50.0 | 52.0 | 52.0 |" in table
    assert "| driving-tunnel-full | 1: foggy |" in table, "other streams of the same folder stay in the page"
    assert "headroom" in out and "driving-tunnel" not in out


def test_the_photos_of_a_data_set_are_named_and_their_validation_is_scored(monkeypatch, command):
    asked = []
    monkeypatch.setattr(calibration, "make_records", lambda requests, reporter: asked.extend(requests) or [])
    Path("signs").mkdir()
    code, _, err = command("calibrate", "--scenario", "gtsrb-pedestrians", "--data", "signs")
    assert code == 0, err
    (request,) = asked
    assert request.options == {"scored": "probe", "data": "signs"}


def test_the_tables_in_the_docs_are_those_of_the_committed_records():
    found = read_all(ROOT / "results" / "calibration")
    assert {r.seed for r in found} <= set(TUNING_SEEDS)
    assert all(r.scenario.options["scored"] == "probe" for r in found)
    shown = (ROOT / "docs" / "calibration.md").read_text()
    wanted = calibration.to_markdown(calibration.rows(found), calibration.headroom(found))
    assert sorted(wanted.splitlines()) == sorted(shown.splitlines()), (
        "run: python -m benchmark calibrate --budget full --results results/calibration --out docs/calibration.md"
    )
