"""Data cards: the contents of a stream, split by split, as Markdown."""

from __future__ import annotations

from typing import Any

from benchmark.output.progress import Reporter
from benchmark.output.tables import markdown_table
from benchmark.running.streams import build
from scenarios.stream import DevelopmentStream, LabelledImages, Round

HEADINGS = ("split", "images", "of the target", "of a protected class")


def card(stream: DevelopmentStream) -> str:
    """Version, fingerprint and sizes of a stream; of a class whose size differs from others', the range."""
    lines = [f"`{stream.name}`, version {stream.version}, fingerprint `{stream.fingerprint}`", ""]
    rows = []
    for number, (round_, data) in enumerate(zip(stream.rounds, stream.data, strict=True), 1):
        prefix = f"round {number}, {round_.target}: " if len(stream.rounds) > 1 else ""
        for split in ("train", "protected", "val", "test"):
            rows.append(_row(stream, prefix + split, getattr(data, split), round_))
    return "\n".join([*lines, markdown_table(HEADINGS, rows)])


def _row(stream: DevelopmentStream, name: str, images: LabelledImages, round_: Round) -> tuple[str, ...]:
    counts = images.labels.bincount(minlength=len(stream.classes)).tolist()
    sizes = [counts[stream.classes.index(kept)] for kept in round_.protected]
    spread = f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,}–{max(sizes):,}"
    return name, f"{len(images):,}", f"{counts[stream.classes.index(round_.target)]:,}", spread


def print_card(scenario: str, options: dict[str, Any]) -> None:
    """Print the sizes and the fingerprint of a stream, with images of the size that ``run`` takes."""
    from benchmark.running.bases import usual_model
    from methods.checkpoints import image_size

    with Reporter() as reporter:
        stream = build(scenario, 0, {"image_size": image_size(usual_model(scenario))} | options, reporter)
    print(card(stream))
