"""Building a stream while telling how far its pictures are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmark.output.progress import Reporter

if TYPE_CHECKING:
    from scenarios.stream import DevelopmentStream


def build(scenario: str, seed: int, options: dict[str, Any], reporter: Reporter) -> DevelopmentStream:
    """The stream ``scenario``, as ``scenarios.build`` makes it and raises."""
    import scenarios
    from scenarios.pixels import reporting

    with reporting(reporter.report):
        return scenarios.build(scenario, seed, **options)
