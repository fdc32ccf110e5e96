"""The command ``audit``: read or measure, judge, show, write."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from benchmark import arguments
from benchmark.audit import checkpoints, predictions, report
from benchmark.audit.rule import DROP, Audit, audit
from benchmark.output.progress import Reporter

CHECKPOINT = ".safetensors"


@dataclass(frozen=True)
class Request:
    """Two checkpoints, or two files of predictions; from ``scenario`` on, fields are for checkpoints alone."""

    old: Path
    new: Path
    protected: str | None = None
    target: str | None = None
    alpha: float = 0.05
    margin: float = 0.0
    drop: float = DROP
    scenario: str | None = None
    data: Path | None = None
    options: tuple[str, ...] = ()
    model: str | None = None
    device: str | None = None


def run(request: Request, as_json: bool = False, html: Path | None = None, junit: Path | None = None) -> int:
    """Judge, print and write; the exit code.

    Raises:
        ValueError: if a file, name or number is not usable; nothing is written then.
    """
    for flag, path in (("--html", html), ("--junit", junit)):
        if path is not None and (path.is_dir() or not path.parent.is_dir()):
            raise ValueError(f"{flag} {path}: name a file in a folder that exists")
    with Reporter(quiet=as_json) as reporter:
        found = judge(request, reporter)
    if html is not None:
        report.write_html(html, found, request.old, request.new)
    if junit is not None:
        report.write_junit(junit, found)
    if as_json:
        print(json.dumps(report.as_json(found, request.old, request.new), allow_nan=False))
    else:
        report.print_audit(found)
    return found.exit_code


def judge(request: Request, reporter: Reporter) -> Audit:
    """The audit of a request.

    Raises:
        ValueError: if a file, name or number is not usable.
    """
    judged = {"alpha": request.alpha, "margin": request.margin, "drop": request.drop}
    protected = None
    if request.protected is not None:
        protected = [name.strip() for name in request.protected.split(",") if name.strip()]
    checkpoints = [path.suffix == CHECKPOINT for path in (request.old, request.new)]
    if all(checkpoints):
        return _judge_checkpoints(request, protected, judged, reporter)
    if any(checkpoints):
        raise ValueError(f"{request.old} and {request.new}: give two {CHECKPOINT} checkpoints, or two predictions")
    for flag in ("scenario", "data", "options", "model", "device"):
        if getattr(request, flag):
            raise ValueError(f"--{flag.removesuffix('s')} is for {CHECKPOINT} checkpoints, not for predictions")
    return audit(predictions.paired_counts(request.old, request.new), protected, request.target, **judged)


def _judge_checkpoints(
    request: Request, protected: list[str] | None, judged: dict[str, float], reporter: Reporter
) -> Audit:
    """Flags that the scenario takes are its business; others choose among its classes."""
    if request.scenario is None:
        raise ValueError("checkpoints need --scenario: say --scenario folder --data DIR --target CLASS for your photos")
    takes = arguments.known_scenario(request.scenario).flags
    options = arguments.scenario_options(
        request.scenario,
        request.options,
        request.data,
        request.target if "target" in takes else None,
        request.protected if "protected" in takes else None,
    )
    counts, target, kept = checkpoints.measure(
        request.old, request.new, request.scenario, options, request.model, request.device or "auto", reporter
    )
    if "target" not in takes:
        target = request.target or target
    if protected is None or "protected" in takes:
        protected = [name for name in kept if name != target]
    return audit(counts, protected, target, **judged)
