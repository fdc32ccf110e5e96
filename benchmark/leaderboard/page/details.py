"""The data from which the page's script shows a method or a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from benchmark.leaderboard.families import family
from benchmark.leaderboard.one_run import scenes_title, shown_p_value
from benchmark.leaderboard.page.reproduce import command
from benchmark.leaderboard.verdicts import (
    mean_luck_rate,
    outdated,
    second_verdict,
    summary,
    verdict,
    without_regression,
)
from benchmark.metrics import significance
from benchmark.metrics.scene_pairs import CHANCE, MEANINGS
from benchmark.output.tables import canonical, percent
from benchmark.records.files import record_path
from benchmark.records.schema import Record, RoundResult
from methods import METHODS

MOST_LINES = 30_000  # of all run pages together, some 3 MB: more would make the page slow to open
OTHER_LINES = 30  # of a run page, beside those of its classes


def of(records: Sequence[Record]) -> dict[str, Any]:
    """``methods`` by name, ``runs`` by run id and ``preferences`` over scene pairs, as JSON knows them."""
    names = sorted({record.method.name for record in records})
    return {
        "methods": {name: _method(name) for name in names},
        "runs": {record.run_id: _run(record) for record in detailed(records)},
        "preferences": {name: [MEANINGS[name], chance] for name, chance in CHANCE.items()},
    }


def detailed(records: Sequence[Record]) -> list[Record]:
    """The runs that get a page: all, or where they are too many, the first seeds of every method and stream."""
    seen: Counter[tuple[str, str]] = Counter()
    order = []
    for record in sorted(records, key=lambda r: r.seed):
        key = (record.scenario.title, record.method.name)
        seen[key] += 1
        order.append((seen[key], *key, record))
    order.sort(key=lambda item: item[:3])
    lengths = (OTHER_LINES + sum(len(result.test) for result in record.rounds) for *_, record in order)
    return [record for (*_, record), lines in zip(order, accumulate(lengths), strict=True) if lines <= MOST_LINES]


def _method(name: str) -> dict[str, Any]:
    last = name if name in METHODS else name.rpartition("+")[2]
    known = METHODS.get(last)
    facts = {"Family": family(name)}
    if known is not None:
        facts |= {"What it does": known.description, "Source": known.source, "Stores": known.stores}
        facts |= {"Extra passes": known.passes, "Uses": ", ".join(sorted(known.access)), "Library": known.library}
    return {key: value for key, value in facts.items() if value}


def _run(record: Record) -> dict[str, Any]:
    path = record_path(Path(), record.scenario.name, record.method.name, record.seed, record.run_id)
    return {
        "scenario": record.scenario.title,
        "method": record.method.name,
        "seed": record.seed,
        "status": record.status,
        "message": record.message,
        "outdated": outdated(record),
        "summary": summary(record.rounds) if len(record.rounds) > 1 else "",
        "rounds": [_round(result) for result in record.rounds],
        "settings": {key: canonical(value) for key, value in record.method.settings.items()},
        "options": {key: canonical(value) for key, value in record.scenario.options.items()},
        "about": {
            "run": record.run_id,
            "record": path.as_posix(),
            "method version": f"{record.method.version} {record.method.code}".strip(),
            "stream version": str(record.scenario.version),
            "data": record.scenario.fingerprint,
            "training data": record.scenario.training_fingerprint,
            "base": f"{record.base.name} ({record.base.model})",
            "base weights": record.base.sha256,
            "made": record.created,
            "seconds": f"{record.seconds:.1f}",
        },
        "environment": _environment(record),
        "command": command(record),
    }


def _environment(record: Record) -> dict[str, str]:
    own = record.environment.model_dump()
    packages, memory = own.pop("packages"), own.pop("peak_memory_mb")
    return {key: str(value) for key, value in own.items()} | {"peak memory": f"{memory:.0f} MB"} | packages


def _round(result: RoundResult) -> dict[str, Any]:
    return {
        "target": result.target,
        "gain": result.target_gain,
        "devsafety": result.devsafety,
        "strict": result.strictly_preserved,
        "harmless": without_regression(result),
        "verdicts": [verdict(result), second_verdict(result)],
        "luck": percent(mean_luck_rate([result])),
        "step": result.selected_step,
        "candidate": result.selected,
        "scenes": _scenes(result),
        "classes": [_class(name, result) for name in result.test],
        "checkpoints": [
            [point.step, point.candidate, _finite(point.devsafety), _finite(point.target_accuracy)]
            for point in result.checkpoints
        ],
    }


def _class(name: str, result: RoundResult) -> list[Any]:
    """Name, role, images, right before, right now, lost, won, p-value of McNemar's test that it got worse."""
    counts = result.test[name].counts
    role = "target" if name == result.target else "protected" if name in result.protected else ""
    p_value = significance.mcnemar(counts) if role == "protected" else None
    flips = [counts.lost, counts.won, "–" if p_value is None else shown_p_value(p_value)]
    return [name, role, counts.n, counts.old_correct, counts.new_correct, *flips]


def _scenes(result: RoundResult) -> list[Any]:
    """A title, then of each preference over scene pairs its name and how often it held before, holds now, lost, won."""
    if not result.scene_pairs:
        return []
    counts = {name: entry.counts for name, entry in result.scene_pairs.items()}
    return [scenes_title(result), *([k, c.n, c.old_correct, c.new_correct, c.lost, c.won] for k, c in counts.items())]


def _finite(value: float) -> float | None:
    return round(value, 6) if abs(value) < float("inf") else None
