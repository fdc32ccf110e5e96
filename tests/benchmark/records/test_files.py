"""Records: what is written is what is read, whatever happens in between."""

from __future__ import annotations

import errno
import gzip
import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.metrics.counts import Counts
from benchmark.records import files, schema
from benchmark.records.schema import Record

CLASSES = ("foggy", "clear", "NA")  # a name that pandas takes for a missing value, unless told not to
# label, old, new: foggy gains one of two, clear keeps its one, NA loses its one
ROWS = [("foggy", "clear", "foggy"), ("foggy", "NA", "clear"), ("clear", "clear", "clear"), ("NA", "NA", "clear")]
COUNTS = {
    "foggy": {"n": 2, "old_correct": 0, "new_correct": 1, "both_correct": 0},
    "clear": {"n": 1, "old_correct": 1, "new_correct": 1, "both_correct": 1},
    "NA": {"n": 1, "old_correct": 1, "new_correct": 0, "both_correct": 0},
}


def as_dict() -> dict[str, Any]:
    """A record, fresh each time, for a test to change."""
    return {
        "scenario": {
            "name": "driving-foggy",
            "version": 1,
            "fingerprint": "aa",
            "training_fingerprint": "bb",
            "classes": CLASSES,
            "rounds": 1,
            "options": {"image_size": 64},
        },
        "method": {"name": "mds", "version": 1, "settings": {"lr": 1e-3, "betas": (0.9, 0.98), "tau": None}},
        "base": {"name": "tiny", "sha256": "cc", "model": "ViT"},
        "seed": 0,
        "rounds": [
            {
                "target": "foggy",
                "protected": ["clear", "NA"],
                "val": COUNTS,
                "test": COUNTS,
                "checkpoints": [{"step": 10, "devsafety": -0.1, "target_accuracy": 1 / 3}],
                "selected_step": 10,
                "losses": [0.1 + 0.2, 1e-300],
                "seconds": 1.5,
            }
        ],
        "environment": {
            "python": "3.11",
            "platform": "Linux",
            "processor": "",
            "device": "cpu",
            "threads": 2,
            "packages": {"torch": "2.6"},
            "peak_memory_mb": 10.5,
        },
        "seconds": 2.5,
        "created": "2026-01-02T03:04:05+00:00",
    }


def changed(*place: str | int, to: Any) -> dict[str, Any]:
    """``as_dict`` with another value at ``place``."""
    data: Any = json.loads(json.dumps(as_dict()))
    inner = data
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = to
    return data


def record(*place: str | int, to: Any = None) -> Record:
    return Record.model_validate(changed(*place, to=to) if place else as_dict())


def predictions() -> pd.DataFrame:
    rows = [(0, split, index, *row) for split in ("val", "test") for index, row in enumerate(ROWS)]
    return pd.DataFrame(rows, columns=files.COLUMNS)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    path = files.write(record(), predictions(), tmp_path)
    assert files.read(path) == record()
    assert files.read_all(tmp_path) == [record()]
    assert path == tmp_path / f"records/driving-foggy/mds-seed0-{record().run_id}.json"
    assert path.read_text().startswith('{\n "schema_version": 1,\n "scenario": {\n  "name"')
    assert path.read_bytes().endswith(b"}\n")


def test_predictions_survive_their_file(tmp_path: Path) -> None:
    names = ["foggy", "NA", "", "007", "1e3", 'say "no", or\nnot', "tail\r", " nan "]
    table = pd.DataFrame([(0, "test", i, n, n, names[0]) for i, n in enumerate(names)], columns=files.COLUMNS)
    path = files.write(record(), table.assign(extra=1), tmp_path)
    found = files.read_predictions(path)
    assert found.to_dict("records") == table.to_dict("records")
    grouped = table.assign(group=[f"drive {i // 3}" for i in range(len(names))])
    path = files.write(record("seed", to=7), grouped, tmp_path)
    assert files.read_predictions(path).to_dict("records") == grouped.to_dict("records")


@given(st.lists(st.floats(), max_size=5))
def test_every_float_survives(losses: list[float]) -> None:
    before = record("rounds", 0, "losses", to=losses)
    text = before.model_dump_json()
    json.loads(text, parse_constant=pytest.fail)  # NaN and Infinity are no JSON
    after = Record.model_validate(json.loads(text))
    assert repr(after.rounds[0].losses) == repr(before.rounds[0].losses)


