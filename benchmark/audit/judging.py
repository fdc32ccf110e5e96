"""One new model against the old one: what is asked, read or measured, and judged."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from benchmark import arguments
from benchmark.audit import answers, checkpoints, logs, pairing, predictions
from benchmark.audit.names import renaming, shown
from benchmark.audit.rows import clip_of
from benchmark.audit.rule import DROP, Audit, Level, Requirement, audit
from benchmark.metrics.significance import ALPHA
from benchmark.output.progress import Reporter
from methods.conversion import PICKLED, how_to_convert

CHECKPOINT = ".safetensors"
OF_POLICY = ("alpha", "margin", "drop", "group", "target", "protected", "abstain")  # which no flag may say again
OF_CHECKPOINTS = ("scenario", "data", "options", "model", "device", "like")
OF_PREDICTIONS = ("columns", "group", "score", "format", "abstain", "policy")


@dataclass(frozen=True)
class Request:
    """Two checkpoints, or two files of predictions; some fields are for one of these alone.

    ``protected`` holds names, or texts of several as ``arguments.names_of`` takes them; ``columns`` is a text as
    ``names.renaming`` takes it. What is None has its default, or is said by the policy. ``share`` is the part of alpha
    that this verdict may spend, where there are others.
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
    score: str | None = None
    format: logs.Format | None = None
    abstain: tuple[str, ...] | None = None
    policy: Path | None = None
    share: float = 1.0

    @property
    def level(self) -> Level:
        """That of this verdict, without a policy."""
        return Level(ALPHA if self.alpha is None else self.alpha, self.share)

    @property
    def asked(self) -> Requirement:
        """Of every protected class, without a policy."""
        return Requirement(self.margin or 0.0, DROP if self.drop is None else self.drop)


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


def _paired(
    request: Request, wording: pairing.Wording, more: Sequence[str] = (), group: str | None = None
) -> pairing.Paired:
    """Both models' predictions, or their graded answers."""
    if request.score is None and request.format is None:
        renamed = renaming(request.columns, predictions.COLUMNS)
        return pairing.pair(request.old, request.new, renamed, more, group, wording)
    if wording.abstain or wording.read_as:
        raise ValueError("graded answers have no names of classes that could be read otherwise or abstain")
    wanted = tuple(dict.fromkeys((*more, *([group] if group is not None else ()))))
    if request.format is not None:
        if request.columns is not None:
            raise ValueError("--columns is for tables: logs say themselves what is in them")
        read = [logs.read_log(path, request.format, request.score, wanted) for path in (request.old, request.new)]
        if group is None and len(set(read[0].more["question"])) < len(read[0].rows):
            group = "question"  # the answers of several epochs to one question are no independent ones
        return answers.pair(read[0], read[1], group)
    renamed, column = renaming(request.columns, answers.COLUMNS), request.score or ""
    before = answers.read_scores(request.old, column, renamed, more=wanted)
    return answers.pair(before, answers.read_scores(request.new, column, renamed, optional=wanted), group)


def _judge_predictions(request: Request) -> Audit:
    abstain = () if request.abstain is None else arguments.names_of(request.abstain, "--abstain")
    paired = _paired(request, pairing.Wording(abstain=abstain), group=request.group)
    evidence = paired.rows.of_classes()
    found = audit(evidence, _protected(request, evidence), request.target, request.level, request.asked)
    pairing.check_measured(paired, [one.name for one in found.protected])
    return replace(found, notes=paired.notes, warnings=_warnings(paired))


def _judge_by_policy(request: Request, path: Path) -> Audit:
    from benchmark.audit import policy as policies  # only now, as its schema takes time to import

    if said := next((flag for flag in OF_POLICY if getattr(request, flag) is not None), None):
        raise ValueError(f"--{said} is said by the policy {path}: leave it out, or change the policy")
    policy = policies.read(path)
    paired = _paired(request, policy.wording, policy.columns, policy.group)
    applied = policies.apply(policy, paired, path, date.today())
    slices = {name: paired.rows.of(chosen) for name, chosen in applied.slices.items()}
    try:
        found = audit(
            paired.rows.of_classes(),
            applied.protected,
            policy.target,
            Level(policy.alpha, request.share),
            policy.asked,
            applied.special,
            slices,
            applied.pinned,
        )
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix('--')}") from None
    pairing.check_measured(paired, [one.name for one in found.protected if one.name not in slices])
    notes = (f"policy {path}, SHA-256 {policies.digest(path)}", *applied.notes, *paired.notes)
    return replace(found, notes=notes, by_policy=True, warnings=_warnings(paired))


def _warnings(paired: pairing.Paired) -> tuple[str, ...]:
    if paired.rows.groups is not None or not (clip := clip_of(paired.ids, paired.labels)):
        return paired.warnings
    return (
        *paired.warnings,
        f"ids look like frames of clips, such as {shown(clip)}, which are no independent images: name the column that "
        "tells the clip with --group, or false alarms will be many",
    )


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
    return audit(evidence, protected, target, request.level, request.asked)
