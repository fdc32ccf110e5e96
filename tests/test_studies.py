"""The studies' tables are what their records say, and the pages show these tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmark.records.schema import BaseInfo
from benchmark.running.tuning import Outcome, Trial, Tuning
from results.studies.budget import report as protected_images
from results.studies.certificate import report as certificate
from results.studies.mds import report
from results.studies.photographs import means, order
from results.studies.strictness import figure
from results.studies.tuning import report as budgets
from tests import ROOT


def test_the_page_shows_the_tables():
    page = report.PAGE.read_text(encoding="utf-8")
    for name in ("effects.md", "path.md", "slack.md"):
        assert (report.HERE / name).read_text(encoding="utf-8") in page, "run: python -m results.studies.mds.report"


def test_the_page_shows_the_order_of_methods_on_photographs(capsys):
    order.main()
    page = (ROOT / "docs/real-data.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out.split("\n\n")[0] in page, "run: python -m results.studies.photographs.order"


@pytest.mark.slow
def test_the_tables_follow_from_the_records():
    path = report.path_runs(report.read_path())
    made = report.tables(report.effects_table(report.read_runs(), path), path)
    for name, text in made.items():
        assert (report.HERE / name).read_text(encoding="utf-8") == text, "run: python -m results.studies.mds.report"


def test_every_run_is_of_a_seed_that_was_not_looked_at_before():
    assert set(report.read_path()["seed"]) == set(report.SEEDS)


def test_stepping_back_is_read_off_the_line():
    """On the line itself nothing is above it; beyond its end nothing is said."""
    path = pd.DataFrame(
        {"model": ["coefficient 0.5", "coefficient 1"], "seed": 5, "coefficient": [0.5, 1.0]}
        | {"gain": [0.1, 0.3], "devsafety": [-0.01, -0.05], "mean": [0.0, -0.02]}
    )
    line = report.stepping_back(path, "devsafety")
    assert line(pd.Series([0.0, 0.05, 0.1, 0.2, 0.3])).tolist() == pytest.approx([0.0, -0.005, -0.01, -0.03, -0.05])
    assert np.isnan(line(pd.Series([0.31]))).all()
    above = report.above_the_line(path.assign(devsafety=path["devsafety"] + 0.02), path)
    assert above["devsafety_above"].tolist() == pytest.approx([0.02, 0.02])


def test_paired_differences_have_the_interval_of_student():
    """Against scipy's own interval of a paired test."""
    from scipy.stats import ttest_rel

    one, two = np.array([0.1, 0.4, 0.3, 0.2]), np.array([0.0, 0.1, 0.1, 0.3])
    mean, half = report.paired(pd.Series(one - two))
    low, high = ttest_rel(one, two).confidence_interval(0.95)
    assert (mean - half, mean + half) == pytest.approx((low, high))
    assert np.isnan(report.paired(pd.Series([0.1, 0.2]))).all()


def test_the_figure_of_strictness_agrees_with_the_plan():
    """5 classes, 800 images, 6 % of predictions flip: the luck rate is 4.14 %, and 56.2 % with a gain of a point."""
    five = figure.gains().query("classes == '5'").set_index("gain")["strict"]
    assert five.iloc[(five.index - 0.0).to_series().abs().argmin()] == pytest.approx(4.14, abs=0.01)
    assert five.iloc[(five.index - 1.0).to_series().abs().argmin()] == pytest.approx(56.2, abs=0.1)


def test_the_pages_show_what_methods_do_on_photographs():
    board = pd.read_csv(order.RESULTS / "photographs" / "leaderboard.csv")
    for page, table in ("README.md", means.own(board)), ("docs/real-data.md", means.signs(board)):
        assert table in (ROOT / page).read_text(encoding="utf-8"), "run: python -m results.studies.photographs.means"


