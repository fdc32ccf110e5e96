"""``index.html``: the leaderboard, every method and every run on one page that needs no network.

Nothing that a record says becomes markup or script: templates escape, the data block holds no ``<``, the script sets
text only, and the page's Content-Security-Policy runs no script but the one in this package.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from benchmark.leaderboard import plots
from benchmark.leaderboard.aggregation import Frames, frames
from benchmark.leaderboard.cells import PAGE
from benchmark.leaderboard.columns import columns, out_of_reach
from benchmark.leaderboard.families import FAMILIES, OTHER, family
from benchmark.leaderboard.order import told
from benchmark.leaderboard.page import details
from benchmark.leaderboard.page.board import board_rows
from benchmark.leaderboard.verdicts import outdated
from benchmark.output.files import replace_file
from benchmark.output.pages import STYLE, templates
from benchmark.records.schema import Record
from scenarios import SCENARIOS

HERE = Path(__file__).parent
SHEETS = HERE / "sheets"  # of rendered streams, made by: python -m benchmark sheet --scenario NAME --out NAME.webp


def write(records: Sequence[Record], results: Path, made: Frames | None = None) -> Path:
    """Make ``index.html`` in ``results``, with the plots that are there; same records and plots, same bytes.

    Args:
        records: all that ``results`` holds.
        results: the folder of records, plots and tables.
        made: what ``aggregation.frames`` makes of the records, where it is at hand.
    """
    path = Path(results) / "index.html"
    replace_file(path, page(records, results, made or frames(records)).encode())
    return path


def page(records: Sequence[Record], results: Path, made: Frames) -> str:
    """The page as HTML."""
    style, script = (path.read_text(encoding="utf-8") for path in (STYLE, HERE / "page.js"))
    records = sorted(records, key=lambda record: record.run_id)  # whatever order they come in
    runs = Counter(record.scenario.title for record in records)
    data = details.of(records)
    beyond = {name for name, rows in made.rows.groupby("scenario") if out_of_reach(rows.to_dict("records"))}
    streams = [_stream(name, [r for r in records if r.scenario.title == name], results) for name in sorted(runs)]
    return (
        templates(HERE)
        .get_template("page.html")
        .render(
            policy=f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
            "base-uri 'none'; form-action 'none'",
            style=style,
            script=script,
            data=_json(data),
            columns=columns(PAGE),
            rows=board_rows(made.rows),
            families=[name for name in (*FAMILIES, OTHER) if name in {family(r.method.name) for r in records}],
            streams=[
                stream
                | {"beyond": stream["name"] in beyond}
                | {"order": told(made.stability[stream["name"]]) if stream["name"] in made.stability else ""}
                for stream in streams
            ],
            first=max(sorted(runs), key=runs.__getitem__, default=""),
            methods=len({record.method.name for record in records}),
            runs=len(records),
            detailed=len(data["runs"]),
            newest=max((record.created for record in records), default="")[:10],
        )
    )


def _hash(inline: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()


def _json(data: dict[str, Any]) -> str:
    """JSON that can stand in a script element: no ``<`` can end it or open a comment in it."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _stream(title: str, records: Sequence[Record], results: Path) -> dict[str, Any]:
    """The page's data on a stream, shown below its table."""
    first = next((record for record in records if not outdated(record)), records[0])
    name = first.scenario.name
    shown = name in {path.stem for path in SHEETS.glob("*.webp")} and not outdated(first)
    return {
        "name": title,
        "runs": len(records),
        "description": SCENARIOS[name].description if name in SCENARIOS else "",
        "version": first.scenario.version,
        "fingerprint": first.scenario.fingerprint,
        "classes": first.scenario.classes,
        "targets": list(dict.fromkeys(result.target for record in records for result in record.rounds)),
        "sheet": _data_uri(SHEETS / f"{name}.webp", "image/webp") if shown else "",
        "plots": [_plot(path) for path in plots.paths(results, title) if path.is_file()],
    }


def _plot(path: Path) -> dict[str, str]:
    """A plot as the source of an image, with its own words; as an image it can neither run nor load anything."""
    drawing = ElementTree.parse(path).getroot()
    words = {part: drawing.findtext(f"{{http://www.w3.org/2000/svg}}{part}", "") for part in ("title", "desc")}
    return words | {"source": _data_uri(path, "image/svg+xml")}


def _data_uri(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
