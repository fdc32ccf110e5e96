"""Tables on terminals too narrow for them: less important columns are left out, so that no number is broken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WORD = 16  # cells: no column of words is made narrower than its longest word, or than this if that is longer
PADDING = 3  # cells that a column takes beside its content, a border among them; the table one more


@dataclass(frozen=True)
class Layout:
    """The columns to show, by number, with their widths in cells, and those left out."""

    widths: dict[int, int]
    left_out: tuple[int, ...]


def fits(width: int, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether a table takes no more than ``width`` cells as it is."""
    return _total(_natural(cells) for cells in _columns(headings, rows)) <= width


def layout(
    width: int, headings: Sequence[str], rows: Sequence[Sequence[str]], left: int, importance: Sequence[str]
) -> Layout | None:
    """What of a table to show on ``width`` cells, or None where it must be told in another form.

    Args:
        width: of the terminal.
        headings: of the columns; they may be broken between words.
        rows: cells.
        left: how many columns, the first ones, are words, which may be broken between words and are never left out.
        importance: headings of other columns, of which the last is left out first; all that are not among them go
            before, the last first.
    """
    columns = _columns(headings, rows)
    least = [
        min(_longest_word(cells), WORD) if number < left else max(_longest_word(cells[:1]), _natural(cells[1:]))
        for number, cells in enumerate(columns)
    ]
    shown = list(range(left))
    for number in sorted(range(left, len(headings)), key=lambda n: _rank(headings[n], importance)):
        if _total(least[n] for n in [*shown, number]) > width:
            break
        shown.append(number)
    if _total(least[n] for n in shown) > width or (len(shown) == left < len(headings)):
        return None
    widths = {number: least[number] for number in sorted(shown)}
    spare = width - _total(widths.values())
    for number in sorted(widths, key=lambda n: (n >= left, n)):  # names first
        more = min(spare, _natural(columns[number]) - widths[number])
        widths[number] += more
        spare -= more
    return Layout(widths, tuple(number for number in range(len(headings)) if number not in widths))


def _columns(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    return list(zip(headings, *rows, strict=True))


def _rank(heading: str, importance: Sequence[str]) -> int:
    return importance.index(heading) if heading in importance else len(importance)


def _total(widths: Iterable[int]) -> int:
    return sum(width + PADDING for width in widths) + 1


def _cells(text: str) -> int:
    from rich.cells import cell_len  # only now: most commands print no table

    return cell_len(text)


def _natural(cells: Sequence[str]) -> int:
    return max((_cells(line) for cell in cells for line in cell.splitlines()), default=0)


def _longest_word(cells: Sequence[str]) -> int:
    return max((_cells(word) for cell in cells for word in cell.split()), default=0)
