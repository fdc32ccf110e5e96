"""Records on disk: everything measured in one run, as one JSON file and a file of predictions beside it.

The JSON is ``results/records/<scenario>/<method>-seed<seed>-<run_id>.json``. The ``.csv.gz`` of the same stem has a row
for every scored image of every round: ``round`` (index into the record's rounds, from 0), ``split`` ("val" or "test"),
``index`` (position in the split), and the class names ``label``, ``old`` and ``new``. All counts follow from it. Where
images of a stream belong together, ``group`` names them: empty for an image that stands for itself.
``benchmark.records.schema`` says what a record holds.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from benchmark.metrics.counts import Counts, count_pairs
from benchmark.output.files import no_collection, replace_file
from benchmark.records.schema import SCHEMA_VERSION, Record
from scenarios.leftovers import is_leftover

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["round", "split", "index", "label", "old", "new"]
GROUP = "group"  # a column that only some have


def record_path(results: Path, scenario: str, method: str, seed: int, run_id: str) -> Path:
    """Where a record is kept. Names become safe for any file system; the run id keeps look-alikes apart."""
    scenario, method = (re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".")[:80] or "_" for name in (scenario, method))
    return Path(results) / "records" / scenario / f"{method}-seed{seed}-{run_id}.json"


def write(record: Record, predictions: pd.DataFrame, results: Path, overwrite: bool = False) -> Path:
    """Keep ``record`` and ``predictions`` (columns as in ``COLUMNS``); return the path of the record.

    Where the same outcome is kept already, made by another process at the same time, the first one stays. Predictions
    go first. An interruption leaves the old files, none, or predictions alone, which nothing reads; a full disk the
    old files or none.

    Raises:
        ValueError: if a record of this run with another outcome exists and ``overwrite`` is false, or a column is
            missing.
        OSError: if the disk does not take them; the line has the file and the remedy.
    """
    path = record_path(results, record.scenario.name, record.method.name, record.seed, record.run_id)
    content = (record.model_dump_json(indent=1) + "\n").encode()
    if missing := [name for name in COLUMNS if name not in predictions.columns]:
        raise ValueError(f"predictions: columns {missing} are missing, there must be {COLUMNS}")
    table = _table_bytes(predictions)
    if path.exists() and not overwrite and _kept_already(record, table, path):
        return path
    with saving(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace_both(path, content, table)
    return path


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """Within it, what the system refuses becomes one line that names ``path`` and the remedy.

    Raises:
        OSError: of the same number.
    """
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"{path} cannot be written ({error.strerror or error}): free some space or choose another folder with "
            "--results; what is kept there stays, and the same command goes on from it",
        ) from error


def _table_bytes(predictions: pd.DataFrame) -> bytes:
    table = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=table, mtime=0) as file:  # no name, no time: same bytes again
        file.write(predictions[_columns(predictions)].to_csv(index=False, lineterminator="\n").encode())
    return table.getvalue()


def _columns(table: pd.DataFrame) -> list[str]:
    return [*COLUMNS, GROUP] if GROUP in table else COLUMNS


def _replace_both(path: Path, content: bytes, table: bytes) -> None:
    """Both files beside their places first, as this may fail; then into them, predictions first."""
    new = {path.with_suffix(".csv.gz"): table, path: content}
    waiting = {place: place.with_name(f".{uuid.uuid4().hex}.tmp") for place in new}
    try:
        for place, temporary in waiting.items():
            replace_file(temporary, new[place])
        if path.exists() and path.read_bytes() != content:
            path.unlink()  # or an interruption would leave the old record with the new predictions
        for place, temporary in waiting.items():
            temporary.replace(place)
    finally:
        for temporary in waiting.values():
            temporary.unlink(missing_ok=True)


def _kept_already(record: Record, table: bytes, path: Path) -> bool:
    """Whether ``path`` holds this run in full with the same outcome: all but times and environment.

    Raises:
        ValueError: it holds another outcome.
    """
    try:
        same = _outcome(record) == _outcome(read(path))
        kept = gzip.decompress(path.with_suffix(".csv.gz").read_bytes()) if same else b""
    except (OSError, EOFError, zlib.error):  # its predictions are lost: these are as good
        return False
    if not same or kept != gzip.decompress(table):
        raise ValueError(f"{path}: a different record of this run exists; use --force to replace it")
    return True


def _outcome(record: Record) -> str:
    times: Any = {"seconds": True, "created": True, "environment": True, "rounds": {"__all__": {"seconds"}}}
    return record.model_dump_json(exclude=times)


def read(path: Path) -> Record:
    """The record in a file.

    Raises:
        ValueError: if there is none; one line names the file and what is wrong.
    """
    try:
        content = Path(path).read_bytes()
        try:
            record = Record.model_validate_json(content)  # three times as fast as by way of Python's objects
        except ValidationError:
            record = _explained(json.loads(content))
        _check_version(record.schema_version)
        return record
    except ValidationError as error:
        first, others = error.errors()[0], error.error_count() - 1
        place = ".".join(map(str, first["loc"])) or "the record"
        reason = f"{place}: {first['msg'].removeprefix('Value error, ')}" + (f" (and {others} more)" if others else "")
    except (OSError, ValueError, RecursionError) as error:  # also bad JSON and bad UTF-8
        reason = f"is no record ({getattr(error, 'strerror', None) or error}): give the .json file that a run has made"
    raise ValueError(f"{path}: {' '.join(reason.split())}")


def _explained(data: Any) -> Record:
    """Why ``data`` is no record; first of all, that it may be of a schema to come."""
    if isinstance(data, dict):
        _check_version(data.get("schema_version"))
    return Record.model_validate(data)


def _check_version(version: Any) -> None:
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ValueError(f"schema version {version} is newer than {SCHEMA_VERSION}: update mds-bench")


def read_all(results: Path) -> list[Record]:
    """All records under ``results``, sorted by scenario, method, seed and run id; raises as ``read_placed``."""
    return [record for _, record in read_placed(results)]


def read_placed(results: Path) -> list[tuple[Path, Record]]:
    """The same with the file of each.

    Raises:
        ValueError: if there is no folder of records, or one cannot be read, is not the run its name says, lies in no
            stream's folder or is there twice.
        OSError: if a folder cannot be listed.
    """
    folder = Path(results) / "records"
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; make records with `python -m benchmark run`")
    found, places = [], dict[str, Path]()
    with no_collection():
        for path in files_below(folder):
            if path.parent.parent != folder:
                raise ValueError(f"{path}: is in no stream's folder; move it to {folder}/STREAM, or elsewhere")
            record = read(path)
            run_id = record.run_id
            if not path.stem.endswith(f"-{run_id}"):
                raise ValueError(f"{path}: was changed, it holds run {run_id}; delete it and run it again")
            if (other := places.setdefault(run_id, path)) != path:
                raise ValueError(f"{path}: is the same run as {other}, which must count once; delete one of the two")
            found.append((record.scenario.name, record.method.name, record.seed, run_id, str(path), record))
        return [(Path(path), record) for *_, path, record in sorted(found, key=itemgetter(slice(-1)))]


def files_below(folder: Path) -> list[Path]:
    """All .json files but hidden ones and those that systems leave behind."""

    def stop(error: OSError) -> None:
        raise error

    files = []
    for parent, folders, names in os.walk(folder, onerror=stop):
        folders[:] = [name for name in folders if not (name.startswith(".") or is_leftover(name))]
        files += [Path(parent, name) for name in names if not (name.startswith(".") or is_leftover(name))]
    return sorted(path for path in files if path.suffix == ".json")


def read_predictions(path_of_record: Path) -> pd.DataFrame:
    """The predictions kept with a record: ``round`` and ``index`` are integers, the rest text; ``group`` where it is.

    Raises:
        ValueError: if the file is missing or damaged; one line names it.
    """
    import pandas as pd

    path = Path(path_of_record).with_suffix(".csv.gz")
    try:  # "NA" and "007" are class names too: nothing may become a number or a missing value
        text = io.StringIO(gzip.decompress(path.read_bytes()).decode(), newline="")
        table = pd.read_csv(text, dtype=str, keep_default_na=False, lineterminator="\n")
        return table[_columns(table)].astype({"round": int, "index": int})
    except (OSError, EOFError, KeyError, ValueError, OverflowError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ValueError(
            f"{path}: no predictions to be read ({reason}): they belong beside the record, or run it again"
        ) from error


def recompute(record: Record, predictions: pd.DataFrame) -> list[str]:
    """One line for every count in ``record`` that ``predictions`` do not give; none if they agree."""
    classes = record.scenario.classes
    index = {name: position for position, name in enumerate(classes)}
    wrong, unused = [], len(predictions)
    for number, result in enumerate(record.rounds):
        for split, kept in (("val", result.val), ("test", result.test)):
            here = (predictions["round"] == number) & (predictions["split"] == split)
            rows = predictions[here & predictions["label"].isin(list(classes))]
            unused -= len(rows)
            labels, old, new = (np.array([index.get(x, -1) for x in rows[key]], int) for key in ("label", "old", "new"))
            counts = count_pairs(labels, old, new, classes)
            for name in sorted({result.target, *result.protected, *kept}):
                expected = kept[name].counts if name in kept else Counts(0, 0, 0, 0)
                if expected != counts[name]:
                    wrong.append(f"round {number}, {split}, {name}: the record has {expected}, not {counts[name]}")
    if unused and record.status == "complete":  # a diverged record may lack the round in which it diverged
        wrong.append(f"{unused} predictions are of no round, split or class of the record")
    return wrong
