"""Plots, contact sheets and the calibration table: made from what they say they show, the same each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark import calibration, plots
from tests.benchmark.test_leaderboard import EXAMPLE, diverged, record


def test_the_plot_has_a_dot_a_round_and_the_same_bytes_again(tmp_path):
    runs = [*EXAMPLE, diverged("broken", 0)]
    (first,) = plots.write_all(runs, tmp_path / "a")
    (again,) = plots.write_all(list(reversed(runs)), tmp_path / "b")
    assert first.name == "driving.svg" and first.read_bytes() == again.read_bytes()
    text = first.read_text()
    assert all(name in text for name in ("mds", "naive", "joint", "frozen"))
    (fewer,) = plots.write_all(runs[:-2], tmp_path / "c")
    assert fewer.read_text() != text


def test_a_contact_sheet_shows_the_test_images_of_each_class(tmp_path, toy_stream):
    path = tmp_path / "deep" / "sheet.png"
    plots.contact_sheet(toy_stream, path, columns=3)
    pixels = np.asarray(Image.open(path))
    assert pixels.shape == (6 * 68, 110 + 3 * 68, 3)
    test = toy_stream.data[0].test
    wanted = test.images[test.labels == 4][1].permute(1, 2, 0).numpy()
    assert (pixels[4 * 68 : 4 * 68 + 64, 110 + 68 : 110 + 68 + 64] == wanted).all()


def test_calibration_marks_what_is_out_of_range(monkeypatch, capsys):
    def run(method: str, seed: int, *changes: int):
        made = record(method, seed, changes)
        return made.model_copy(update={"rounds": tuple(r.model_copy(update={"val": r.test}) for r in made.rounds)})

    made = {
        "finetune": [run("finetune", 0, 40, -30, 0), run("finetune", 1, 40, -10, 0)],
        "joint": [run("joint", 0, 30, 5, 5), run("joint", 1, 20, 5, 5)],
    }
    monkeypatch.setattr(calibration, "make_records", lambda request, reporter: made[request.method])
    calibration.run("driving", (0, 1), "cpu", Path("unused"))
    lines = capsys.readouterr().out.splitlines()
    first, second = (next(line for line in lines if line.startswith(f"│    {seed} │")) for seed in (0, 1))
    assert first.count("ok") == 2 and "-30.0" in first.replace("−", "-")
    assert second.count("off") == 2
    assert any("foggy" in line and "off" in line for line in lines)  # 50 % is in range, 100 test images are too few


@pytest.mark.parametrize("out", ["file/sheet.png"])
def test_a_sheet_that_cannot_be_written_is_one_line(command, out):
    Path("file").write_text("")
    code, _, err = command("sheet", "--scenario", "toy", "--out", out)
    assert code == 2 and len(err.splitlines()) == 1 and "file" in err
