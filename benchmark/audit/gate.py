"""The command ``audit``: judge one new model or several, show, write, and remember."""

from __future__ import annotations

import filecmp
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark.audit import github, releases, report, words
from benchmark.audit.judging import Request, judge
from benchmark.audit.rule import Audit
from benchmark.output.files import check_files, locked
from benchmark.output.progress import Reporter
from scenarios.wording import some

ORDER = ("preserved", "undecided", "regressed")  # of verdicts, best first
LISTED = 5  # candidates in one line


@dataclass(frozen=True)
class Output:
    """Where the verdict goes; by default to the terminal, in words. ``github`` adds annotations to these."""

    as_json: bool = False
    github: bool = False
    html: Path | None = None
    junit: Path | None = None
    markdown: Path | None = None


TERMINAL = Output()


def run(request: Request, candidates: Sequence[Path], output: Output = TERMINAL, history: Path | None = None) -> int:
    """Judge, print and write; the exit code.

    Several candidates share alpha alike, so that the one that is chosen passes wrongly no more often than one alone.

    Args:
        request: all but the new model, and what part of alpha to spend.
        candidates: new models, one or more.
        output: where to.
        history: file that remembers verdicts, over which alpha is spent (``releases``).

    Raises:
        ValueError: if a file, name or number is not usable; nothing is written then.
        OSError: if a file cannot be written after all. If it is the history, no verdict has been told; if it is a
            report, the verdict has been printed and remembered.
    """
    _check_candidates(candidates)
    if output.github and output.as_json:
        raise ValueError("--github writes lines beside the table, and --json nothing but an object: give one")
    read = [request.old, *candidates, request.data, request.policy]
    check_files(read, html=output.html, junit=output.junit, markdown=output.markdown, history=history)
    with nullcontext() if history is None else locked(history):  # or two audits would be the same release
        release = None if history is None else releases.upcoming(history, request, candidates)
        share = (1.0 if release is None else release.share) / len(candidates)
        with Reporter(quiet=output.as_json) as reporter:
            audits = [judge(replace(request, new=path, share=share), reporter) for path in candidates]
        best = min(range(len(audits)), key=lambda number: _rank(audits[number]))
        if release is not None:
            release.remember(audits[best], candidates[best])
    about = [*_about_candidates(candidates, audits, best), *([] if release is None else [release.line])]
    found = replace(audits[best], notes=(*about, *audits[best].notes))
    _tell(replace(request, new=candidates[best]), found, dict(zip(candidates, audits, strict=True)), output)
    return found.exit_code


def _tell(request: Request, found: Audit, audits: Mapping[Path, Audit], output: Output) -> None:
    """Print what was found of the candidate that is shown, and write it."""
    for path in audits:
        if _are_same(request.old, path):
            print("warning: --old and --new are the same file: no model was compared with another", file=sys.stderr)
    for warning in dict.fromkeys(warning for audit in audits.values() for warning in audit.warnings):
        print(f"warning: {warning}", file=sys.stderr)
    if output.as_json:
        told = report.as_json(found, request)
        told["candidates"] = [_candidate_json(path, audit, request) for path, audit in audits.items()]
        print(json.dumps(told, allow_nan=False))
    else:
        report.print_audit(found)
        for line in github.lines(found) if output.github else ():
            print(line)
    # only now, as a disk may be full: the verdict is told all the same
    if output.html is not None:
        report.write_html(output.html, found, request)
    if output.junit is not None:
        report.write_junit(output.junit, found)
    if output.markdown is not None:
        report.write_markdown(output.markdown, found)


def _check_candidates(candidates: Sequence[Path]) -> None:
    for number, path in enumerate(candidates):
        if path in candidates[:number]:
            raise ValueError(f"--new {path}: is there twice: give each candidate once")


def _rank(audit: Audit) -> tuple[float, ...]:
    """The least is best: by verdict, then the gain of the target, or without one of all, then the worst change."""
    return ORDER.index(audit.verdict), -_gain(audit), -_worst(audit)


def _gain(audit: Audit) -> float:
    changes = [one.counts.change for one in audit.classes if audit.target in (None, one.name)]
    return sum(changes) / len(changes)


def _worst(audit: Audit) -> float:
    return min(one.counts.change for one in audit.protected)


def _about_candidates(candidates: Sequence[Path], audits: Sequence[Audit], best: int) -> list[str]:
    """Which of several is shown, and why; nothing about one."""
    if len(candidates) == 1:
        return []
    passed = sum(audit.verdict == "preserved" for audit in audits)
    what = "the best of those that pass" if passed else "none passes, this one comes nearest"
    gained = "target" if audits[0].target is not None else "mean change"
    told = [
        f"{path} {audit.verdict} ({gained} {words.points(_gain(audit))}, worst {words.points(_worst(audit))})"
        for path, audit in sorted(zip(candidates, audits, strict=True), key=lambda pair: _rank(pair[1]))
    ]
    return [
        f"candidate {candidates[best]}: {what}; {passed} of {len(audits)} pass, each at α {audits[0].alpha:.3g}: "
        + some(told, LISTED)
    ]


def _candidate_json(path: Path, audit: Audit, request: Request) -> dict[str, Any]:
    file = report.file_of(path, request.format)
    return {**file, "verdict": audit.verdict, "gain": _gain(audit), "worst_change": _worst(audit)}


def _are_same(old: Path, new: Path) -> bool:
    return old.samefile(new) or (old.is_file() and new.is_file() and filecmp.cmp(old, new, shallow=False))
