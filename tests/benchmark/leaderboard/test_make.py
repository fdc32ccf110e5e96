"""The command's files: all of them new, or all as they were."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.leaderboard import make
from benchmark.leaderboard import page as page_package
from tests.benchmark.example_records import EXAMPLE, record, save


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_tables_plots_and_page_are_made_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(save(EXAMPLE, tmp_path))
    make.make(tmp_path)
    made = contents(tmp_path).keys() - before.keys()
    assert {"leaderboard.md", "leaderboard.csv", "index.html"} < made
    assert {Path(name).suffix for name in made} == {".md", ".csv", ".html", ".svg"}
    told = capsys.readouterr().out
    assert all(str(tmp_path / name) in told for name in made)
    after = contents(tmp_path)
    make.make(tmp_path)
    assert contents(tmp_path) == after


def test_a_failure_half_way_through_leaves_all_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make.make(save(EXAMPLE, tmp_path))
    save([record("newer", 0, (50, 0, 0))], tmp_path)
    before = contents(tmp_path)

    def broken(*_: object) -> str:
        raise RuntimeError("out of ideas")

    monkeypatch.setattr(page_package, "page", broken)  # tables and plots come before it
    with pytest.raises(RuntimeError, match="out of ideas"):
        make.make(tmp_path)
    assert contents(tmp_path) == before
    monkeypatch.undo()
    make.make(tmp_path)
    assert all(b"newer" in contents(tmp_path)[name] for name in ("leaderboard.md", "index.html"))


def test_a_plot_without_data_goes(tmp_path: Path) -> None:
    make.make(save(EXAMPLE, tmp_path))
    (gains,) = (path for path in (tmp_path / "plots").glob("*-gains.svg"))
    stale = gains.with_name(gains.name.replace("-gains", "-rounds"))  # of several rounds, which these runs have not
    stale.write_text("old")
    make.make(tmp_path)
    assert gains.is_file() and not stale.exists()
