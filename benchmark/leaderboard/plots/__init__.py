"""Pictures of results, as SVG files: the same bytes for the same records."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from benchmark.leaderboard.plots import classes, constraints, gains, rates, rounds, tolerance
from benchmark.leaderboard.plots.drawing import style
from benchmark.leaderboard.plots.groups import named_groups
from benchmark.output.files import replace_file
from benchmark.records.files import record_path
from benchmark.records.schema import Record

KINDS = {  # the ending of a file's name, and the function that draws it
    "-gains": gains.draw,
    "-tolerance": tolerance.draw,
    "-rates": rates.draw,
    "-classes": classes.draw,
    "-rounds": rounds.draw,
    "-constraints": constraints.draw,
}


def write_all(records: Sequence[Record], results: Path) -> list[Path]:
    """Draw every stream's plots into ``results/plots``, but those for which it has no data; return their paths."""
    written = []
    for scenario in sorted({r.scenario.title for r in records}):
        groups = named_groups([r for r in records if r.scenario.title == scenario])
        for path, draw in zip(paths(results, scenario), KINDS.values(), strict=True):
            with style():
                picture = draw(scenario, groups)
                content = picture and picture.svg()
            if content:
                path.parent.mkdir(parents=True, exist_ok=True)
                replace_file(path, content)
                written.append(path)
    return written


def paths(results: Path, scenario: str) -> list[Path]:
    """Where the plots of a stream, by its title, are, as far as they are drawn, in the order of ``KINDS``."""
    name = record_path(results, scenario, "", 0, "").parent.name  # safe for a file system
    if name != scenario:  # others may have become the same
        name += f"-{sha256(scenario.encode()).hexdigest()[:8]}"
    return [Path(results) / "plots" / f"{name}{kind}.svg" for kind in KINDS]
