"""What the records of the study say, as a table and a figure beside this file; the table in docs/mds.md, too.

python -m results.studies.budget.report
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.leaderboard.plots.drawing import Picture, style
from benchmark.metrics.preservation import preserved_gain
from benchmark.metrics.tolerance import tolerant_gain
from benchmark.output.files import replace_file
from benchmark.output.tables import markdown_table, points
from benchmark.records.files import read_all
from benchmark.records.schema import Record
from results.studies.mds.report import PAGE, filled
from results.studies.usual import usual_settings
from scenarios import steps_of

HERE = Path(__file__).parent
RESULTS = HERE.parents[1]
SCENARIO = "driving-foggy-full"
BUDGETS = (100, 400, 1_000, 2_000, 4_000)  # protected images of each class
METHODS = ("finetune", "rm", "mds", "mds-margin", "pct", "replay", "mds-strict")  # as the leaderboard has them
SHOWN = {  # in the figure
    "preserved": "preserved gain (points)",
    "tolerant": "tolerant gain (points)",
    "devsafety": "DevSafety, mean (points)",
}
HEADINGS = (
    "Method",
    "Protected images",
    "Steps",
    "Strict",
    "Preserved gain",
    "Tolerant gain",
    "Target gain",
    "DevSafety",
    "Mean change",
)


def steps(images: int) -> int:
    """Steps with so many protected images: in proportion to the full budget."""
    full = steps_of(SCENARIO)
    assert full is not None
    return full * images // BUDGETS[-1]


def read_runs() -> pd.DataFrame:
    """A row for every record: method, images, seed, strict, gain, devsafety, mean; fractions.

    With all images they are the leaderboard's, of the seeds that the study has.
    """
    own = [record for record in read_all(HERE) if record.method.settings == _settings(record)]
    seeds = {record.seed for record in own}
    full = [r for r in read_all(RESULTS) if r.scenario.name == SCENARIO and r.method.name in METHODS]
    rows = []
    for record in [*own, *(r for r in full if r.seed in seeds and r.method.settings == _settings(r))]:
        (result,) = record.rounds
        changes = [result.test[name].counts.change for name in result.protected]
        rows.append(
            {
                "method": record.method.name,
                "images": record.scenario.options["protected_per_class"],
                "seed": record.seed,
                "strict": result.strictly_preserved,
                "gain": result.target_gain,
                "devsafety": result.devsafety,
                "mean": sum(changes) / len(changes),
            }
        )
    return pd.DataFrame(rows).sort_values(["method", "images", "seed"], ignore_index=True)


def _settings(record: Record) -> dict[str, Any]:
    """Those that the study gives the record's method, with as many images."""
    images = record.scenario.options["protected_per_class"]
    return usual_settings(SCENARIO, record.method.name) | {"steps": steps(int(images))}


def cells(runs: pd.DataFrame) -> pd.DataFrame:
    """A row for every method and number of images, over the seeds; in the order of ``METHODS``."""
    rows = []
    for method in METHODS:
        for images in BUDGETS:
            own = runs[(runs["method"] == method) & (runs["images"] == images)]
            if len(own):
                rows.append(
                    {
                        "method": method,
                        "images": images,
                        "runs": len(own),
                        "strict": own["strict"].mean(),
                        "preserved": preserved_gain(list(zip(own["gain"], own["strict"], strict=True))),
                        "tolerant": tolerant_gain(list(zip(own["gain"], own["devsafety"], strict=True))),
                        **own[["gain", "devsafety", "mean"]].mean(),
                    }
                )
    return pd.DataFrame(rows)


def to_markdown(table: pd.DataFrame) -> str:
    """The table in points."""
    rows = [
        [
            row.method,
            f"{row.images:,}",
            str(steps(row.images)),
            f"{round(row.strict * row.runs)}/{row.runs}",
            *map(points, (row.preserved, row.tolerant, row.gain, row.devsafety, row.mean)),
        ]
        for row in table.itertuples()
    ]
    return markdown_table(HEADINGS, rows, left=1) + "\n"


def picture(table: pd.DataFrame) -> Picture:
    """Preserved gain, tolerant gain and the worst class's change, against the protected images."""
    import matplotlib.pyplot as plt
    import seaborn as sns

    figure, panels = plt.subplots(1, 3, figsize=(13, 3.8))
    look = {"x": "images", "hue": "method", "style": "method", "palette": "colorblind", "markers": True}
    for axes, (column, label) in zip(panels, SHOWN.items(), strict=True):
        shown = table.assign(**{column: 100 * table[column]})
        sns.lineplot(shown, y=column, ax=axes, dashes=False, legend=axes is panels[-1], **look)
        axes.set_xscale("log")
        axes.set_xticks(BUDGETS, labels=[f"{images:,}" for images in BUDGETS])
        axes.minorticks_off()
        axes.set_xlabel("protected images per class; steps in proportion")
        axes.set_ylabel(label)
    safety = panels[-1]
    safety.set_yscale("symlog", linthresh=1)
    safety.set_yticks([-64, -16, -4, -1, 0, 1], labels=["−64", "−16", "−4", "−1", "0", "+1"])
    safety.axhline(0, color="0.5", linewidth=1)
    sns.move_legend(safety, "upper left", bbox_to_anchor=(1, 1), title=None, frameon=False)
    return Picture(
        figure,
        "Preserved gain, tolerant gain and DevSafety against the number of protected images",
        "Preserved gain, tolerant gain, and the mean change of the worst protected class, of each method with 100 to "
        "4,000 protected images per class.",
    )


def main() -> None:
    """Write both."""
    table = cells(read_runs())
    made = {"budget.md": to_markdown(table)}
    replace_file(HERE / "budget.md", made["budget.md"].encode())
    replace_file(PAGE, filled(PAGE.read_text(encoding="utf-8"), made).encode())
    with style():
        replace_file(HERE / "budget.svg", picture(table).svg())


if __name__ == "__main__":
    main()
