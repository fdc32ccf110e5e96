"""The calibration table: what it measures, what it calls out of range, and that the committed one is the records'."""

from __future__ import annotations

import pytest

from benchmark.catalogue import calibration
from benchmark.catalogue.calibration import Row, measure
from benchmark.records.files import read_all
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


def test_the_command_prints_and_writes_the_table(monkeypatch, capsys, tmp_path):
    made = {
        "frozen": [record("frozen", 0, (0, 0, 0))],
        "finetune": [record("finetune", 0, (40, -30, 0))],
        "joint": [record("joint", 0, (30, 5, 5))],
    }
    monkeypatch.setattr(calibration, "make_records", lambda request, reporter: made[request.method])
    calibration.run(["driving"], (0,), "cpu", tmp_path, tmp_path / "table.md")
    assert "clear" in capsys.readouterr().out.replace("\n", "")
    assert "| driving | 1: foggy |" in (tmp_path / "table.md").read_text()


def test_the_table_in_the_docs_is_that_of_the_committed_records():
    made = calibration.untuned(read_all(ROOT / "results"))
    streams = list(dict.fromkeys(r.scenario.name for r in made))
    rows = [row for name in streams for row in measure([r for r in made if r.scenario.name == name])]
    shown = (ROOT / "docs" / "calibration.md").read_text()
    assert sorted(calibration.to_markdown(rows).splitlines()) == sorted(shown.splitlines()), (
        "run: python -m benchmark calibrate --results results --out docs/calibration.md"
    )
