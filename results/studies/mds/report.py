"""The tables and figures of docs/mds.md, from the study's records and ``path.csv`` alone.

python -m results.studies.mds.report
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import methods
from benchmark.arguments import key_values
from benchmark.metrics import luck
from benchmark.output.files import replace_file
from benchmark.output.tables import markdown_table, percent, points
from benchmark.records.files import read_all
from benchmark.records.schema import Record
from benchmark.running.request import validated

HERE = Path(__file__).parent
PAGE = HERE.parents[2] / "docs" / "mds.md"
SCENARIO = "driving-foggy"
PAIR = ["factor", "level"]
SEEDS = range(5, 15)  # new to all methods: seeds 0 to 4 were looked at before
EFFECTS = {
    "gain": "Δ gain",
    "devsafety": "Δ DevSafety",
    "devsafety_above": "Δ DevSafety at equal gain",
    "mean_above": "Δ mean change at equal gain",
}
RANKED = "devsafety_above"


def main() -> None:
    """Write the tables, here and into the page, and the figures."""
    from results.studies.mds import figures

    runs, path = read_runs(), path_runs(read_path())
    effects = effects_table(runs, path)
    made = tables(effects, path)
    for name, text in made.items():
        replace_file(HERE / name, text.encode())
    replace_file(PAGE, filled(PAGE.read_text(encoding="utf-8"), made).encode())
    figures.write(runs, path, effects, read_path(), HERE)


def tables(effects: pd.DataFrame, path: pd.DataFrame) -> dict[str, str]:
    """The contents of the tables' files by name."""
    return {
        "effects.csv": effects.to_csv(index=False, float_format="%.5f", lineterminator="\n"),
        "effects.md": effects_markdown(effects),
        "path.md": path_markdown(path),
        "slack.md": slack_markdown(slack(read_path())),
    }


def filled(page: str, made: dict[str, str]) -> str:
    """``page`` with each table between its marks, ``<!-- NAME -->`` and ``<!-- end of NAME -->``."""
    for name, text in made.items():
        start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        if start in page:
            before, rest = page.split(start)
            page = before + start + text + end + rest.split(end)[1]
    return page


def read_runs() -> pd.DataFrame:
    """A row a cell and seed: factor, level, seed, gain, devsafety, strict, luck; the reference comes first."""
    cells = pd.read_csv(HERE / "cells.csv", dtype=str, keep_default_na=False)
    records = [record for record in read_all(HERE) if record.status == "complete"]
    usual = next(r for r in records if r.method.name == "mds").scenario.options  # but for what cells change
    usual = usual | {"protected_per_class": 400}
    rows = []
    for cell in cells.to_dict("records"):
        settings = _settings(cell["method"], key_values(cell["settings"].split(), "settings"))
        options = usual | key_values(cell["options"].split(), "options")
        for record in records:
            same = record.method.name == cell["method"] and record.method.settings == settings
            if same and record.scenario.options == options:
                rows.append({"factor": cell["factor"], "level": cell["level"], "seed": record.seed} | _scores(record))
    runs = pd.DataFrame(rows)
    whole = runs.groupby(PAIR)["seed"].transform("nunique") == len(SEEDS)
    return runs[whole]  # what was not run to the end tells less than it seems


def _settings(method: str, asked: dict[str, Any]) -> dict[str, Any]:
    """All settings of a cell, as ``run`` resolved them."""
    return validated(methods.load(method).SETTINGS, asked, method).model_dump(mode="json")


def _scores(record: Record) -> dict[str, Any]:
    result = record.rounds[0]
    return {
        "gain": result.target_gain,
        "devsafety": result.devsafety,
        "mean": float(np.mean([result.test_counts[name].change for name in result.protected])),
        "strict": result.strictly_preserved,
        "luck": luck.luck_rate(result.test_counts, result.protected).rate,
    }


def read_path() -> pd.DataFrame:
    """``path.csv`` with the changes of accuracy and loss, new less old."""
    table = pd.read_csv(HERE / "path.csv")
    table["change"] = (table["new_correct"] - table["old_correct"]) / table["n"]
    table["loss_change"] = table["new_loss"] - table["old_loss"]
    return table


def path_runs(path: pd.DataFrame) -> pd.DataFrame:
    """A row a model and seed: gain, and DevSafety and mean change of the protected classes, on test.

    ``coefficient`` is NaN for averages of weights.
    """
    test = path[path["split"] == "test"]
    target = test[test["class"] == "foggy"].set_index(["model", "seed"])["change"]
    kept = test[test["class"] != "foggy"].groupby(["model", "seed"], sort=False)["change"]
    runs = pd.DataFrame({"gain": target, "devsafety": kept.min(), "mean": kept.mean()}).reset_index()
    runs["coefficient"] = pd.to_numeric(runs["model"].str.removeprefix("coefficient "), errors="coerce")
    return runs


def stepping_back(path: pd.DataFrame, kept: str) -> Callable[[pd.Series], pd.Series]:
    """What is ``kept`` on the line from the old weights through the trained ones, as a function of the gain there.

    Means over seeds, joined by straight lines; NaN beyond the greatest gain on the line. What lies above it is more
    than a smaller or a larger step would have given.
    """
    line = path.dropna(subset="coefficient").groupby("coefficient")[["gain", kept]].mean()
    gains, values = np.r_[0.0, line["gain"]], np.r_[0.0, line[kept]]
    order = np.argsort(gains)
    return lambda gain: pd.Series(np.interp(gain, gains[order], values[order], right=np.nan), gain.index)


