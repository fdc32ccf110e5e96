"""The runs of a stream by what was run, each group with a name to show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark import metrics
from benchmark.plots.drawing import family
from benchmark.schema import Record, RoundResult
from benchmark.tables import canonical, one_line

Groups = Mapping[str, Sequence[Record]]  # shown name: complete runs that differ only in their seed
LONGEST = 40  # letters of a shown name
MOST = 48  # groups in a plot that gives each a line: more can be neither read nor drawn in time


def named_groups(records: Iterable[Record]) -> Groups:
    """The complete runs of one stream, best preserved gain first, among equals best DevSafety; reference rows last.

    Groups of one method that differ in settings, data or base model are named by what differs. Diverged runs have
    nothing to draw.
    """
    variants: defaultdict[str, defaultdict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in sorted(records, key=lambda r: (r.seed, r.run_id)):
        if record.status == "complete":
            variants[record.method.name][canonical(_identity(record))].append(record)
    named: dict[str, list[Record]] = {}
    for method, groups in sorted(variants.items()):
        own = [_identity(runs[0]) for runs in groups.values()]
        differing = [key for key in own[0] if len({canonical(one.get(key)) for one in own}) > 1]
        for _, runs in sorted(groups.items()):
            named[_shown(method, _identity(runs[0]), differing, named)] = runs
    return dict(sorted(named.items(), key=lambda item: _order(*item)))


def leading(groups: Groups, most: int = MOST) -> tuple[Groups, str]:
    """The first ``most`` groups and all reference rows, and words for a title where that leaves some out."""
    own = [name for name, runs in groups.items() if not _is_reference(runs)]
    if len(own) <= most:
        return groups, ""
    chosen = set(own[:most])
    kept = {name: runs for name, runs in groups.items() if name in chosen or _is_reference(runs)}
    return kept, f", the best {most} of {len(own)}"


def _is_reference(runs: Sequence[Record]) -> bool:
    return family(runs[0].method.name) == "reference"


def _identity(record: Record) -> dict[str, Any]:
    """All that tells runs apart beside their seed."""
    return record.method.settings | {
        "version": record.method.version,
        "code": record.method.code,
        "data": f"{record.scenario.version} {record.scenario.fingerprint[:8]}",
        "options": record.scenario.options,
        "base": f"{record.base.model} {record.base.sha256[:8]}",
    }


def _shown(method: str, identity: Mapping[str, Any], differing: Sequence[str], taken: Iterable[str]) -> str:
    values = ", ".join(f"{key}={canonical(identity.get(key))}".replace('"', "") for key in differing)
    text = one_line(f"{method} ({values})" if differing else method)
    name = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    number = sum(other.startswith(name) for other in taken)
    return f"{name} #{number + 1}" if name in taken else name


def _order(name: str, runs: Sequence[Record]) -> tuple[Any, ...]:
    results = rounds(runs)
    gain = metrics.preserved_gain([(r.target_gain, r.strictly_preserved) for r in results])
    return _is_reference(runs), -gain, -sum(r.devsafety for r in results) / len(results), name


def rounds(runs: Iterable[Record]) -> list[RoundResult]:
    """All rounds of all runs."""
    return [result for record in runs for result in record.rounds]
