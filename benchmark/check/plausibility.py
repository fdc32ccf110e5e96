"""Reasons against a record that somebody else made, one per line.

These checks find records that are broken, outdated, made by other rules or invented carelessly. They prove nothing:
forged predictions that fit each other pass, and only running the method again would tell.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import ne
from typing import TYPE_CHECKING, Any

import methods
from benchmark.check.rules import selection_faults
from benchmark.output.tables import canonical
from benchmark.records.files import recompute
from benchmark.records.schema import Record, RoundResult
from benchmark.running.tuning import TUNING_SEEDS
from methods import METHODS
from scenarios import fingerprints, scored_on
from scenarios.wording import some

if TYPE_CHECKING:
    import pandas as pd

ROUNDING = 0.01  # share of predictions by which one model may differ between processors, which round differently
MOST = 5  # names in a reason
CLOCKS = timedelta(minutes=5)  # by which they may disagree


@dataclass(frozen=True)
class Peer:
    """A record that is trusted, on the same pictures, and its predictions."""

    record: Record
    predictions: pd.DataFrame


def reasons(record: Record, predictions: pd.DataFrame, peers: list[Peer], allow_unknown_stream: bool) -> Iterator[str]:
    """Why a record should not be added, if anything speaks against it.

    Args:
        record: the one to be judged.
        predictions: those beside it, with columns as in ``records.COLUMNS``.
        peers: trusted records on the same pictures, or none; the more, the more can be compared: the training images
            of a seed, and the predictions of the base.
        allow_unknown_stream: whether it may be of a stream whose pictures this package cannot know.
    """
    yield from _stream(record, allow_unknown_stream)
    yield from _method(record)
    yield from _circumstances(record)
    for number, result in enumerate(record.rounds):
        for reason in (
            *_training(result, record.method.settings),
            *_constraints(result),
            *selection_faults(result),
        ):
            yield f"round {number + 1}: {reason}"
    yield from recompute(record, predictions)
    yield from _table(record, predictions)
    yield from _chain(record, predictions)
    for peer in peers:
        yield from _against(peer, record, predictions)


def _stream(record: Record, allow_unknown: bool) -> Iterator[str]:
    stream, known = record.scenario, fingerprints()
    today = known.get(stream.name)
    if today is None or not scored_on(today, stream.options):
        if not allow_unknown:
            others = f" with other options than {canonical(today['options'])}" if today else ""
            yield (
                f"stream {stream.name!r}{others} cannot be verified: pictures are known of {', '.join(known)}; "
                "--allow-unknown-stream takes it all the same"
            )
        return
    if stream.version != today["version"]:
        yield f"version {stream.version} of the stream, which is at {today['version']}: run it again"
    elif stream.fingerprint != today["fingerprint"]:
        yield f"fingerprint {stream.fingerprint[:16]}… of the pictures, which should be {today['fingerprint'][:16]}…"
    for number, result in enumerate(record.rounds):
        for split, counts in (("val", result.val), ("test", result.test)):
            size = today["options"][f"{split}_per_class"]
            if wrong := [name for name, own in counts.items() if own.n != size]:
                yield f"round {number + 1}: {split} has {size} images of each class, not so of {', '.join(wrong)}"


def _method(record: Record) -> Iterator[str]:
    name = record.method.name
    if not _shipped(name):
        if _shipped(unicodedata.normalize("NFKC", name).strip().casefold()):
            yield f"method {name!r} could be taken for one of this package's: give it another name"
        elif not record.method.code:
            yield f"method {name!r} is none of this package's, so code must tell which: a file's hash or a package"
        return
    if record.method.code:
        yield f"method {name!r} is the name of one of this package's, but it ran other code ({record.method.code})"
        return
    strategy = methods.load(name)
    if record.method.version != strategy.VERSION:
        yield f"version {record.method.version} of method {name}, which is at {strategy.VERSION}: run it again"
    try:
        meant = json.loads(strategy.SETTINGS.model_validate(record.method.settings).model_dump_json())
    except ValueError as error:
        yield f"settings that {name} does not take: {' '.join(str(error).split())}"
    else:
        if canonical(meant) != canonical(record.method.settings):
            yield f"settings are not all that {name} has: {canonical(meant)}"


def _shipped(name: str) -> bool:
    trainer, _, plugin = name.rpartition("+")
    ours = {known for known, method in METHODS.items() if not method.package}
    return name in ours or (trainer in ours and plugin in ours and plugin in methods.plugins())


def _circumstances(record: Record) -> Iterator[str]:
    where = record.environment
    if not (where.python and where.platform and where.device and where.packages and where.threads > 0):
        yield "the environment is not described: python, platform, device, threads and packages"
    if datetime.fromisoformat(record.created) > datetime.now(UTC) + CLOCKS:
        yield f"created in the future: {record.created}"
    if record.seed in TUNING_SEEDS or record.seed < 0:
        tuning = some(list(map(str, TUNING_SEEDS)), MOST)
        yield f"seed {record.seed}: reported seeds are 0 or more, and {tuning} are for tuning alone"
    spent = math.fsum(result.seconds for result in record.rounds)
    possible = math.isfinite(record.seconds) and record.seconds > 0 and spent <= record.seconds + 0.1
    if not possible or any(result.seconds < 0 for result in record.rounds):
        yield f"seconds: {spent:.2f} in rounds of {record.seconds} in all cannot be"


def _training(result: RoundResult, settings: Mapping[str, Any]) -> Iterator[str]:
    steps = settings.get("steps")
    if steps != len(result.losses):
        yield f"{len(result.losses)} losses for {steps} steps"
    if not all(map(math.isfinite, result.losses)):
        yield "losses are not all finite, so the run diverged"


def _constraints(result: RoundResult) -> Iterator[str]:
    kept = result.constraints.violations if result.constraints is not None else {}
    if unknown := set(kept) - set(result.protected):
        yield f"constraints of classes that are not protected: {some(sorted(unknown), MOST)}"
    if not all(math.isfinite(value) for values in kept.values() for value in values):
        yield "constraints are not all finite, so the run diverged"


def _table(record: Record, predictions: pd.DataFrame) -> Iterator[str]:
    if strange := {*predictions["old"], *predictions["new"]} - set(record.scenario.classes):
        yield f"predictions name classes that the stream does not have: {some(sorted(strange), MOST)}"
    for number in range(len(record.rounds)):
        for split in ("val", "test"):
            here = (predictions["round"] == number) & (predictions["split"] == split)
            if sorted(predictions["index"][here]) != list(range(here.sum())):
                yield f"predictions of round {number + 1}, {split}: indices are not 0, 1, 2 and so on, each once"


def _chain(record: Record, predictions: pd.DataFrame) -> Iterator[str]:
    """Whether every round starts from the model that the one before ended with: seen on the classes of both."""
    for number in range(1, len(record.rounds)):
        for split in ("val", "test"):
            before = _by_class(predictions, number - 1, split, "new")
            now = _by_class(predictions, number, split, "old")
            shared = [name for name in before if name in now and len(before[name]) == len(now[name])]
            first, second = ([value for name in shared for value in side[name]] for side in (before, now))
            unlike = sum(map(ne, first, second))
            if unlike > _allowed(len(first), record.environment.device == "cpu"):
                yield f"round {number + 1}, {split}: {unlike} old predictions are not the new ones of the round before"


def _by_class(predictions: pd.DataFrame, number: int, split: str, column: str) -> dict[str, list[str]]:
    part = predictions[(predictions["round"] == number) & (predictions["split"] == split)].sort_values("index")
    return {str(label): list(rows[column]) for label, rows in part.groupby("label")}


def _against(peer: Peer, record: Record, predictions: pd.DataFrame) -> Iterator[str]:
    """Differences in classes, rounds and images of a stream, training images of a seed, and answers of a base."""
    theirs = peer.record
    name = f"{theirs.method.name} seed {theirs.seed}"
    if record.scenario.classes != theirs.scenario.classes or record.scenario.rounds != theirs.scenario.rounds:
        yield f"classes or number of rounds are not those of {name} on the same pictures"
        return
    for number, (own, other) in enumerate(zip(record.rounds, theirs.rounds, strict=False)):
        if (own.target, own.protected) != (other.target, other.protected):
            yield f"round {number + 1}: target or protected classes are not those of {name} on the same pictures"
    trained = record.scenario.training_fingerprint, theirs.scenario.training_fingerprint
    if (record.seed, record.scenario.options) == (theirs.seed, theirs.scenario.options) and trained[0] != trained[1]:
        yield f"training fingerprint {trained[0][:16]}… is not that of {name}, {trained[1][:16]}…"
    rounds = min(len(record.rounds), len(theirs.rounds))
    mine, others = (
        table[table["round"] < rounds].set_index(["round", "split", "index"]).sort_index()
        for table in (predictions, peer.predictions)
    )
    if not mine["label"].equals(others["label"]):
        yield f"labels of the predictions are not those of {name} on the same pictures"
    elif (record.base.sha256, record.base.model) == (theirs.base.sha256, theirs.base.model) and rounds:
        first, second = (list(table.loc[0]["old"]) for table in (mine, others))
        unlike = sum(map(ne, first, second))
        places = [(run.environment.device, run.environment.processor) for run in (record, theirs)]
        if unlike > _allowed(len(first), places[0] == places[1]):
            yield f"{unlike} of {len(first)} predictions of the base are not those of {name}, from the same weights"
        if missing := set(theirs.rounds[0].scene_pairs) - set(record.rounds[0].scene_pairs):
            yield f"scene pairs: there are none of {', '.join(sorted(missing))}, which {name} has"
        for kind, counts in record.rounds[0].scene_pairs.items():
            same = theirs.rounds[0].scene_pairs.get(kind, counts)
            unlike = abs(counts.old_correct - same.old_correct)
            if counts.n != same.n or unlike > _allowed(counts.n, places[0] == places[1]):
                yield f"scene pairs: {kind} of the base is not that of {name}, from the same weights"


def _allowed(predictions: int, same_processor: bool) -> float:
    return 0 if same_processor else ROUNDING * predictions
