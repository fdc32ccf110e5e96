"""An audit as a table, a JSON object, an HTML page, a JUnit file and a Markdown file."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

from benchmark.audit import logs, needs, words
from benchmark.audit.judging import Request
from benchmark.audit.rule import Audit, ClassAudit
from benchmark.metrics.counts import Counts
from benchmark.output import junit
from benchmark.output.files import replace_file
from benchmark.output.pages import templates
from benchmark.output.tables import escaped, markdown_table
from scenarios.table_files import parts

IMPORTANCE = (
    *("Verdict", "n", "Groups", "Change", "Margin", "Floor", "Lost", "Won", "Holm p", "NI p", "Floor p", "At most"),
    *("Old %", "New %", "Visible", "p"),
)


def print_audit(audit: Audit) -> None:
    """Show every class, both verdicts, the reason and the remedy."""
    from rich.text import Text

    from benchmark.output.tables import console, print_rows

    out = console()
    headings = list(words.headings(audit))
    print_rows(out, "", headings, words.rows(audit), importance=[name for name in IMPORTANCE if name in headings])
    for line in words.summary(audit):
        out.print(Text(line), soft_wrap=True)


def as_json(audit: Audit, request: Request) -> dict[str, Any]:
    """All figures as plain data; NaN is None, and so are what was not asked for."""
    files = _files(request)
    return {
        "verdict": audit.verdict,
        "exit_code": audit.exit_code,
        "strictly_preserved": audit.strictly_preserved,
        "reason": words.reason(audit),
        "next": words.remedy(audit),
        "alpha": audit.alpha,
        "margin": audit.asked.margin,
        "drop": audit.asked.drop,
        "old": files["Old"],
        "new": files["New"],
        "policy": files.get("Policy"),
        "notes": list(audit.notes),
        "pinned": {"images": len(audit.pinned.ids), "wrong": list(audit.pinned.wrong)},
        "target": audit.target,
        "protected": [one.name for one in audit.protected],
        "classes": {one.name: _class_json(one) for one in audit.classes},
    }


def _class_json(one: ClassAudit) -> dict[str, Any]:
    counts = one.counts
    figures = {
        "old_accuracy": counts.old_accuracy,
        "new_accuracy": counts.new_accuracy,
        "change": counts.change,
        "p": one.p,
        "p_adjusted": one.p_adjusted,
        "p_non_inferior": one.p_non_inferior,
        "largest_loss": one.largest_loss,
        "detectable_drop": one.detectable_drop,
        "p_above_floor": one.p_above,
        "p_below_floor": one.p_below,
    }
    both = counts.both_correct if isinstance(counts, Counts) else None
    return {
        "status": one.status,
        "finding": one.finding,
        "asked": one.asked._asdict() if one.status != "not protected" else None,
        "n": counts.n,
        "groups": one.evidence.units if one.evidence.grouped else None,
        "both_right": both,
        "lost": counts.lost,
        "won": counts.won,
        "both_wrong": None if both is None else counts.n - both - counts.lost - counts.won,
    } | {key: None if math.isnan(value) else value for key, value in figures.items()}


def _files(request: Request) -> dict[str, dict[str, str]]:
    files = {"Old": file_of(request.old, request.format), "New": file_of(request.new, request.format)}
    return files if request.policy is None else {**files, "Policy": file_of(request.policy)}


def file_of(path: Path, kind: logs.Format | None = None) -> dict[str, str]:
    """The path with a digest, of a folder that of the files that are read, one after the other.

    Raises:
        ValueError: there is nothing to read.
    """
    digest = hashlib.sha256()
    for part in parts(path) if kind is None else logs.files_of(path, kind):
        with part.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return {"path": str(path), "sha256": digest.hexdigest()}


def write_junit(path: Path, audit: Audit) -> None:
    """One case per protected class: regressed is a failure, undecided counts as skipped."""

    def case(one: ClassAudit) -> junit.Case:
        counts = one.counts
        line = f"{words.points(counts.change)} points: {counts.lost} lost and {counts.won} won of {counts.n} images"
        if one.status == "regressed":
            return junit.Case(one.name, failure=f"{line}, {words.why(audit, one)}")
        if one.status == "undecided":
            needed = needs.images_to_decide(audit, one)
            return junit.Case(one.name, skipped=f"undecided, {line}; {needs.unit(audit)} that would decide: {needed}")
        if one.status == "waived":
            return junit.Case(one.name, skipped=f"waived, else {one.finding}, {line}: {one.asked.waived}")
        return junit.Case(one.name)

    pinned = [
        junit.Case(f"pinned {name}", failure="wrong" if name in audit.pinned.wrong else "") for name in audit.pinned.ids
    ]
    junit.write(path, "mds-bench audit", [*map(case, audit.protected), *pinned])


def write_html(path: Path, audit: Audit, request: Request) -> None:
    """One self-contained page."""
    page = templates(Path(__file__).parent).get_template("page.html")
    text = page.render(
        audit=audit,
        summary=words.summary(audit),
        headings=words.headings(audit),
        rows=list(words.rows(audit)),
        files=_files(request),
        size=words.size,
    )
    replace_file(path, text.encode(errors="replace"))  # paths may hold what is no text


def write_markdown(path: Path, audit: Audit) -> None:
    """What ``print_audit`` shows, for the summary of a job or a comment on a merge request."""
    table = markdown_table(list(words.headings(audit)), (list(map(escaped, row)) for row in words.rows(audit)), left=2)
    lines = [f"## Release gate: {audit.verdict}", *(escaped(line) for line in words.summary(audit)), table]
    replace_file(path, ("\n\n".join(lines) + "\n").encode())
