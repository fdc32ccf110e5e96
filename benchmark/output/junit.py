"""JUnit XML, which continuous-integration services show as a list of passed and failed checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from benchmark.output.files import replace_file


@dataclass(frozen=True)
class Case:
    """One check: it passed unless ``failure`` or ``skipped`` says why not."""

    name: str
    failure: str = ""
    skipped: str = ""
    seconds: float = 0.0


def write(path: Path, suite: str, cases: Sequence[Case]) -> None:
    """Write ``cases`` as one test suite, with all that the schema of Jenkins' xUnit plugin asks for.

    Raises:
        OSError: if the file cannot be written.
    """
    root = ElementTree.Element(
        "testsuite",
        name=suite,
        tests=str(len(cases)),
        failures=str(sum(bool(case.failure) for case in cases)),
        errors="0",
        skipped=str(sum(bool(case.skipped) for case in cases)),
        time=f"{sum(case.seconds for case in cases):.3f}",
    )
    for case in cases:
        element = ElementTree.SubElement(root, "testcase", classname=suite, name=_xml(case.name))
        element.set("time", f"{case.seconds:.3f}")
        for kind, text in (("failure", case.failure), ("skipped", "" if case.failure else case.skipped)):
            if text:  # services show the message, the text or the type
                ElementTree.SubElement(element, kind, type=kind, message=_xml(text)).text = _xml(text)
    ElementTree.indent(root)
    replace_file(path, ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n")


def _xml(text: str) -> str:
    """``text`` without the control characters that XML cannot hold."""
    return "".join(
        c if c in "\t\n" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff" else "�" for c in text
    )
