"""One record in words: what each class gained and lost, both verdicts, and what they are worth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from benchmark import luck, metrics, scene_pairs, significance
from benchmark.metrics import Counts
from benchmark.schema import Record, RoundResult
from benchmark.tables import canonical, one_line, percent, percent_interval, points, print_rows
from scenarios import fingerprints

if TYPE_CHECKING:
    from rich.console import Console

ALPHA = 0.05  # level of the second verdict, over all protected classes of a round
POWER = 0.8  # probability with which a drop must be found to count as one that the test set can see
LISTED = 8  # classes named in one line
HEADINGS = ("Class", "n", "Old %", "New %", "Change", "Lost", "Won", "p")
SCENE_HEADINGS = ("Preference", "Meaning", "Chance %", "Old %", "New %", "Change", "Lost", "Won")


def print_record(record: Record, console: Console) -> None:
    """Show one run: per round, what every class gained and lost on test data, both verdicts and the luck rate.

    ``p`` is that of McNemar's one-sided test that a protected class got worse.
    """
    from rich.text import Text

    def say(text: str, style: str = "") -> None:
        console.print(Text(one_line(text), style=style))

    say(f"{record.scenario.name} · {record.method.name} · seed {record.seed} · {record.status}", style="bold")
    if old := outdated(record):
        say(f"This record is {old}: it cannot be compared with new ones.")
    for number, result in enumerate(record.rounds):
        title = f"round {number + 1} of {len(record.rounds)}: {result.target}, selected step {result.selected_step}"
        print_rows(console, title, HEADINGS, _class_rows(result))
        for line in (verdict(result), second_verdict(result), *_worth(result)):
            say(line)
        if result.scene_pairs:
            print_rows(console, scenes_title(result), SCENE_HEADINGS, _scene_rows(result), left=2)
    if record.status == "diverged":
        say(f"diverged: counts as not preserved, preserved gain 0. {record.message}")
    elif len(record.rounds) > 1:
        say(summary(record.rounds))
    settings = ", ".join(f"{key}={canonical(value)}" for key, value in sorted(record.method.settings.items()))
    say(f"settings: {settings or 'none'}")


def _class_rows(result: RoundResult) -> Iterator[list[str]]:
    counts = result.test_counts
    worst = min(result.protected, key=lambda name: counts[name].change)
    for name, own in counts.items():
        mark = {result.target: " (target)", worst: " (worst protected)"}.get(name, "")
        shares = ["–" if math.isnan(share) else f"{100 * share:.1f}" for share in (own.old_accuracy, own.new_accuracy)]
        p_value = _p_value(significance.mcnemar(own)) if name in result.protected else "–"
        yield [one_line(name) + mark, str(own.n), *shares, points(own.change), str(own.lost), str(own.won), p_value]


def scenes_title(result: RoundResult) -> str:
    """What the preferences of a round are about."""
    n = next(iter(result.scene_pairs.values())).n
    return f"{n} scenes, each once as {result.target} and once as a protected class"


def _scene_rows(result: RoundResult) -> Iterator[list[str]]:
    for name, entry in result.scene_pairs.items():
        own = entry.counts
        shares = [f"{100 * share:.1f}" for share in (scene_pairs.CHANCE[name], own.old_accuracy, own.new_accuracy)]
        yield [name, scene_pairs.MEANINGS[name], *shares, points(own.change), str(own.lost), str(own.won)]


def _p_value(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def verdict(result: RoundResult) -> str:
    """Whether the round was strictly preserved and, if not, which protected classes got worse, worst first."""
    if result.strictly_preserved:
        return "strictly preserved"
    counts = result.test_counts
    return "not preserved: " + _with_changes(counts, [name for name in result.protected if counts[name].change < 0])


def second_verdict(result: RoundResult) -> str:
    """Which protected classes got significantly worse, worst first, if any did."""
    counts = result.test_counts
    test = f"(McNemar, one-sided, with Holm's correction for {len(result.protected)} classes, α {ALPHA})"
    if worse := significance.regressions(counts, result.protected, ALPHA):
        return f"significant regression: {_with_changes(counts, worse)} {test}"
    return f"no significant regression {test}"


def _with_changes(counts: Mapping[str, Counts], names: Sequence[str]) -> str:
    return ", ".join(f"{name} {points(change)} points" for change, name in sorted((counts[n].change, n) for n in names))


def _worth(result: RoundResult) -> Iterator[str]:
    """How much the verdicts can tell: the luck rate, and the smallest drops that this test set can see."""
    counts, protected = result.test_counts, result.protected
    rate = luck.luck_rate(counts, protected).rate
    yield f"luck rate {percent(rate)}: the chance of strict preservation if as many predictions flip for no true change"
    drops = {}
    for name in protected:
        own = counts[name]
        flips = (own.lost + own.won) / own.n
        drops[name] = significance.detectable_drop(own.n, flips, ALPHA, POWER, len(protected))
    seen = sorted((drop, name) for name, drop in drops.items() if not math.isnan(drop))
    listed = [f"{name} {100 * drop:.1f}" for drop, name in seen[:LISTED]]
    if more := len(seen) - len(listed):
        listed.append(f"{more} more up to {100 * seen[-1][0]:.1f}")
    if unseen := len(drops) - len(seen):
        listed.append(f"none in {unseen} of {len(drops)} classes, which flip too little")
    yield f"smallest true drops found with probability {POWER}, in points: {', '.join(listed)}"


def summary(rounds: Sequence[RoundResult]) -> str:
    """Both rates over several rounds, with the exact 95 % interval of the strict one and its luck rate."""
    n, strict, harmless = len(rounds), sum(r.strictly_preserved for r in rounds), sum(map(without_regression, rounds))
    return (
        f"strictly preserved: {strict} of {n} rounds, {percent(strict / n)} "
        f"{percent_interval(*metrics.rate_interval(strict, n))}, by luck {percent(mean_luck_rate(rounds))}; "
        f"no significant regression: {harmless} of {n}"
    )


def without_regression(result: RoundResult) -> bool:
    """Whether no protected class got significantly worse."""
    return not significance.regressions(result.test_counts, result.protected, ALPHA)


def mean_luck_rate(rounds: Sequence[RoundResult]) -> float:
    """The strict preservation rate to be expected of these rounds by luck, in [0, 1]; NaN without rounds."""
    return luck.expected_rate([luck.luck_rate(result.test_counts, result.protected) for result in rounds]).rate


def outdated(record: Record) -> str:
    """How the stream of a record differs from the one this package makes; empty where it does not, as far as known."""
    today = fingerprints().get(record.scenario.name)
    if today is None or any(record.scenario.options.get(key) != value for key, value in today["options"].items()):
        return ""
    if record.scenario.version != today["version"]:
        return f"of version {record.scenario.version} of the stream, which is at {today['version']} now"
    if record.scenario.fingerprint != today["fingerprint"]:
        return f"of other pictures ({record.scenario.fingerprint[:8]}) than today's ({today['fingerprint'][:8]})"
    return ""
