"""What methods do on photographs: the tables of the README and of docs/real-data.md, from ``results/photographs``.

    python -m results.studies.photographs.means

prints them: means over runs of the target's gain and of the change of the worst protected class; with the runs without
a significant regression for photos of somebody's own, and with the share of classes preserved for the many signs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from benchmark.output.tables import markdown_table, percent, points
from results.studies.photographs.order import PEDESTRIANS, RESULTS, ROUNDS

OWN = {f"folder: {target}": target for target in ("store", "living_room", "open_country")}  # scenario -> heading
SIGNS = {PEDESTRIANS: "pedestrians", ROUNDS: "rounds"}


def main() -> None:
    """Print both tables."""
    board = pd.read_csv(RESULTS / "photographs" / "leaderboard.csv")
    print(own(board))
    print()
    print(signs(board))


def own(board: pd.DataFrame) -> str:
    """Of the rows of a leaderboard, those of people's own photos; a row for each method."""
    return _table(board, OWN, "no regression", lambda r: f"{r['no_regression_rate'] * r['seeds']:.0f} of {r['seeds']}")


def signs(board: pd.DataFrame) -> str:
    """Those of traffic signs."""
    return _table(board, SIGNS, "classes kept", lambda r: percent(r["kept_share"]))


def _table(board: pd.DataFrame, scenarios: Mapping[str, str], last: str, cell: Callable[[Any], str]) -> str:
    """Methods that lose least in the worst class come first, and those on fewer streams last."""
    of_scenarios = board[board["scenario"].isin(list(scenarios))]
    means = of_scenarios.groupby("method")["devsafety"].agg(["size", "mean"]).sort_values(["size", "mean"])[::-1]
    rows = []
    for method in means.index:
        found = of_scenarios[of_scenarios["method"] == method].set_index("scenario")
        cells = [
            figure
            for name in scenarios
            for figure in (_figures(found.loc[name], cell) if name in found.index else ["–", "–", "–"])
        ]
        rows.append([f"`{method}`", *cells])
    figures = ("gain", "worst", last)
    return markdown_table(["method", *(f"{name}: {figure}" for name in scenarios.values() for figure in figures)], rows)


def _figures(row: Any, cell: Callable[[Any], str]) -> list[str]:
    return [points(row["target_gain"]), points(row["devsafety"]), cell(row)]


if __name__ == "__main__":
    main()
