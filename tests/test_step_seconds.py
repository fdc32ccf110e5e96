"""Times of a step of any model of open_clip."""

from __future__ import annotations

import re

from scripts import step_seconds


def test_every_method_has_a_line_with_a_time(capsys):
    step_seconds.main(["--model", "mds-tiny", "--steps", "3", "--batch-size", "8"])
    lines = capsys.readouterr().out.splitlines()
    found = [re.fullmatch(r"mds-tiny, (\S+): (\S+) s per step of 8", line) for line in lines]
    assert [line[1] for line in found] == list(step_seconds.METHODS)
    assert all(float(line[2]) > 0 for line in found)
