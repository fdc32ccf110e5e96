"""Tables on terminals of any width: numbers stay whole."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from benchmark.output.tables import print_rows

HEADINGS = ("Class", "Verdict", "n", "Old %", "New %", "Change", "At most")
ROWS = [
    ("clear", "regressed", "100", "90.0", "60.0", "−30.0", "38.4"),
    ("partly cloudy", "kept", "1200", "90.0", "90.0", "0.0", "3.0"),
]


def shown(width: int, rows=ROWS, **how) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_rows(console, "verdicts", HEADINGS, rows, **how)
    return console.file.getvalue()


def test_a_wide_terminal_shows_everything():
    text = shown(80)
    assert all(cell in text for row in (HEADINGS, *ROWS) for cell in row) and "not shown" not in text


def test_on_a_narrow_one_the_least_important_columns_are_left_out():
    text = shown(41, importance=("Verdict", "Change"))
    assert "regressed" in text and "−30.0" in text and "90.0" not in text
    assert " ".join(text.split()).endswith("not shown on 41 columns: Old %, New %, At most")


def test_where_no_column_fits_every_row_is_a_block_of_lines():
    assert shown(20).splitlines() == ["verdicts"] + [
        line
        for first, *others in ROWS
        for line in (first, *(f"  {heading}: {cell}" for heading, cell in zip(HEADINGS[1:], others, strict=True)))
    ]


@given(st.integers(20, 200), st.lists(st.integers(0, 10**9), min_size=5, max_size=5), st.text("ab ", max_size=40))
def test_no_number_is_ever_broken_and_no_line_too_long(width, numbers, name):
    rows = [(name, "undecided", *map(str, numbers))]
    text = shown(width, rows)
    left_out = " ".join(text.split()).partition("not shown on")[2]
    for heading, number in zip(HEADINGS[2:], map(str, numbers), strict=True):
        assert number in text.replace("│", " ").split() or heading in left_out
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("width", [30, 60, 200])
def test_markup_in_names_is_shown_as_it_is(width):
    assert "[red]" in shown(width, [("[red]a", *ROWS[0][1:])])
