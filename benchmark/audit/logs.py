"""Graded answers in the logs of evaluation harnesses; the class of an answer is the task that it belongs to."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from benchmark.audit.answers import Answers, answers, score_of

Format = Literal["lm-eval", "inspect"]
DAMAGE = (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, UnicodeDecodeError)  # of a packed log
SAMPLES = re.compile(r"samples_(.+?)(_\d{4}-\d\d-\d\dT[\d.-]+)?\.jsonl")


class _Answer(NamedTuple):
    task: str
    question: str  # in the task; repeated answers to one belong together
    repeat: str  # which of them it is
    score: float
    filter: str = ""  # of what was answered, which is scored once for each


def known_format(name: str | None) -> Format | None:
    """The format of this name; None for None.

    Raises:
        ValueError: there is none.
    """
    if name is None or name in get_args(Format):
        return name  # type: ignore[return-value]
    raise ValueError(f"--format must be {' or '.join(get_args(Format))}, not {name!r}")


def read_log(path: Path, kind: Format, metric: str | None, more: Sequence[str] = ()) -> Answers:
    """The answers in the logs of an evaluation harness: one file, or all in a folder.

    *lm-eval*: ``samples_TASK_DATE.jsonl``, as ``--log_samples`` writes them. *inspect*: ``.eval`` or ``.json``. The
    column ``question`` tells repeated answers of one question. A task whose answers are filtered in several ways is a
    class for each filter: together, what one of them lost would be half as much.

    Args:
        path: file or folder.
        kind: the harness.
        metric: the metric or scorer. Default: the only one there is.
        more: other columns asked for.

    Raises:
        ValueError: it cannot be read, or there are several metrics, or scores that are no number from 0 to 1.
    """
    read = _lm_eval if kind == "lm-eval" else _inspect
    found = [answer for file in files_of(path, kind) for answer in read(file, metric)]
    if not found:
        raise ValueError(f"{path}: holds no answers")
    if unknown := [name for name in more if name != "question"]:
        raise ValueError(f"{path}: logs have no column {unknown[0]!r}: only 'question', which tells repeated answers")
    filters: dict[str, set[str]] = {}
    for one in found:
        filters.setdefault(one.task, set()).add(one.filter)
    labels = [one.task if len(filters[one.task]) == 1 else f"{one.task}/{one.filter}" for one in found]
    questions = [f"{label}/{one.question}" for label, one in zip(labels, found, strict=True)]
    ids = [f"{one.task}/{one.question}{one.repeat}" for one in found]
    scores = np.array([one.score for one in found])
    return answers(path, ids, labels, scores, {"question": questions}, ["id", "label", "question"])


def files_of(path: Path, kind: Format) -> list[Path]:
    """The logs that are read: the file itself, or those in a folder.

    Raises:
        ValueError: there is none.
    """
    endings = (".jsonl",) if kind == "lm-eval" else (".eval", ".json")
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    fitting = [file for file in files if file.is_file() and file.suffix in endings]
    if kind == "lm-eval" and path.is_dir():
        fitting = [file for file in fitting if file.name.startswith("samples_")]
    if not fitting:
        what = "samples_*.jsonl, which --log_samples writes" if kind == "lm-eval" else "log that ends in .eval or .json"
        raise ValueError(f"{path}: no {what}")
    return fitting


def _lm_eval(path: Path, metric: str | None) -> Iterator[_Answer]:
    """A file of the Language Model Evaluation Harness: a line for each document, with the metrics it lists."""
    named = SAMPLES.fullmatch(path.name)
    task = named[1] if named else path.stem
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from None
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        place = f"{path}: line {number}"
        one = _json(line, place)
        if not isinstance(one, dict) or "doc_id" not in one:
            raise ValueError(f"{place}: has no doc_id, so it is no sample of lm-evaluation-harness")
        listed = one.get("metrics")
        known = [name for name in listed if name in one] if isinstance(listed, list) else []
        chosen = _chosen(metric, known, place)
        part = str(one.get("filter") or "none")
        repeat = "" if part == "none" else f"/{part}"
        yield _Answer(task, str(one["doc_id"]), repeat, score_of(one[chosen], place), part)


def _inspect(path: Path, metric: str | None) -> Iterator[_Answer]:
    """A log of Inspect: samples with an id, an epoch, and the value of each scorer."""
    for task, sample in _samples(path):
        place = f"{path}: sample {sample.get('id')!r}"
        scores = sample.get("scores")
        if not isinstance(scores, dict):
            raise ValueError(f"{place}: has no scores: end the evaluation, or score it")
        value = scores[_chosen(metric, list(scores), place)]
        score = score_of(value.get("value") if isinstance(value, dict) else value, place)
        yield _Answer(task, str(sample.get("id")), f"/{sample.get('epoch', 1)}", score)


def _samples(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if path.suffix == ".json":
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: cannot be read: {error}") from None
        log = _json(text, str(path))
        if not isinstance(log, dict) or not isinstance(log.get("samples"), list):
            raise ValueError(f"{path}: has no samples, so it is no log of Inspect")
        yield from ((_task(log, path), _sample(sample, str(path))) for sample in log["samples"])
        return
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if re.fullmatch(r"samples/.+\.json", name))
            header = next((name for name in ("header.json", "_journal/start.json") if name in archive.namelist()), "")
            task = _task(_json(archive.read(header).decode(), f"{path}: {header}") if header else {}, path)
            for name in names:
                yield task, _sample(_json(archive.read(name).decode(), f"{path}: {name}"), f"{path}: {name}")
    except DAMAGE as error:
        raise ValueError(f"{path}: cannot be read: {error}; convert it: inspect log convert --to json") from None


def _sample(found: Any, place: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise ValueError(f"{place}: a sample is no JSON object, so it is no log of Inspect")
    return found


def _task(log: Any, path: Path) -> str:
    about = log.get("eval") if isinstance(log, dict) else None
    return str(about.get("task", path.stem)) if isinstance(about, dict) else path.stem


def _chosen(metric: str | None, known: Sequence[str], place: str) -> str:
    if metric in known:
        return str(metric)
    listed = ", ".join(known) or "none"
    if metric is not None:
        raise ValueError(f"{place}: --score {metric}: there is no such metric, but {listed}")
    if len(known) != 1:
        raise ValueError(f"{place}: has the metrics {listed}: choose one with --score")
    return known[0]


def _json(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}: is not JSON: {error}") from None
