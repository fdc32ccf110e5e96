"""JUnit files as the schema of Jenkins' xUnit plugin wants them."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

import pytest
from lxml import etree

from benchmark.output import junit

CASES = [
    junit.Case("good", seconds=0.25),
    junit.Case("bad <\x00&>", failure="it is \x1b[31mred", seconds=1234.5),
    junit.Case("open", skipped="too few"),
]


def test_every_attribute_that_the_schema_asks_for_is_there(tmp_path: Path) -> None:
    junit.write(tmp_path / "j.xml", "gate", CASES)
    suite = ElementTree.parse(tmp_path / "j.xml").getroot()
    counts = {"tests": "3", "failures": "1", "errors": "0", "skipped": "1"}
    assert suite.attrib == counts | {"name": "gate", "time": "1234.750"}
    good, bad, unsure = suite
    assert all(set(case.attrib) == {"name", "classname", "time"} for case in suite)
    assert len(good) == 0
    for case, tag in ((bad, "failure"), (unsure, "skipped")):
        (child,) = case
        assert child.tag == child.get("type") == tag and child.text == child.get("message")


def test_it_is_valid_by_the_schema(tmp_path: Path) -> None:
    schema = os.environ.get("MDS_BENCH_JUNIT_XSD")
    if not schema:
        pytest.skip("set MDS_BENCH_JUNIT_XSD to the junit-10.xsd of Jenkins' xUnit plugin to run this test")
    for cases in (CASES, []):
        junit.write(tmp_path / "j.xml", "gate", cases)
        found = etree.XMLSchema(etree.parse(schema))
        assert found.validate(etree.parse(tmp_path / "j.xml")), found.error_log
