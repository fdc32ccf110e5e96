"""How all plots look: colour-blind safe, legible on paper and on a dark screen, told in words, and reproducible."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmark.leaderboard.families import FAMILIES, OTHER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SAFETY, GAIN = "DevSafety (points)", "target gain (points)"
INK, PAPER, GRID = "#22222c", "#fefefe", "#d4d4dc"  # no other part of a plot may have these colours, see DARK
DARK = {INK: "#e6e6ee", PAPER: "#1b1b22", GRID: "#44444f"}
# seaborn's "colorblind", its yellow darker; with a marker for each: colour is never all that tells families apart
# fmt: off
COLOURS = ("#949494", "#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#56b4e9", "#b3a51a", "#ca9161", "#fbafe4")
MARKERS = ("X", "o", "s", "^", "D", "v", "P", "*", "p", "h")
# fmt: on
LETTERS = 8  # pt
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # names may hold anything


class Picture(NamedTuple):
    """A plot, and its description in words."""

    figure: Figure
    title: str
    description: str

    def svg(self) -> bytes:
        """The SVG file: a title and a description for those who cannot see it, and colours for dark screens."""
        import matplotlib.pyplot as plt

        buffer = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        self.figure.savefig(buffer, format="svg", metadata=nothing, bbox_inches="tight", pad_inches=0.15)
        plt.close(self.figure)
        head, tag, drawing = buffer.getvalue().partition("<svg ")
        attributes, end, drawing = drawing.partition(">")
        words = f"<title>{html.escape(self.title)}</title>\n <desc>{html.escape(self.description)}</desc>"
        whole = f'{head}{tag}role="img" {attributes}{end}\n {words}\n <style>{_dark_rules()}</style>{drawing}'
        return NOT_XML.sub(" ", whole).encode()


def _dark_rules() -> str:
    """Paper turns dark and ink light together, so that no reader who knows only one of them sees neither."""
    rules = "".join(
        f'[style*="{part}: {light}"]{{{part}:{dark}!important}}'
        for light, dark in DARK.items()
        for part in ("fill", "stroke")
    )
    return f"@media (prefers-color-scheme: dark){{{rules}}}"


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's settings while a plot is made and written: with the font it ships, so that every machine agrees."""
    import matplotlib as mpl
    import seaborn as sns

    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing|Tight layout")  # readers have more fonts; svg() trims
        sns.set_theme(style="whitegrid", context="paper", palette="colorblind")
        ink = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
        paper = ("figure.facecolor", "axes.facecolor", "savefig.facecolor")
        mpl.rcParams.update(dict.fromkeys(ink, INK) | dict.fromkeys(paper, PAPER))
        mpl.rcParams.update({"axes.edgecolor": GRID, "grid.color": GRID, "font.sans-serif": ["DejaVu Sans"]})
        mpl.rcParams.update({"svg.hashsalt": "mds-bench", "svg.fonttype": "none", "text.parse_math": False})
        mpl.rcParams.update(
            {"font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left"}
        )
        yield


def look(of_family: str) -> dict[str, Any]:
    """Colour and marker of a family, as arguments of ``scatter``."""
    looks = dict(zip([*FAMILIES, OTHER], zip(cycle(COLOURS), cycle(MARKERS)), strict=False))
    colour, marker = looks[of_family]
    return {"color": colour, "marker": marker, "edgecolor": INK, "linewidth": 0.4}


def families_legend(axes: Axes, shown: Sequence[str]) -> None:
    """A legend of the families among ``shown``, below the label of the x axis."""
    for name in (*FAMILIES, OTHER):
        if name in shown:
            axes.scatter([], [], s=35, label=name, **look(name))
    below = -0.55 / _inches(axes)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.6, below), ncols=5)


def name_column(axes: Axes, points: Sequence[tuple[float, float, str, str]]) -> None:
    """Names right of the axes, none over another, each with its family's marker and a thin line to its point.

    Heights are those nearest to the points, by least squares, that leave a line's room between neighbours; leaving the
    room aside, that is an isotonic regression.

    Args:
        axes: whose limits are final.
        points: x and y, in data units of a linear y axis, name and family of each.
    """
    from scipy.optimize import isotonic_regression

    points = sorted(points, key=lambda point: (point[1], point[0], point[2]))
    low, high = axes.get_ylim()
    line = 1.3 * LETTERS / 72 * (high - low) / _inches(axes)
    room = line * np.arange(len(points))
    floor = low + line / 2
    heights = isotonic_regression([y for _, y, _, _ in points] - room).x
    heights = np.clip(heights, floor, max(floor, high - line / 2 - room[-1])) + room
    for (x, y, name, of_family), height in zip(points, heights, strict=True):
        beside, own = axes.get_yaxis_transform(), look(of_family)  # x in axes, y in data units
        thin = {"arrowstyle": "-", "color": own["color"], "linewidth": 0.6, "alpha": 0.7, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (x, y), (1.02, height), textcoords=beside, arrowprops=thin, annotation_clip=False)
        axes.scatter(1.02, height, s=18, transform=beside, clip_on=False, zorder=5, **own)
        shift: dict[str, Any] = {"xytext": (6, 0), "textcoords": "offset points", "va": "center_baseline"}
        axes.annotate(name, (1.02, height), xycoords=beside, fontsize=LETTERS, annotation_clip=False, **shift)


def _inches(axes: Axes) -> float:
    """How high the axes are."""
    return float(axes.get_window_extent().height / axes.figure.dpi)
