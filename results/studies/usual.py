"""What studies have in common: the settings of a row of the leaderboard."""

from __future__ import annotations

from typing import Any

import methods
from benchmark.records.tuned import tuned
from benchmark.running.jobs import budget_of


def usual_settings(scenario: str, method: str) -> dict[str, Any]:
    """Those that ``run`` takes where nothing is asked for, as a record has them."""
    strategy = methods.load(method)
    settings = strategy.SETTINGS(**budget_of(strategy, scenario) | tuned(scenario, method))
    found: dict[str, Any] = settings.model_dump(mode="json")
    return found