def test_a_diverged_record_survives(tmp_path: Path) -> None:
    data = changed("rounds", 0, "losses", to=[1.0, math.nan, math.inf])
    data["rounds"][0]["checkpoints"][0]["devsafety"] = math.nan
    data["method"]["settings"]["bound"] = -math.inf
    data["scenario"]["rounds"] = 2
    before = Record.model_validate(data | {"status": "diverged", "message": "loss is NaN at step 2"})
    after = files.read(files.write(before, predictions(), tmp_path))
    assert repr(after) == repr(before)
    assert after.run_id == before.run_id
    assert math.isnan(after.rounds[0].losses[1])
    empty = Record.model_validate(as_dict() | {"status": "diverged", "rounds": [], "seed": 1})
    assert files.read(files.write(empty, predictions()[:0], tmp_path)) == empty


def test_the_same_run_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write(record(), predictions(), tmp_path / "a")
    monkeypatch.setattr("time.time", lambda: 2e9)
    files.write(record(), predictions(), tmp_path / "b")
    files.write(record(), predictions(), tmp_path / "b")
    assert len(contents(tmp_path / "a")) == 2
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_scores_of_a_round() -> None:
    result = record().rounds[0]
    assert (result.target_gain, result.devsafety, result.strictly_preserved) == (0.5, -1.0, False)


DECISIVE: list[tuple[tuple[str | int, ...], Any]] = [
    (("scenario", "name"), "other"),
    (("scenario", "version"), 2),
    (("scenario", "fingerprint"), "zz"),
    (("scenario", "training_fingerprint"), "zz"),
    (("scenario", "options"), {"image_size": 32}),
    (("method", "name"), "other"),
    (("method", "version"), 2),
    (("method", "settings", "lr"), 2e-3),
    (("base", "sha256"), "zz"),
    (("base", "model"), "other"),
    (("seed",), 1),
    (("schema_version",), 0),
]
OTHERWISE: list[tuple[tuple[str | int, ...], Any]] = [
    (("base", "name"), "other"),
    (("message",), "late"),
    (("rounds", 0, "selected_step"), 99),
    (("rounds", 0, "seconds"), 99.0),
    (("environment", "device"), "cuda"),
    (("seconds",), 99.0),
    (("created",), "2027-01-02T03:04:05Z"),
]


@pytest.mark.parametrize(("place", "value"), DECISIVE)
def test_what_decides_the_outcome_changes_the_run_id(place: tuple[str | int, ...], value: Any) -> None:
    assert record(*place, to=value).run_id != record().run_id


@pytest.mark.parametrize(("place", "value"), OTHERWISE)
def test_nothing_else_changes_the_run_id(place: tuple[str | int, ...], value: Any) -> None:
    other = record(*place, to=value)
    assert other != record()
    assert other.run_id == record().run_id


def test_the_run_id_is_known_before_the_run_and_everywhere_the_same() -> None:
    now = record()
    assert schema.run_id(now.scenario, now.method, now.base, now.seed) == now.run_id
    assert now.run_id == "fd7ba81ffce04d9e"  # ids of committed records must not move; or raise SCHEMA_VERSION
    settings = {"tau": None, "betas": [0.9, 0.98], "lr": 1e-3}  # another order, a list for a tuple
    assert record("method", "settings", to=settings).run_id == now.run_id


@pytest.mark.parametrize("name", ["../../etc/x", "a/b\\c", "", "..", "método 1", "x" * 300, "C:nul\n"])
def test_names_stay_inside_the_results(tmp_path: Path, name: str) -> None:
    path = files.record_path(tmp_path, name, name, 0, "0" * 16)
    assert path.parent.parent == tmp_path / "records"
    assert path.parent.name.strip(".")
    assert path.name.isascii()
    path.parent.mkdir(parents=True)
    path.touch()  # the file system takes it
    assert path.resolve().is_relative_to(tmp_path.resolve())


def test_another_outcome_is_not_replaced_unasked(tmp_path: Path) -> None:
    path = files.write(record(), predictions(), tmp_path)
    before = contents(tmp_path)
    other = record("rounds", 0, "selected_step", to=20)
    with pytest.raises(ValueError, match=r"mds-seed0-.*\.json: .*--force"):
        files.write(other, predictions()[:0], tmp_path)
    assert contents(tmp_path) == before
    assert files.write(other, predictions()[:0], tmp_path, overwrite=True) == path
    assert files.read(path) == other
    assert files.read_predictions(path).empty


