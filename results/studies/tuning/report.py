"""Whether a search in the quick budget says what one in the full budget would; the table of docs/driving.md.

    python -m results.studies.tuning.report

prints it, from the searches in ``results/tuning`` that were made in both. Both try the same settings on the same tuning
seeds, so their order can be compared, by Kendall's tau-b (Biometrika 33, 1945).
"""

from __future__ import annotations

from pathlib import Path

from scipy.stats import kendalltau

from benchmark.output.tables import canonical, markdown_table, points
from benchmark.running.tuning import Trial, Tuning, path_of, rank, read

RESULTS = Path(__file__).parents[2]
QUICK, FULL = "driving-foggy", "driving-foggy-full"
HEADINGS = ("method", "settings", "gain, quick", "DevSafety, quick", "gain, full", "DevSafety, full")


def main() -> None:
    """Print the table, and how alike the orders are."""
    pairs = searched_in_both()
    rows = [row for quick, full in pairs for row in trials(quick, full)]
    print(markdown_table(HEADINGS, rows, left=2), end="\n\n")
    print(
        markdown_table(("method", "tau of the gain", "of DevSafety", "of the rule"), [alike(*pair) for pair in pairs])
    )


def searched_in_both() -> list[tuple[Tuning, Tuning]]:
    """The searches of each method in the quick and in the full budget."""
    names = sorted(path.stem for path in (RESULTS / "tuning" / FULL).glob("*.json"))
    paths = [(path_of(RESULTS, QUICK, name), path_of(RESULTS, FULL, name)) for name in names]
    return [(read(quick), read(full)) for quick, full in paths if quick.exists()]


def trials(quick: Tuning, full: Tuning) -> list[list[str]]:
    """A row for each trial, in the order in which they were made; what a search chose is bold."""
    rows = []
    for one, other in in_both(quick, full):
        settings = canonical(one.settings).strip("{}").replace('"', "") or "defaults"
        row = [f"`{quick.method}`", settings]
        for tuning, trial in ((quick, one), (full, other)):
            mark = "**" if trial == tuning.chosen else ""
            row += [f"{mark}{points(value)}{mark}" for value in (trial.target_gain, trial.devsafety)]
        rows.append(row)
    return rows


def alike(quick: Tuning, full: Tuning) -> list[str]:
    """Kendall's tau of the trials' gains, of their DevSafety, and of the order by which a search chooses."""
    pairs = in_both(quick, full)
    row = [f"`{quick.method}`"]
    for measure in ("target_gain", "devsafety"):
        row.append(_tau([getattr(one, measure) for one, _ in pairs], [getattr(other, measure) for _, other in pairs]))
    return [*row, _tau(_order([one for one, _ in pairs], quick), _order([other for _, other in pairs], full))]


def in_both(quick: Tuning, full: Tuning) -> list[tuple[Trial, Trial]]:
    """The trials of the same settings."""
    others = {canonical(trial.settings): trial for trial in full.trials}
    return [(t, others[canonical(t.settings)]) for t in quick.trials if canonical(t.settings) in others]


def _order(tried: list[Trial], tuning: Tuning) -> list[float]:
    """The place of each trial, the best last; equal ones share one."""
    ranks = [rank(trial, tuning.margin) for trial in tried]
    return [float(sorted(ranks).index(own)) for own in ranks]


def _tau(one: list[float], other: list[float]) -> str:
    return f"{kendalltau(one, other).statistic:.2f}".replace("-", "−")


if __name__ == "__main__":
    main()
