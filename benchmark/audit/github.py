"""An audit as GitHub Actions shows it beside a job: a line for each class that did not pass.

The form is that of GitHub's workflow commands. A step shows ten errors, ten warnings and ten notices.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from benchmark.audit import needs, words
from benchmark.audit.rule import Audit, ClassAudit, Status

SHOWN = 10
Kind = Literal["error", "warning", "notice"]
KINDS: dict[Status, Kind] = {"regressed": "error", "undecided": "warning", "waived": "notice"}


def lines(audit: Audit) -> Iterator[str]:
    """The commands, the worst class first; the last one of a kind says how many more there are.

    Example:
        >>> _command("error", "50 % fog: night", "lost")
        '::error title=50 %25 fog%3A night::lost'
    """
    for status, kind in KINDS.items():
        found = [(f"{one.name}: {status}", _message(audit, one)) for one in words.worst_first(audit.of(status))]
        if status == "regressed":
            found += [(f"{name}: regressed", "a pinned image is wrong") for name in audit.pinned.wrong]
        if len(found) > SHOWN:
            more = len(found) - SHOWN + 1
            found[SHOWN - 1 :] = [(f"{more} more: {status}", "the summary of the job has them all")]
        for title, message in found:
            yield _command(kind, title, message)


def _message(audit: Audit, one: ClassAudit) -> str:
    counts = one.counts
    change = f"{words.points(counts.change)} points, {counts.lost} lost and {counts.won} won of {counts.n} images"
    if one.status == "regressed":
        return f"{change}; {words.why(audit, one)}"
    if one.status == "undecided":
        return f"{change}; {needs.unit(audit)} that would decide: {needs.images_to_decide(audit, one)}"
    return f"{change}; else {one.finding}; waived: {one.asked.waived}"


def _command(kind: Kind, title: str, message: str) -> str:
    """With what ends a line, a property or a value written as GitHub reads it back."""
    text = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
    both = text | str.maketrans({":": "%3A", ",": "%2C"})
    return f"::{kind} title={title.translate(both)}::{message.translate(text)}"
