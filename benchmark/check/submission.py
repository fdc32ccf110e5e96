"""Records that others made: checked, and added all together or not at all."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.check.plausibility import Peer, reasons
from benchmark.output.tables import one_line
from benchmark.records import files
from benchmark.records.schema import Record

if TYPE_CHECKING:
    import pandas as pd

REFUSED, UNREADABLE = 1, 2  # exit codes


@dataclass
class Submission:
    """A file that is to be added, and the reasons against it."""

    path: Path
    record: Record | None = None  # None if there is none to be read
    predictions: pd.DataFrame | None = None
    reasons: list[str] = field(default_factory=list)


def submit(paths: Sequence[Path], results: Path, allow_unknown_stream: bool = False) -> int:
    """Check records and add them to ``results``, unless anything speaks against one; print one line per reason.

    Args:
        paths: records, or folders that hold some; the predictions lie beside each.
        results: the folder that keeps them.
        allow_unknown_stream: whether streams are taken whose pictures this package cannot know.

    Returns:
        An exit code: 0 if all were added; else none was: ``UNREADABLE`` if a file holds no record, otherwise
        ``REFUSED``.

    Raises:
        ValueError: if the records in ``results`` cannot be read.
        OSError: if they cannot be written; none is left there.
    """
    found = check(paths, results, allow_unknown_stream)
    for one in found:
        for line in one.reasons or ["fine"]:
            print(one_line(f"{one.path}: {line}"))
    if refused := [one for one in found if one.reasons]:
        told = f"nothing was added: {len(refused)} of {len(found)} refused"
        if unreadable := [one for one in refused if one.record is None]:
            print(one_line(f"error: {told}, as {unreadable[0].path} holds no record"), file=sys.stderr)
            return UNREADABLE
        print(told)
        return REFUSED
    _add(found, results)
    print(f"added {len(found)} to {results / 'records'}; next: python -m benchmark leaderboard --results {results}")
    return 0


def check(paths: Sequence[Path], results: Path, allow_unknown_stream: bool = False) -> list[Submission]:
    """Every submitted file with all that speaks against it, in the order given; nothing is written.

    Raises:
        ValueError: if the records in ``results`` cannot be read.
    """
    kept = files.read_placed(results) if (results / "records").is_dir() else []
    runs = {record.run_id for _, record in kept}
    found = [_read(path) for path in _files(paths)]
    pool = _Pool(kept, found)
    for number, one in enumerate(found):
        if one.record is None:
            continue
        one.reasons += _misplaced(one.path, one.record)
        if one.record.run_id in runs:
            one.reasons.append(f"this run is in {results} already")
        if earlier := [other.path for other in found[:number] if _same_run(other.record, one.record)]:
            one.reasons.append(f"the same run as {earlier[0]}")
        if one.predictions is not None:
            one.reasons += reasons(one.record, one.predictions, pool.peers(one), allow_unknown_stream)
    return found


class _Pool:
    """Where peers come from: the records at hand; where there are none, those submitted before."""

    def __init__(self, kept: Sequence[tuple[Path, Record]], submitted: Sequence[Submission]) -> None:
        self.kept, self.submitted = [record for _, record in kept], submitted
        self._places = {record.run_id: path for path, record in kept}
        self._read: dict[str, Peer] = {}

    def peers(self, submission: Submission) -> list[Peer]:
        """On the same pictures: one from the same base if there is such a one, and one of the same seed.

        Where no record at hand is from the same base, one that was submitted before, if there is such a one.
        """
        record = submission.record
        assert record is not None
        alike = [other for other in self.kept if _pictures(other) == _pictures(record) and other.rounds]
        same_base = [other for other in alike if other.base.sha256 == record.base.sha256]
        same_base.sort(key=lambda other: not other.rounds[0].scene_pairs)  # those first with which more can be compared
        same_seed = [other for other in alike if other.seed == record.seed]
        chosen = {other.run_id: other for part in (same_base or alike, same_seed) for other in part[:1]}
        peers = [self._peer(run_id, other) for run_id, other in chosen.items()]
        return peers if same_base else [*peers, *self._earlier(submission)]

    def _earlier(self, submission: Submission) -> list[Peer]:
        """One without a fault among those submitted before, from the same base if there is such a one."""
        record = submission.record
        assert record is not None
        peers = [
            Peer(other.record, other.predictions)
            for other in self.submitted[: self.submitted.index(submission)]
            if other.record is not None and other.predictions is not None
            if not other.reasons and _pictures(other.record) == _pictures(record)
        ]
        return sorted(peers, key=lambda peer: peer.record.base.sha256 != record.base.sha256)[:1]

    def _peer(self, run_id: str, record: Record) -> Peer:
        if run_id not in self._read:
            self._read[run_id] = Peer(record, files.read_predictions(self._places[run_id]))
        return self._read[run_id]


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        yield from (files.files_below(path) if path.is_dir() else []) or [path]


def _read(path: Path) -> Submission:
    found = Submission(path)
    if path.is_dir():
        found.reasons.append("holds no records")
        return found
    try:
        found.record = files.read(path)
        found.predictions = files.read_predictions(path)
    except ValueError as error:
        found.reasons.append(str(error).removeprefix(f"{path}: "))
    return found


def _misplaced(path: Path, record: Record) -> Iterator[str]:
    wanted = _kept_at(record, Path()).name
    if path.name != wanted:
        yield f"it holds the run {wanted}: it was changed or renamed"


def _kept_at(record: Record, results: Path) -> Path:
    return files.record_path(results, record.scenario.name, record.method.name, record.seed, record.run_id)


def _same_run(one: Record | None, other: Record) -> bool:
    return one is not None and one.run_id == other.run_id


def _pictures(record: Record) -> tuple[str, int, str]:
    return record.scenario.name, record.scenario.version, record.scenario.fingerprint


def _add(found: Sequence[Submission], results: Path) -> None:
    """Write all, or leave nothing of it; what another process has added meanwhile stays."""
    added: list[Path] = []
    try:
        for one in found:
            assert one.record is not None and one.predictions is not None  # or there were reasons
            theirs = _kept_at(one.record, results).exists()
            path = files.write(one.record, one.predictions, results)
            if not theirs:
                added.append(path)
    except BaseException:
        for path in added:
            path.unlink(missing_ok=True)
            path.with_suffix(".csv.gz").unlink(missing_ok=True)
        raise
