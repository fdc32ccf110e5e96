"""A round's verdicts in words: preservation, significant losses, and how much they can tell."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from benchmark.metrics import luck, significance
from benchmark.metrics.counts import Counts
from benchmark.metrics.intervals import rate_interval
from benchmark.metrics.significance import ALPHA, POWER
from benchmark.output.tables import percent, percent_interval, points
from benchmark.records.schema import Record, RoundResult
from scenarios import fingerprints, scored_on

LISTED = 8  # classes named in one line


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


def worth(result: RoundResult) -> Iterator[str]:
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
        f"{percent_interval(*rate_interval(strict, n))}, by luck {percent(mean_luck_rate(rounds))}; "
        f"no significant regression: {harmless} of {n}"
    )


def earned(rounds: Sequence[RoundResult], failed: int = 0) -> str:
    """Whether rounds were strictly preserved more often than luck has it, by an exact one-sided test at ``ALPHA``.

    Luck has the same rate in every round here, their mean, which makes the test a little conservative.

    Args:
        rounds: those that were measured, one at least.
        failed: how many others there were, of diverged runs: none was preserved, and luck is taken to be alike.
    """
    from scipy.stats import binomtest

    n, strict, rate = len(rounds) + failed, sum(r.strictly_preserved for r in rounds), mean_luck_rate(rounds)
    told = f"strictly preserved in {strict} of {n} rounds, where luck would give {percent(rate)}"
    if binomtest(strict, n, min(max(rate, 0.0), 1.0), alternative="greater").pvalue <= ALPHA:
        return f"{told}: more than luck"
    return f"{told}: cannot be told from luck"


def without_regression(result: RoundResult) -> bool:
    """Whether no protected class got significantly worse."""
    return not significance.regressions(result.test_counts, result.protected, ALPHA)


def mean_luck_rate(rounds: Sequence[RoundResult]) -> float:
    """The strict preservation rate to be expected of these rounds by luck, in [0, 1]; NaN without rounds."""
    return luck.expected_rate([luck.luck_rate(result.test_counts, result.protected) for result in rounds]).rate


def outdated(record: Record) -> str:
    """How the stream of a record differs from the one this package makes; empty where it does not, as far as known."""
    today = fingerprints().get(record.scenario.name)
    if today is None:
        return ""
    if record.scenario.version != today["version"]:
        return f"of version {record.scenario.version} of the stream, which is at {today['version']} now"
    if scored_on(today, record.scenario.options) and record.scenario.fingerprint != today["fingerprint"]:
        return f"of other pictures ({record.scenario.fingerprint[:8]}) than today's ({today['fingerprint'][:8]})"
    return ""