def test_a_certificate_is_wrong_where_a_class_truly_lost_what_it_was_certified_not_to():
    """Two runs of two updates that all look safe; one of them truly loses 1.5 points."""
    held, fresh = {"held_lost": 10, "held_won": 60, "held_n": 1000}, {"fresh_n": 8000, "fresh_won": 100}
    rows = [
        {"seed": seed, "coefficient": coefficient, "class": name, **held, **fresh, "fresh_lost": lost}
        for seed, coefficient, lost in ((1, 0.1, 50), (1, 0.2, 220), (2, 0.1, 50), (2, 0.2, 50))
        for name in ("clear", "rainy")
    ]
    any_loss, one_point, two_points, *_ = certificate.table(pd.DataFrame(rows)).splitlines()[2:]
    assert any_loss.split(" | ")[1:4] == one_point.split(" | ")[1:4] == ["2", "1", "1"]
    assert any_loss.split(" | ")[-2:] == one_point.split(" | ")[-2:] == ["3", "3 |"]
    assert two_points.split(" | ")[1:4] == ["2", "0", "0"] and two_points.split(" | ")[-2:] == ["4", "4 |"]


def test_the_page_shows_how_often_a_certificate_was_wrong():
    updates = pd.read_csv(certificate.FILE)
    assert sorted(set(updates["seed"])) == list(range(200, 260)), "run: python -m results.studies.certificate.run"
    page = (ROOT / "docs/certified.md").read_text(encoding="utf-8")
    for told in certificate.table(updates), certificate.worst(updates):
        assert told in page, "run: python -m results.studies.certificate.report"


def test_orders_of_settings_are_compared_setting_by_setting():
    """Of three settings the quick search likes the last best and the full one the first; a fourth was tried in one."""
    quick, full = (
        Tuning(
            scenario=name,
            fingerprint="",
            method="mds",
            version=1,
            base=BaseInfo(name="b", sha256="0" * 64, model="m"),
            seeds=(1000,),
            margin=0.02,
            trials=trials,
        )
        for name, trials in (
            ("quick", [tried(beta, gain, 0.0) for beta, gain in ((1, 0.1), (2, 0.2), (3, 0.3))]),
            ("full", [tried(beta, gain, 0.0) for beta, gain in ((4, 0.9), (3, 0.1), (2, 0.2), (1, 0.3))]),
        )
    )
    name, gain, _, rule = budgets.alike(quick, full)
    assert (name, gain, rule) == ("`mds`", "−1.00", "−1.00")
    assert [row[1:4:2] for row in budgets.trials(quick, full)] == [
        ["beta: 1", "0.0"], ["beta: 2", "0.0"], ["beta: 3", "**0.0**"],
    ]  # fmt: skip


def tried(beta: int, gain: float, devsafety: float) -> Trial:
    return Trial(
        settings={"beta": beta}, outcomes=(Outcome(seed=1000, round=0, target_gain=gain, devsafety=devsafety),)
    )


def test_the_page_shows_whether_a_search_in_quick_says_what_one_in_full_would(capsys):
    assert len(budgets.searched_in_both()) >= 3
    budgets.main()
    page = (ROOT / "docs/driving.md").read_text(encoding="utf-8")
    for table in capsys.readouterr().out.strip().split("\n\n"):
        assert table in page, "run: python -m results.studies.tuning.report"


def test_the_page_shows_what_protected_images_buy():
    runs = protected_images.read_runs()
    table = protected_images.to_markdown(protected_images.cells(runs))
    for page in (protected_images.HERE / "budget.md", protected_images.PAGE):
        assert table in page.read_text(encoding="utf-8"), "run: python -m results.studies.budget.report"
    whole = runs.groupby(["method", "images"])["seed"].apply(frozenset)
    assert len(whole) == len(protected_images.METHODS) * len(protected_images.BUDGETS) and len(set(whole)) == 1


def test_a_cell_of_protected_images_is_a_mean_over_seeds():
    runs = pd.DataFrame(
        {"method": "mds", "images": 400, "seed": [0, 1], "strict": [True, False], "gain": [0.2, 0.4]}
        | {"devsafety": [0.0, -0.02], "mean": [0.01, 0.0]}
    )
    text = protected_images.to_markdown(protected_images.cells(runs))
    assert "| mds | 400 | 96 | 1/2 | +10.0 | +16.7 | +30.0 | −1.0 | +0.5 |" in text
