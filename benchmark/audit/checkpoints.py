"""Two checkpoints on the test images of a scenario, as the release gate counts them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from benchmark.audit.rows import Rows, group_numbers
from benchmark.output.progress import Reporter
from benchmark.running.request import BaseChoice
from benchmark.running.streams import build
from methods.conversion import PICKLED, how_to_convert
from scenarios import FULL, rendered


class Measured(NamedTuple):
    """The test images, and the classes that the stream develops and protects."""

    rows: Rows
    target: str
    protected: tuple[str, ...]


def measure(
    old: Path,
    new: Path,
    scenario: str,
    options: dict[str, Any],
    model: str | None,
    device: str,
    reporter: Reporter,
    like: str | None = None,
) -> Measured:
    """Let two checkpoints classify the test images of a scenario, of its last round where it has several.

    Args:
        old: safetensors file of the model in use.
        new: safetensors file of its successor, for images of the same size.
        scenario: name of the stream, a known one.
        options: of the stream, as in ``scenarios.build``.
        model: open_clip architecture of files that do not name theirs.
        device: auto, cpu or cuda.
        reporter: told about pictures that are being made.
        like: of files that do not describe themselves, the tag of ``model`` whose training they share.

    Raises:
        ValueError: an option, the data or a checkpoint is not usable.
    """
    for path in (old, new):
        if not path.is_file():
            raise ValueError(f"{path}: no such file")
        if path.suffix in PICKLED:
            raise ValueError(how_to_convert(path))

    # only now, as these take seconds to import
    import torch

    from benchmark.running.bases import Bases, pick_device
    from methods.checkpoints import image_size
    from methods.clip import predict_logits

    place = pick_device(device)
    sizes = {path: image_size(model, path) for path in (old, new)}
    if sizes[old] != sizes[new]:
        raise ValueError(
            f"{new} takes {sizes[new]} px images and {old} {sizes[old]} px: write the predictions of both to files, "
            "and audit these"
        )
    drawn = scenario in (*rendered(), *rendered(FULL))
    few = {"target_images": 1, "protected_per_class": 1} if drawn else {}  # only test is looked at
    stream = build(scenario, 0, few | {"image_size": sizes[old]} | options, reporter)
    test, last = stream.data[-1].test, stream.rounds[-1]
    predictions = []
    for path in (old, new):
        classifier, _ = Bases().load(stream, BaseChoice(path, model, like=like), place, reporter.report)
        logits = predict_logits(classifier.to(place), test.images)
        if not torch.isfinite(logits).all():
            raise ValueError(f"{path}: its outputs are not finite on {scenario}: the weights are damaged")
        predictions.append(logits.argmax(dim=1).numpy())
    labels = test.labels.numpy()
    rows = Rows(
        tuple(stream.classes),
        labels,
        predictions[0] == labels,
        predictions[1] == labels,
        None if test.groups is None else group_numbers(test.groups),
    )
    return Measured(rows, last.target, last.protected)
