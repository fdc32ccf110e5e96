"""The command ``leaderboard``: tables, plots and the page, all made from the records alone."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from benchmark.leaderboard import page, plots
from benchmark.leaderboard.aggregation import frames
from benchmark.leaderboard.text import print_table, write
from benchmark.output.files import check_writable, replace_file
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
    tables = frames(found)
    with TemporaryDirectory(dir=results, prefix=".leaderboard-", suffix=".tmp") as name:
        folder = Path(name)  # or an error would leave new tables beside an old page
        made = [*write(folder, tables), *plots.write_all(found, folder), page.write(found, folder, tables)]
        paths = [_move(path, folder, Path(results)) for path in made]
    for plot in {plot for record in found for plot in plots.paths(results, record.scenario.title)} - set(paths):
        plot.unlink(missing_ok=True)  # its stream has no data for it any more
    print_table(tables.rows, console(), wide)
    print("wrote " + ", ".join(map(str, paths)))
    if not wide:
        print("every column: --wide")


def _move(path: Path, folder: Path, results: Path) -> Path:
    place = results / path.relative_to(folder)
    place.parent.mkdir(parents=True, exist_ok=True)
    replace_file(place, path.read_bytes())
    return place
