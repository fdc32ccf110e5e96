"""Data sets on disk, and versions and fingerprints of the rendered streams."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmark.output.files import replace_file
from benchmark.output.progress import Reporter
from benchmark.output.tables import printable
from benchmark.running.streams import build
from scenarios import BUDGETS, rendered


def write_fingerprints(out: Path) -> None:
    """Write today's versions and fingerprints of the rendered streams, for records to be compared with."""
    found: dict[str, dict[str, Any]] = {}
    with Reporter() as reporter:
        for name in (name for budget in BUDGETS for name in rendered(budget)):
            stream = build(name, 0, {"target_images": 1, "protected_per_class": 1}, reporter)
            options = {key: stream.options[key] for key in ("image_size", "val_per_class", "test_per_class")}
            found[name] = {"version": stream.version, "fingerprint": stream.fingerprint, "options": options}
    replace_file(out, (json.dumps(found, indent=1) + "\n").encode())
    print(f"fingerprints: {out}")


def verify_data(scenario: str, options: dict[str, Any], decode: bool) -> bool:
    """Print what a data set on disk, or a folder of your own photos, holds and lacks; whether it can serve."""
    from scenarios.verify import verify
    from scenarios.verify_folder import verify_folder

    data = options.get("data", "")
    with Reporter() as reporter:
        own = scenario == "folder"
        report = (
            verify_folder(data, decode, reporter.report) if own else verify(scenario, data, decode, reporter.report)
        )
    print("\n".join(map(printable, report.lines())))
    return report.ok
