"""What methods do to a base of somebody's own photos; the table of the README, from ``results/photographs``.

    python -m results.studies.photographs.own

prints it: for each target the means over runs of its gain and of the change of the worst protected class, and how many
runs had no significant regression.
"""

from __future__ import annotations

import pandas as pd

from benchmark.output.tables import markdown_table, points
from results.studies.photographs.order import RESULTS

TARGETS = ("store", "living_room", "open_country")
HEADINGS = [f"{target}: {figure}" for target in TARGETS for figure in ("gain", "worst", "no regression")]


def main() -> None:
    """Print the table."""
    print(table(pd.read_csv(RESULTS / "photographs" / "leaderboard.csv")))


def table(board: pd.DataFrame) -> str:
    """Of the rows of a leaderboard; a row for each method, those first that lose least."""
    own = board[board["scenario"].isin([f"folder: {target}" for target in TARGETS]) & ~board["reference"]]
    worst = own.groupby("method")["devsafety"].mean().sort_values(ascending=False)
    rows = []
    for method in worst.index:
        cells = own[own["method"] == method].set_index("scenario")
        row = [f"`{method}`"]
        for target in TARGETS:
            found = cells.loc[f"folder: {target}"]
            row += [
                points(found["target_gain"]),
                points(found["devsafety"]),
                f"{found['no_regression_rate'] * found['seeds']:.0f} of {found['seeds']}",
            ]
        rows.append(row)
    return markdown_table(["method", *HEADINGS], rows)


if __name__ == "__main__":
    main()
