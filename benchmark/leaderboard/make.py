"""The command ``leaderboard``: tables, plots and the page, all made from the records alone."""

from __future__ import annotations

from pathlib import Path

from benchmark.leaderboard import page, plots
from benchmark.leaderboard.aggregation import frames
from benchmark.leaderboard.text import print_table, write
from benchmark.output.files import check_writable
from benchmark.output.tables import console
from benchmark.records.files import read_all


def make(results: Path, wide: bool = False) -> None:
    """Write ``leaderboard.md``, ``leaderboard.csv``, ``plots/`` and ``index.html`` in ``results``; print the table.

    Args:
        results: the folder.
        wide: print all columns.

    Raises:
        ValueError: there are no records, or one cannot be read.
    """
    found = read_all(results)
    if not found:
        raise ValueError(f"{Path(results) / 'records'}: holds no records; make some with `python -m benchmark run`")
    check_writable(Path(results) / "plots")  # before anything is replaced
    check_writable(Path(results))
    frame, across = frames(found)
    paths = [*write(results, (frame, across)), *plots.write_all(found, results), page.write(found, results, frame)]
    print_table(frame, console(), wide)
    print("wrote " + ", ".join(map(str, paths)))
    if not wide:
        print("every column: --wide")