@pytest.mark.parametrize(("moment", "call"), [*(("fsync", n) for n in (1, 2)), *(("replace", n) for n in (1, 2, 3, 4))])
@pytest.mark.parametrize("again", [False, True])
def test_an_interruption_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, call: int, again: bool
) -> None:
    old = record("seconds", to=9.0)
    if again:
        files.write(old, predictions()[:0], tmp_path)
    before = contents(tmp_path)
    interrupt_at(call, moment, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        files.write(record(), predictions(), tmp_path, overwrite=True)
    monkeypatch.undo()
    if contents(tmp_path) != before or not again:  # the old files, or no record: never one with another's predictions
        assert files.read_all(tmp_path) == []
        assert not [name for name in contents(tmp_path) if name.endswith((".json", ".tmp"))]
    path = files.write(record(), predictions(), tmp_path, overwrite=True)  # and the run can be kept after all
    assert files.recompute(files.read(path), files.read_predictions(path)) == []


@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.parametrize("again", [False, True])
def test_a_full_disk_names_the_file_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int, again: bool
) -> None:
    if again:
        files.write(record("seconds", to=9.0), predictions()[:0], tmp_path)
    before, calls = contents(tmp_path), []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"mds-seed0-.*\.json cannot be written \(No space left.*--results"):
        files.write(record(), predictions(), tmp_path, overwrite=True)
    assert contents(tmp_path) == before


def test_the_same_outcome_made_twice_is_kept_once(tmp_path: Path) -> None:
    path = files.write(record(), predictions(), tmp_path)
    before = contents(tmp_path)
    later = record("created", to="2027-01-02T03:04:05+00:00")
    later = later.model_copy(update={"seconds": 99.0})
    assert files.write(later, predictions(), tmp_path) == path and contents(tmp_path) == before
    with pytest.raises(ValueError, match="a different record of this run exists"):
        files.write(later, predictions()[::-1], tmp_path)
    path.with_suffix(".csv.gz").unlink()  # as after an interruption long ago
    files.write(later, predictions(), tmp_path)
    assert files.recompute(files.read(path), files.read_predictions(path)) == []


def test_what_systems_leave_behind_is_no_record(tmp_path: Path) -> None:
    path = files.write(record(), predictions(), tmp_path)
    for name in (f"._{path.name}", ".ipynb_checkpoints/x.json", f"../__MACOSX/{path.name}", ".a.tmp.json"):
        (path.parent / name).parent.mkdir(exist_ok=True)
        (path.parent / name).write_bytes(b"\0\5\x16\7")
    assert files.read_all(tmp_path) == [record()]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def places(value: Any, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Where something stands in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, item in inner for place in places(item, (*at, key)))]


PLACES = places(json.loads(json.dumps(as_dict())))[1:]


def is_read_or_refused_in_a_line(content: bytes, folder: Path) -> None:
    path = folder / "a.json"
    path.write_bytes(content)
    try:
        found = files.read(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}: ") and len(str(error).splitlines()) == 1
    else:
        assert found.run_id and len([r.devsafety for r in found.rounds]) == len(found.rounds)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any")


any_json = given(
    st.one_of(JSON, st.builds(lambda place, value: changed(*place, to=value), st.sampled_from(PLACES), JSON))
)


@settings(max_examples=200, deadline=None)
@any_json
def test_any_json_is_a_record_or_refused_in_a_line(scratch: Path, value: Any) -> None:
    is_read_or_refused_in_a_line(json.dumps(value).encode(), scratch)


@pytest.mark.slow
@settings(max_examples=2_000, deadline=None)
@any_json
def test_any_json_is_a_record_or_refused_in_a_line_often(scratch: Path, value: Any) -> None:
    is_read_or_refused_in_a_line(json.dumps(value).encode(), scratch)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[" * 100_000, b"1" * 5_000, b'{"schema_version": 1e999}', b"\0"]
)
def test_what_is_no_json_is_refused_in_a_line(scratch: Path, content: bytes) -> None:
    is_read_or_refused_in_a_line(content, scratch)