def above_the_line(runs: pd.DataFrame, path: pd.DataFrame) -> pd.DataFrame:
    """``runs`` with DevSafety and mean change above those of stepping back to the same gain."""
    return runs.assign(
        devsafety_above=runs["devsafety"] - stepping_back(path, "devsafety")(runs["gain"]),
        mean_above=runs["mean"] - stepping_back(path, "mean")(runs["gain"]),
    )


def effects_table(runs: pd.DataFrame, path: pd.DataFrame) -> pd.DataFrame:
    """A row a cell: means, and differences from the reference with 95 % intervals, paired by seed (Student's t)."""
    last = path[path["model"] == "coefficient 1"].assign(factor="selection", level="none: the last step")
    last["strict"] = last["devsafety"] >= 0
    runs = above_the_line(pd.concat([runs, last]), path)
    reference = runs[runs["factor"] == "reference"].set_index("seed")
    rows = []
    for (factor, level), of_cell in runs.groupby(PAIR, sort=False):
        cell = of_cell.set_index("seed")
        row = {"factor": factor, "level": level, "seeds": len(cell), "strict": int(cell["strict"].sum())}
        row |= {name: cell[name].mean() for name in ("gain", "devsafety", "mean", "luck")}
        for name in EFFECTS:
            mean, half = paired(cell[name] - reference[name])
            row |= {f"{name}_effect": mean, f"{name}_half": half}
        rows.append(row)
    table = pd.DataFrame(rows)
    return table.sort_values(f"{RANKED}_effect", key=lambda x: -x.abs(), na_position="last", kind="stable")


def paired(differences: pd.Series) -> tuple[float, float]:
    """Mean of paired differences and half the width of its 95 % interval; NaN with fewer than three pairs."""
    from scipy.stats import t

    known = differences.dropna()
    if len(known) < 3:
        return float("nan"), float("nan")
    return float(known.mean()), float(t.ppf(0.975, len(known) - 1) * known.std() / np.sqrt(len(known)))


def effects_markdown(effects: pd.DataFrame) -> str:
    """The table of effects, the greatest at equal gain first."""
    headings = ["Factor", "Level", "Seeds", "Gain", "DevSafety", "Strict", *EFFECTS.values()]
    rows = [
        [row["factor"], row["level"], str(row["seeds"]), points(row["gain"]), points(row["devsafety"])]
        + [f"{row['strict']}/{row['seeds']}"]
        + [effect(row[f"{name}_effect"], row[f"{name}_half"]) for name in EFFECTS]
        for row in effects.to_dict("records")
    ]
    return markdown_table(headings, rows, left=2) + "\n"


def effect(mean: float, half: float) -> str:
    """A mean with its 95 % interval, in points."""
    return points(mean) if np.isnan(half) or half == 0 else f"{points(mean)} ± {100 * half:.1f}"


def path_markdown(path: pd.DataFrame) -> str:
    """Stepping back, training on and averaging: gain and DevSafety of each model, and how many seeds are strict."""
    rows = []
    for model, runs in above_the_line(path, path).groupby("model", sort=False):
        strict = f"{(runs['devsafety'] >= 0).sum()}/{len(runs)}"
        names = ("gain", "devsafety", "mean", "devsafety_above", "mean_above")
        rows.append([str(model), strict, *(effect(*paired(runs[name])) for name in names)])
    headings = ["Weights", "Strict", "Gain", "DevSafety", "Mean change", "DevSafety above the line", "Mean above it"]
    return markdown_table(headings, rows) + "\n"


def slack(path: pd.DataFrame, model: str = "coefficient 1") -> pd.DataFrame:
    """Protected classes of the trained models: changes of loss and accuracy on protected, val and test images."""
    chosen = path[(path["model"] == model) & (path["class"] != "foggy")]
    wide = chosen.pivot(index=["seed", "class"], columns="split", values=["loss_change", "change"])
    return wide.set_axis([f"{value} {split}" for value, split in wide.columns], axis=1)


def slack_markdown(table: pd.DataFrame) -> str:
    """How far a constraint that holds for the loss on the method's own images goes."""
    held = table["loss_change protected"] <= 0
    steps = [
        ("loss on its protected images is not higher", held),
        ("… and accuracy on them is not lower", held & (table["change protected"] >= 0)),
        ("loss on test images is not higher", table["loss_change test"] <= 0),
        ("accuracy on test images is not lower", table["change test"] >= 0),
        ("loss on test not higher, but accuracy lower", (table["loss_change test"] <= 0) & (table["change test"] < 0)),
        ("loss on its own not higher, but test accuracy lower", held & (table["change test"] < 0)),
    ]
    rows = [[name, f"{int(chosen.sum())} of {len(table)}", percent(chosen.mean())] for name, chosen in steps]
    means = table.mean()
    rows += [
        ["mean change of accuracy, its protected images", points(means["change protected"]), ""],
        ["mean change of accuracy, test", points(means["change test"]), ""],
        [
            "mean of the worst class's change a seed, test",
            points(table["change test"].groupby("seed").min().mean()),
            "",
        ],
        ["worst class by mean over seeds, test", points(table["change test"].groupby("class").mean().min()), ""],
    ]
    return markdown_table(["Protected classes × seeds", "", "Share"], rows) + "\n"


if __name__ == "__main__":
    main()
