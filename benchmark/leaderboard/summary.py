"""The last output of ``run``: a table, or for every method one JSON object with its runs and their figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.leaderboard.aggregation import table
from benchmark.leaderboard.text import print_table
from benchmark.metrics.preservation import preserved_gain
from benchmark.output.tables import console
from benchmark.records.schema import Record


def print_runs(found: Sequence[Record], results: Path, as_json: bool) -> None:
    """Print records, scenario by scenario, and where they are kept; nothing without any."""
    if not found:
        return
    if as_json:
        for scenario, method in dict.fromkeys((record.scenario.name, record.method.name) for record in found):
            print(json.dumps(summary(scenario, method, found), allow_nan=False))
        return
    out, scenarios = console(), list(dict.fromkeys(record.scenario.name for record in found))
    for scenario in scenarios:
        print_table(table([record for record in found if record.scenario.name == scenario]), out)
    place = results / "records"
    for line in (
        f"records: {place / scenarios[0] if len(scenarios) == 1 else place}",
        f"next: python -m benchmark leaderboard --results {results}",
    ):
        out.print(line, markup=False, highlight=False, soft_wrap=True)


def summary(scenario: str, method: str, found: Sequence[Record]) -> dict[str, Any]:
    """One object. A diverged run has its status and message, and counts as not preserved."""
    found = [record for record in found if (record.scenario.name, record.method.name) == (scenario, method)]
    complete = [record for record in found if record.status == "complete"]
    scored = [(r.target_gain, r.strictly_preserved) for record in complete for r in record.rounds]
    scored += [(0.0, False)] * sum(r.scenario.rounds for r in found if r.status == "diverged")
    return {
        "scenario": scenario,
        "method": method,
        "runs": [_run_summary(record) for record in found],
        "strict_preservation_rate": sum(kept for _, kept in scored) / len(scored),
        "preserved_gain": preserved_gain(scored),
    }


def _run_summary(record: Record) -> dict[str, Any]:
    rounds = [
        {
            "target": r.target,
            "target_gain": r.target_gain,
            "devsafety": r.devsafety,
            "strictly_preserved": r.strictly_preserved,
            "classes": {name: counts.model_dump() for name, counts in r.test.items()},
        }
        for r in record.rounds
    ]
    state = {} if record.status == "complete" else {"status": record.status, "message": record.message}
    return {"seed": record.seed, "rounds": rounds, "seconds": record.seconds} | state
