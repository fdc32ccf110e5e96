"""An audit as a table, a JSON object, an HTML page and a JUnit file."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

from benchmark import audit_text, junit
from benchmark.audit import Audit, ClassAudit
from benchmark.records import replace_file


def print_audit(audit: Audit) -> None:
    """Show every class, both verdicts, the reason and the remedy."""
    from rich.text import Text

    from benchmark.tables import console, print_rows

    out = console()
    print_rows(out, "", list(audit_text.HEADINGS), audit_text.rows(audit))
    for line in audit_text.summary(audit):
        out.print(Text(line), soft_wrap=True)


def as_json(audit: Audit, old: Path, new: Path) -> dict[str, Any]:
    """All figures as plain data; NaN is None."""
    return {
        "verdict": audit.verdict,
        "exit_code": audit.exit_code,
        "strictly_preserved": audit.strictly_preserved,
        "reason": audit_text.reason(audit),
        "next": audit_text.remedy(audit),
        "alpha": audit.alpha,
        "margin": audit.margin,
        "drop": audit.drop,
        "old": _file(old),
        "new": _file(new),
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
    }
    return {
        "status": one.status,
        "n": counts.n,
        "both_right": counts.both_correct,
        "lost": counts.lost,
        "won": counts.won,
        "both_wrong": counts.n - counts.both_correct - counts.lost - counts.won,
    } | {key: None if math.isnan(value) else value for key, value in figures.items()}


def _file(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        return {"path": str(path), "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def write_junit(path: Path, audit: Audit) -> None:
    """One case a protected class: regressed is a failure, undecided counts as skipped."""

    def case(one: ClassAudit) -> junit.Case:
        counts = one.counts
        line = (
            f"{audit_text.points(counts.change)} points: {counts.lost} lost and {counts.won} won of {counts.n} images"
        )
        if one.status == "regressed":
            return junit.Case(one.name, failure=f"{line}, Holm p {audit_text.p_value(one.p_adjusted)}")
        if one.status == "undecided":
            images = audit_text.images_to_decide(audit, one)
            return junit.Case(one.name, skipped=f"undecided, {line}; images that would decide: {images}")
        return junit.Case(one.name)

    junit.write(path, "mds-bench audit", [case(one) for one in audit.protected])


def write_html(path: Path, audit: Audit, old: Path, new: Path) -> None:
    """One self-contained page."""
    from jinja2 import Environment, FileSystemLoader

    templates = FileSystemLoader(Path(__file__).with_name("report"))
    page = Environment(loader=templates, autoescape=True, trim_blocks=True, lstrip_blocks=True).get_template(
        "audit.html"
    )
    text = page.render(
        audit=audit,
        summary=audit_text.summary(audit),
        headings=audit_text.HEADINGS,
        rows=list(audit_text.rows(audit)),
        files={"Old": _file(old), "New": _file(new)},
        size=audit_text.size,
    )
    replace_file(path, text.encode())
