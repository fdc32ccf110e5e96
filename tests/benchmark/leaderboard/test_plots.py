"""Plots: what they say they show, legible, and the same each time."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from benchmark.leaderboard import plots
from benchmark.leaderboard.aggregation import frames
from benchmark.leaderboard.families import family
from benchmark.leaderboard.plots import classes, constraints, drawing, gains, tolerance
from benchmark.leaderboard.plots.groups import named_groups
from benchmark.leaderboard.text import to_markdown
from tests.benchmark.example_records import EXAMPLE, diverged, record, round_of

SVG = "{http://www.w3.org/2000/svg}"
TWO_ROUNDS = [record("mds", seed, (10, 0, 2), (5, -1, -4)) for seed in (0, 1)]


def drawn(runs, folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in plots.write_all(runs, folder)}


def test_the_same_records_give_the_same_bytes(tmp_path):
    runs = [*EXAMPLE, diverged("broken", 0)]
    first = drawn(runs, tmp_path / "a")
    assert list(first) == ["driving-gains.svg", "driving-tolerance.svg", "driving-rates.svg", "driving-classes.svg"]
    assert drawn(list(reversed(runs)), tmp_path / "b") == first
    assert drawn(runs[:-2], tmp_path / "c") != first


def test_plots_of_every_target_have_files_of_their_own(tmp_path):
    targets = ("商店", "客厅", "a/b", "a_b")
    runs = [
        record("mds", seed, (10, 0, 0), scenario={"name": "folder", "options": {"target": target}})
        for target in targets
        for seed in (0, 1)
    ]
    plots.write_all(runs, tmp_path)
    for target in targets:
        path = plots.paths(tmp_path, f"folder: {target}")[0]
        title = ElementTree.parse(path).getroot().findtext(f"{SVG}title", "")
        assert path.parent == tmp_path / "plots" and title.startswith(f"folder: {target}: ")


def test_every_plot_has_a_title_and_its_numbers_in_words(tmp_path):
    for name, text in drawn(EXAMPLE, tmp_path).items():
        root = ElementTree.fromstring(text)
        assert root.get("role") == "img" and root.findtext(f"{SVG}title", "").startswith("driving: "), name
        words = root.findtext(f"{SVG}desc", "")
        assert all(method in words for method in ("frozen", "joint", "naive", "mds"))
    words = drawn(EXAMPLE, tmp_path)["driving-gains.svg"]
    assert "naive +25.0 at −15.0" in words, "gains 30 and 20, DevSafety −10 and −20"


def test_the_curve_tells_what_each_method_gains_at_each_tolerance(tmp_path):
    words = drawn(EXAMPLE, tmp_path)["driving-tolerance.svg"]
    assert "if 0, 1, 2, 3, 5 points may be lost" in words and "its average from 0 to 3" in words
    assert "mds +5.3, +8.0, +8.0, +8.0, +8.0, on average +7.1" in words
    assert "naive 0.0, 0.0, 0.0, 0.0, 0.0, on average 0.0" in words, "it loses 10 and 20 points"


def test_the_curve_has_the_best_of_every_family_and_the_best_of_all():
    gains_ = {f"mds {n}": 30 - n for n in range(8)} | {"ewc": 3, "lwf": 2, "replay": 1, "frozen": 0}
    groups = named_groups([record(name, 0, (gain, 0, 0)) for name, gain in gains_.items()])
    assert list(tolerance.chosen(groups)) == [*(f"mds {n}" for n in range(5)), "ewc", "replay", "frozen"]


def test_ink_turns_light_where_paper_turns_dark(tmp_path):
    for text in drawn(EXAMPLE, tmp_path).values():
        rules = text.split("<style>")[1].split("</style>")[0]
        for light, dark in drawing.DARK.items():
            assert f'[style*="fill: {light}"]{{fill:{dark}!important}}' in rules
        assert f"fill: {drawing.PAPER}" in text and f"fill: {drawing.INK}" in text.split("</style>", 1)[1]
        assert "fill: #000000" not in text and "fill: black" not in text


def test_a_stream_of_rounds_has_a_plot_of_them(tmp_path):
    assert "driving-rounds.svg" in drawn(TWO_ROUNDS, tmp_path)
    assert "mds, DevSafety (points): 0.0, −4.0" in (tmp_path / "plots/driving-rounds.svg").read_text()
    assert "driving-rounds.svg" not in drawn(EXAMPLE, tmp_path)


def test_a_diverged_run_counts_in_plots_as_in_tables(tmp_path):
    words = drawn(
        [*(record("mds", seed, (10, 0, 0)) for seed in (0, 1)), diverged("mds", 2), diverged("mds", 3)], tmp_path
    )
    assert "mds +5.0, +5.0, +5.0" in words["driving-tolerance.svg"], (
        "half of the runs gain 10 points, the others nothing"
    )
    assert "mds 50.0 % [6.8, 93.2]" in words["driving-rates.svg"]
    assert "mds +10.0 at 0.0" in words["driving-gains.svg"], "of what was measured"


def test_methods_that_always_diverge_are_drawn_at_nothing(tmp_path):
    words = drawn([*EXAMPLE, diverged("broken", 0)], tmp_path)
    assert "broken 0.0, 0.0, 0.0" in words["driving-tolerance.svg"] and "broken 0.0 %" in words["driving-rates.svg"]


def test_streams_have_no_plot_in_common(tmp_path):
    runs = [
        one
        for name in ("mine", "mine-rounds")
        for one in [record("mds", 0, (10, 0, 2), (5, -1, 2), scenario={"name": name})]
    ]
    paths = plots.write_all(runs, tmp_path)
    assert len(set(paths)) == len(paths)


def test_the_legend_has_the_classes_of_all_rounds():
    one = record("mds", 0, (10, 0, 2), (5, -1, -4)).model_dump(mode="json")
    for result, name in zip(one["rounds"], ("clear", "partly cloudy"), strict=True):
        result["constraints"] = {"steps": [4, 8], "violations": {name: [0.5, -0.25]}}
    groups = named_groups([type(EXAMPLE[0]).model_validate(one)])
    with drawing.style():
        picture = constraints.draw("driving", groups)
        (legend,) = picture.figure.legends
        assert [text.get_text() for text in legend.get_texts()] == ["clear", "partly cloudy"]
        picture.svg()


def test_constraints_are_drawn_where_a_record_has_them(tmp_path):
    one = record("mds", 0, (10, 0, 2)).model_dump(mode="json")
    one["rounds"][0]["constraints"] = {
        "steps": [4, 8],
        "violations": {"clear": [0.5, -0.25], "partly cloudy": [0, 0.125]},
    }
    kept = type(EXAMPLE[0]).model_validate(one)
    words = drawn([kept], tmp_path)["driving-constraints.svg"]
    assert "clear: -0.250" in words and "partly cloudy: +0.125" in words
    assert "driving-constraints.svg" not in drawn(EXAMPLE, tmp_path)


def test_names_do_not_overlap_even_where_all_points_are_one():
    from matplotlib.text import Annotation

    groups = named_groups([record(f"method {n}", 0, (10, -1, 0)) for n in range(40)])
    with drawing.style():
        picture = gains.draw("driving", groups)
        picture.figure.canvas.draw()
        shown = [a for a in picture.figure.axes[0].findobj(Annotation) if a.get_text()]
        boxes = sorted((a.get_window_extent() for a in shown), key=lambda box: box.y0)
        assert len(boxes) == 40
        assert all(low.y1 <= high.y0 for low, high in pairwise(boxes))
        picture.svg()


def test_of_very_many_methods_the_best_are_drawn_and_the_title_says_so(tmp_path):
    changes = {f"method {n:02}": (0, -n, 0) for n in range(50)} | {"frozen": (0, 0, 0)}
    words = drawn([record(name, 0, changed) for name, changed in changes.items()], tmp_path)
    for kind in ("-rates", "-classes"):
        text = words[f"driving{kind}.svg"]
        assert ", the best 48 of 50" in text
        assert "method 47" in text and "frozen" in text and "method 48" not in text


def test_names_stand_where_no_other_method_is_better_in_both():
    rows = [("safe", 0, 1), ("good", -2, 20), ("beaten", -3, 19), ("level", -2, 15), ("bold", -40, 50)]
    means = pd.DataFrame(rows, columns=["method", drawing.SAFETY, drawing.GAIN])
    assert gains.unbeaten(means)["method"].tolist() == ["safe", "good", "bold"]


def test_changes_are_means_over_the_rounds_in_which_a_class_was_kept():
    frame = classes.changes(named_groups(EXAMPLE))
    assert list(frame.columns) == ["learned: foggy", "clear", "partly cloudy"]
    assert list(frame.index) == ["mds", "naive", "joint", "frozen"], "the leaderboard's order"
    assert frame.loc["mds"].tolist() == pytest.approx([8, 2, 4 / 3])
    assert frame.loc["naive"].tolist() == pytest.approx([25, -7, -9])


def test_of_many_classes_quantiles_are_shown():
    counts = {"foggy": (100, 50, 0, 5)} | {f"kept {n}": (100, 50, n, 0) for n in range(51)}
    stream = {"classes": list(counts)}
    one = record("mds", 0, (1, 1, 1), scenario=stream, rounds=[round_of(counts)])
    row = classes.changes(named_groups([one])).loc["mds"]
    assert row["worst of 51 kept"] == pytest.approx(-50) and row["median of 51 kept"] == pytest.approx(-25)
    assert row["75 % of 51 kept"] == pytest.approx(np.quantile(-np.arange(51), 0.75))


def test_variants_of_a_method_are_told_apart_by_what_differs():
    settings = [{"lr": 0.1, "steps": 4}, {"lr": 0.2, "steps": 4}]
    runs = [record("mds", seed, (1, 1, 1), as_method={"settings": own}) for own in settings for seed in (0, 1)]
    runs.append(record("naive", 0, (0, 0, 0)))
    groups = named_groups(runs)
    assert {name: len(own) for name, own in groups.items()} == {"mds": 2, "mds (other settings: lr=0.1)": 2, "naive": 1}
    rows = [line.split(" | ")[1] for line in to_markdown(*frames(runs)).splitlines() if line.startswith("| ")]
    assert [row.rstrip(" ¹²³") for row in rows[2:]] == list(groups), "tables and plots use the same names"


def test_a_plugin_gives_its_family_to_what_it_acts_on():
    assert family("finetune+ties") == "weight space" and family("der++") == "replay"
    assert family("replay+balanced") == "replay" and family("finetune+ties+certified") == "weight space"
    assert family("mine.py:Mine") == family("mine.py:Mine+balanced") == "other"