def interrupt_at(call: int, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at the ``call``-th file that is synced or put in place."""
    calls = []

    def stop(real: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any) -> Any:
            calls.append(arguments)
            if len(calls) == call:
                raise KeyboardInterrupt
            return real(*arguments)

        return act

    where, name = ("os", "fsync") if moment == "fsync" else ("pathlib.Path", "replace")
    real = os.fsync if moment == "fsync" else Path.replace
    monkeypatch.setattr(f"{where}.{name}", stop(real))


def test_files_of_an_interrupted_process_are_ignored(tmp_path: Path) -> None:
    path = files.write(record(), predictions(), tmp_path)
    (path.parent / ".0123.tmp").write_text("{")
    (path.parent / "mds-seed1-0123.csv.gz").write_bytes(b"")
    assert files.read_all(tmp_path) == [record()]


def without(*place: str) -> dict[str, Any]:
    data: Any = changed("message", to="")
    inner = data
    for key in place[:-1]:
        inner = inner[key]
    del inner[place[-1]]
    return data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Expecting value"),
        (b'{"a": ', "Expecting value"),
        (b"\xff\xfe\xff", "decode"),
        (b"[]", "valid dictionary"),
        (changed("schema_version", to=2), "schema version 2 is newer than 1: update mds-bench"),
        (without("seed"), "seed: Field required"),
        (without("method", "settings"), "method.settings: Field required"),
        (changed("surprise", to=1), "surprise: Extra inputs"),
        (changed("scenario", "version", to="new"), "scenario.version: Input should be a valid integer"),
        (changed("status", to="fine"), "status: Input should be 'complete' or 'diverged'"),
        (changed("rounds", to=[]), "a complete record has all 1 rounds"),
        (changed("created", to="yesterday"), "created: Invalid isoformat"),
        (changed("created", to="2026-01-02T03:04:05+01:00"), "created: .* not in UTC"),
        (changed("created", to="2026-01-02T03:04:05"), "created: .* not in UTC"),
        (changed("rounds", 0, "test", "clear", "n", to=-1), "rounds.0.test.clear.n: .*greater than or equal to 0"),
        (changed("rounds", 0, "val", "clear", "n", to=0), "rounds.0.val.clear: more images are correct"),
        (changed("rounds", 0, "test", to={"foggy": COUNTS["foggy"]}), "rounds.0: class 'clear' has no images"),
        (changed("rounds", 0, "protected", to=[]), "rounds.0: no class is protected"),
        (changed("rounds", 0, "protected", to=["foggy", "clear"]), "rounds.0: .*target none of them"),
        (changed("scenario", "classes", to=["foggy", "clear"]), r"does not have: \['NA'\]"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(tmp_path: Path, content: bytes | dict[str, Any], message: str) -> None:
    path = tmp_path / "records" / "driving-foggy" / "bad.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    for attempt in (lambda: files.read(path), lambda: files.read_all(tmp_path)):
        with pytest.raises(ValueError, match=message) as caught:
            attempt()
        assert type(caught.value) is ValueError
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)
        assert "pydantic" not in str(caught.value)


def test_more_than_one_fault_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(changed("seed", to="?") | {"surprise": 1}))
    with pytest.raises(ValueError, match=r"seed: .* \(and 1 more\)$"):
        files.read(tmp_path / "x.json")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"records: no such folder; make records with `python -m benchmark run`"):
        files.read_all(tmp_path)
    with pytest.raises(ValueError, match=r"x\.json: is no record \(No such file or directory\): give the \.json"):
        files.read(tmp_path / "x.json")
    with pytest.raises(ValueError, match=r"x\.csv\.gz: no predictions"):
        files.read_predictions(tmp_path / "x.json")


def test_a_record_edited_by_hand_is_found(tmp_path: Path) -> None:
    path = files.write(record(), predictions(), tmp_path)
    path.write_text(path.read_text().replace('"lr": 0.001', '"lr": 0.1'))
    with pytest.raises(ValueError, match=rf"{path.name}: was changed"):
        files.read_all(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", gzip.compress(b"a,b\n1,2\n"), gzip.compress(b""), gzip.compress(b"\xff"), "cut"],
    ids=["empty", "no gzip", "other columns", "gzip of nothing", "no text", "cut"],  # bytes of gzip hold the time
)
def test_bad_predictions_are_one_line(tmp_path: Path, content: bytes | str) -> None:
    path = files.write(record(), predictions(), tmp_path)
    sidecar = path.with_suffix(".csv.gz")
    sidecar.write_bytes(sidecar.read_bytes()[:-12] if isinstance(content, str) else content)
    with pytest.raises(ValueError, match=r"\.csv\.gz: no predictions") as caught:
        files.read_predictions(path)
    assert "\n" not in str(caught.value)


def test_predictions_need_their_columns(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\['old'\] are missing"):
        files.write(record(), predictions().drop(columns="old"), tmp_path)
    assert not contents(tmp_path)


@pytest.mark.parametrize("value", [object(), {1: 2}, [{"a": {1, 2}}], b"x"])
def test_settings_that_json_cannot_hold(value: Any) -> None:
    with pytest.raises(ValueError, match="does not fit in JSON"):
        schema.MethodInfo(name="mds", version=1, settings={"x": value})


@pytest.mark.parametrize("copy", ["backup/{}", "driving-foggy/old-{}"])
def test_a_copy_of_a_record_is_no_second_run(tmp_path: Path, copy: str) -> None:
    path = files.write(record(), predictions(), tmp_path)
    other = tmp_path / "records" / copy.format(path.name)
    other.parent.mkdir(exist_ok=True)
    other.write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match=r"is the same run as .*; delete one of the two") as caught:
        files.read_all(tmp_path)
    assert str(path) in str(caught.value) and str(other) in str(caught.value)
    path.unlink()
    assert files.read_all(tmp_path) == [record()]


def test_records_are_sorted_whatever_the_order_of_writing(tmp_path: Path) -> None:
    cells = [("b", "mds", 0), ("a", "mds", 10), ("a", "mds", 2), ("a", "ewc", 3)]
    for scenario, method, seed in cells:
        data = changed("scenario", "name", to=scenario) | {"seed": seed}
        data["method"]["name"] = method
        files.write(Record.model_validate(data), predictions(), tmp_path)
    found = [(r.scenario.name, r.method.name, r.seed) for r in files.read_all(tmp_path)]
    assert found == sorted(cells)


def test_recompute_agrees_and_catches_any_tampering(tmp_path: Path) -> None:
    path = files.write(record(), predictions(), tmp_path)
    assert files.recompute(record(), files.read_predictions(path)) == []
    for split in ("val", "test"):
        better = {**COUNTS["NA"], "new_correct": 1, "both_correct": 1}
        (line,) = files.recompute(record("rounds", 0, split, "NA", to=better), predictions())
        assert line.startswith(f"round 0, {split}, NA: ")
        assert str(Counts(1, 1, 1, 1)) in line
        assert str(Counts(1, 1, 0, 0)) in line


def test_recompute_passes_over_classes_outside_the_round() -> None:
    data = changed("scenario", "classes", to=[*CLASSES, "snowy"])
    more = pd.DataFrame([(0, "test", 9, "snowy", "snowy", "foggy")], columns=files.COLUMNS)
    assert files.recompute(Record.model_validate(data), pd.concat([predictions(), more])) == []
    del data["rounds"][0]["val"]["NA"]  # but a class of the round may not be left out
    (line,) = files.recompute(Record.model_validate(data), predictions())
    assert line.startswith("round 0, val, NA: ")


@pytest.mark.parametrize(
    ("tamper", "mismatches"),
    [
        (lambda table: table[:-1], 1),  # an image left out
        (lambda table: table[:0], 6),
        (lambda table: pd.concat([table, table[:1]]), 1),  # an image counted twice
        (lambda table: table.assign(label=table["label"].replace("NA", "??")), 3),
        (lambda table: table.assign(new=table["new"].replace("foggy", "??")), 2),
        (lambda table: table.assign(round=1), 7),
        (lambda table: pd.concat([table, table.assign(round=1)]), 1),  # a round that the record does not have
        (lambda table: pd.concat([table, table.assign(split="train")]), 1),
    ],
)
def test_recompute_catches_tampered_predictions(
    tamper: Callable[[pd.DataFrame], pd.DataFrame], mismatches: int
) -> None:
    assert len(files.recompute(record(), tamper(predictions()))) == mismatches


@pytest.mark.parametrize("place", ["records", "records/deep/deeper"])
def test_a_record_in_no_streams_folder_is_named(tmp_path, place):
    path = files.write(record(), predictions(), tmp_path)
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    stray = path.rename(tmp_path / place / path.name)
    with pytest.raises(ValueError, match=f"{re.escape(str(stray))}: is in no stream's folder; move it to"):
        files.read_all(tmp_path)


def test_a_folder_that_cannot_be_listed_is_no_empty_one(tmp_path, monkeypatch):
    files.write(record(), predictions(), tmp_path)

    def refuse(folder):
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(PermissionError, match="records"):
        files.read_all(tmp_path)
