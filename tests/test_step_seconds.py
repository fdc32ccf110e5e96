"""Times of a step of any model of open_clip."""

from __future__ import annotations

import re

import pytest

from scripts import step_seconds


def test_every_method_has_a_line_with_a_time(capsys):
    step_seconds.main(["--model", "mds-tiny", "--steps", "3", "--batch-size", "8"])
    lines = capsys.readouterr().out.splitlines()
    found = [re.fullmatch(r"mds-tiny, (\S+): (\S+) s per step of 8", line) for line in lines]
    assert [line[1] for line in found] == list(step_seconds.METHODS)
    assert all(float(line[2]) > 0 for line in found)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["--model", "nowhere"], "nowhere"),
        (["--steps", "1"], "--steps must be 2 or more"),
        (["--batch-size", "1"], "batch_size"),
        (["--device", "tpu"], "invalid choice: 'tpu'"),
    ],
)
def test_what_cannot_be_timed_is_told_in_one_line(changes, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        step_seconds.main(["--model", "mds-tiny", *changes])
    *_, line = capsys.readouterr().err.splitlines()
    assert line.count("error: ") == 1 and said in line
