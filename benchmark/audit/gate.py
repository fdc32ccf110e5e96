"""The command ``audit``: read or measure, judge, show, write."""

from __future__ import annotations

import filecmp
import json
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from benchmark import arguments
from benchmark.audit import checkpoints, predictions, report
from benchmark.audit.names import renaming, shown
from benchmark.audit.rows import clip_of
from benchmark.audit.rule import DROP, Audit, Requirement, audit
from benchmark.metrics.significance import ALPHA
from benchmark.output.files import check_files
from benchmark.output.progress import Reporter
from methods.conversion import PICKLED, how_to_convert

CHECKPOINT = ".safetensors"
OF_POLICY = ("alpha", "margin", "drop", "group", "target", "protected")  # what a policy says, no flag may say
OF_CHECKPOINTS = ("scenario", "data", "options", "model", "device", "like")
OF_PREDICTIONS = ("columns", "group", "policy")


@dataclass(frozen=True)
class Request:
    """Two checkpoints, or two files of predictions; some fields are for one of these alone.

    ``protected`` holds names, or texts of several as ``arguments.names_of`` takes them; ``columns`` is a text as
    ``names.renaming`` takes it. What is None has its default, or is said by the policy.
    """

    old: Path
    new: Path
    protected: tuple[str, ...] | str | None = None
    target: str | None = None
    alpha: float | None = None
    margin: float | None = None
    drop: float | None = None
    scenario: str | None = None
    data: Path | None = None
    options: tuple[str, ...] = ()
    model: str | None = None
    device: str | None = None
    like: str | None = None
    columns: str | None = None
    group: str | None = None
    policy: Path | None = None

    @property
    def asked(self) -> Requirement:
        """Of every protected class, without a policy."""
        return Requirement(self.margin or 0.0, DROP if self.drop is None else self.drop)


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
    check_files([request.old, request.new, request.data, request.policy], html=html, junit=junit, markdown=markdown)
    with Reporter(quiet=as_json) as reporter:
        found = judge(request, reporter)
    if _are_same(request.old, request.new):
        print("warning: --old and --new are the same file: no model was compared with another", file=sys.stderr)
    if as_json:
        print(json.dumps(report.as_json(found, request.old, request.new, request.policy), allow_nan=False))
    else:
        report.print_audit(found)
    # only now, as a disk may be full: the verdict is told all the same
    if html is not None:
        report.write_html(html, found, request.old, request.new, request.policy)
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
    for path in (request.old, request.new):
        if path.suffix in PICKLED:
            raise ValueError(how_to_convert(path))
    checkpoints = [path.suffix == CHECKPOINT for path in (request.old, request.new)]
    if any(checkpoints) and not all(checkpoints):
        raise ValueError(f"{request.old} and {request.new}: give two {CHECKPOINT} checkpoints, or two predictions")
    for flag in OF_PREDICTIONS if all(checkpoints) else OF_CHECKPOINTS:
        if getattr(request, flag):
            these, others = f"{CHECKPOINT} checkpoints", "predictions"
            kinds = (others, these) if all(checkpoints) else (these, others)
            raise ValueError(
                f"--{flag.removesuffix('s') if flag == 'options' else flag} is for {kinds[0]}, not for {kinds[1]}"
            )
    if all(checkpoints):
        return _judge_checkpoints(request, reporter)
    return _judge_predictions(request) if request.policy is None else _judge_by_policy(request, request.policy)


def _judge_predictions(request: Request) -> Audit:
    renamed = renaming(request.columns, predictions.COLUMNS)
    paired = predictions.pair(request.old, request.new, renamed, group=request.group)
    evidence = paired.rows.of_classes()
    found = audit(evidence, _protected(request, evidence), request.target, _alpha(request), request.asked)
    predictions.check_measured(paired, [one.name for one in found.protected])
    _warn_of_clips(paired)
    return found


def _judge_by_policy(request: Request, path: Path) -> Audit:
    from benchmark.audit import policy as policies  # only now, as its schema takes time to import

    if said := next((flag for flag in OF_POLICY if getattr(request, flag) is not None), None):
        raise ValueError(f"--{said} is said by the policy {path}: leave it out, or change the policy")
    policy = policies.read(path)
    renamed = renaming(request.columns, predictions.COLUMNS)
    paired = predictions.pair(request.old, request.new, renamed, policy.columns, policy.group)
    applied = policies.apply(policy, paired, path, date.today())
    slices = {name: paired.rows.of(chosen) for name, chosen in applied.slices.items()}
    try:
        found = audit(
            paired.rows.of_classes(),
            policy.protected,
            policy.target,
            policy.alpha,
            policy.asked,
            applied.special,
            slices,
            applied.pinned,
        )
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix('--')}") from None
    predictions.check_measured(paired, [one.name for one in found.protected if one.name not in slices])
    _warn_of_clips(paired)
    return replace(found, notes=(f"policy {path}, SHA-256 {policies.digest(path)}", *applied.notes))


def _warn_of_clips(paired: predictions.Paired) -> None:
    if paired.rows.groups is None and (clip := clip_of(paired.ids, paired.labels)):
        print(
            f"warning: ids look like frames of clips, such as {shown(clip)}, which are no independent images: name the "
            "column that tells the clip with --group, or false alarms will be many",
            file=sys.stderr,
        )


def _alpha(request: Request) -> float:
    return ALPHA if request.alpha is None else request.alpha


def _texts(request: Request) -> Sequence[str] | None:
    return [request.protected] if isinstance(request.protected, str) else request.protected


def _protected(request: Request, known: Collection[str]) -> tuple[str, ...] | None:
    texts = _texts(request)
    return None if texts is None else arguments.names_of(texts, "--protected", known)


def _judge_checkpoints(request: Request, reporter: Reporter) -> Audit:
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
    rows, target, kept = checkpoints.measure(
        request.old,
        request.new,
        request.scenario,
        options,
        request.model,
        request.device or "auto",
        reporter,
        like=request.like,
    )
    evidence = rows.of_classes()
    if "target" not in takes:
        target = request.target or target
    protected: Sequence[str] | None = _protected(request, evidence)
    if protected is None or "protected" in takes:
        protected = [name for name in kept if name != target]
    return audit(evidence, protected, target, _alpha(request), request.asked)
