"""The command ``audit``: read or measure, judge, show, write."""

from __future__ import annotations

import filecmp
import json
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark import arguments
from benchmark.audit import checkpoints, predictions, report
from benchmark.audit.names import renaming
from benchmark.audit.rule import DROP, Audit, audit
from benchmark.output.files import check_files
from benchmark.output.progress import Reporter
from methods.conversion import PICKLED, how_to_convert

CHECKPOINT = ".safetensors"


@dataclass(frozen=True)
class Request:
    """Two checkpoints, or two files of predictions; from ``scenario`` to ``like``, fields are for checkpoints alone.

    ``protected`` holds names, or texts of several as ``arguments.names_of`` takes them. ``columns`` is for predictions
    alone, a text as ``names.renaming`` takes it.
    """

    old: Path
    new: Path
    protected: tuple[str, ...] | str | None = None
    target: str | None = None
    alpha: float = 0.05
    margin: float = 0.0
    drop: float = DROP
    scenario: str | None = None
    data: Path | None = None
    options: tuple[str, ...] = ()
    model: str | None = None
    device: str | None = None
    like: str | None = None
    columns: str | None = None


def run(
    request: Request,
    as_json: bool = False,
    html: Path | None = None,
    junit: Path | None = None,
    markdown: Path | None = None,
) -> int:
    """Judge, print and write; the exit code.

    Raises:
        ValueError: if a file, name or number is not usable; nothing is written then.
        OSError: if a report cannot be written after all; the verdict has been printed.
    """
    check_files([request.old, request.new, request.data], html=html, junit=junit, markdown=markdown)
    with Reporter(quiet=as_json) as reporter:
        found = judge(request, reporter)
    if _are_same(request.old, request.new):
        print("warning: --old and --new are the same file: no model was compared with another", file=sys.stderr)
    if as_json:
        print(json.dumps(report.as_json(found, request.old, request.new), allow_nan=False))
    else:
        report.print_audit(found)
    # only now, as a disk may be full: the verdict is told all the same
    if html is not None:
        report.write_html(html, found, request.old, request.new)
    if junit is not None:
        report.write_junit(junit, found)
    if markdown is not None:
        report.write_markdown(markdown, found)
    return found.exit_code


def _are_same(old: Path, new: Path) -> bool:
    return old.samefile(new) or (old.is_file() and new.is_file() and filecmp.cmp(old, new, shallow=False))


def judge(request: Request, reporter: Reporter) -> Audit:
    """The audit of a request.

    Raises:
        ValueError: if a file, name or number is not usable.
    """
    judged = {"alpha": request.alpha, "margin": request.margin, "drop": request.drop}
    for path in (request.old, request.new):
        if path.suffix in PICKLED:
            raise ValueError(how_to_convert(path))
    checkpoints = [path.suffix == CHECKPOINT for path in (request.old, request.new)]
    if all(checkpoints):
        if request.columns is not None:
            raise ValueError(f"--columns is for predictions, not for {CHECKPOINT} checkpoints")
        return _judge_checkpoints(request, judged, reporter)
    if any(checkpoints):
        raise ValueError(f"{request.old} and {request.new}: give two {CHECKPOINT} checkpoints, or two predictions")
    for flag in ("scenario", "data", "options", "model", "device", "like"):
        if getattr(request, flag):
            raise ValueError(f"--{flag.removesuffix('s')} is for {CHECKPOINT} checkpoints, not for predictions")
    paired = predictions.pair(request.old, request.new, renaming(request.columns, predictions.COLUMNS))
    found = audit(paired.counts, _protected(request, paired.counts), request.target, **judged)
    predictions.check_measured(paired, [one.name for one in found.protected])
    return found


def _texts(request: Request) -> Sequence[str] | None:
    return [request.protected] if isinstance(request.protected, str) else request.protected


def _protected(request: Request, known: Collection[str]) -> tuple[str, ...] | None:
    texts = _texts(request)
    return None if texts is None else arguments.names_of(texts, "--protected", known)


def _judge_checkpoints(request: Request, judged: dict[str, float], reporter: Reporter) -> Audit:
    """Flags that the scenario takes are its business; others choose among its classes."""
    if request.scenario is None:
        raise ValueError("checkpoints need --scenario: say --scenario folder --data DIR --target CLASS for your photos")
    takes = arguments.known_scenario(request.scenario).flags
    options = arguments.scenario_options(
        request.scenario,
        request.options,
        request.data,
        request.target if "target" in takes else None,
        _texts(request) if "protected" in takes else None,
    )
    counts, target, kept = checkpoints.measure(
        request.old,
        request.new,
        request.scenario,
        options,
        request.model,
        request.device or "auto",
        reporter,
        like=request.like,
    )
    if "target" not in takes:
        target = request.target or target
    protected: Sequence[str] | None = _protected(request, counts)
    if protected is None or "protected" in takes:
        protected = [name for name in kept if name != target]
    return audit(counts, protected, target, **judged)
