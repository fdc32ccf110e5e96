"""Honest records are added, every kind of forged one is refused with the reason, and a refusal changes nothing."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmark import cli
from benchmark.leaderboard.aggregation import table
from benchmark.records import files
from benchmark.records.schema import Record
from tests.benchmark.example_records import VERSION_1

Content = dict[str, Any]
STREAM = "driving-foggy"


def committed(method: str, stream: str = STREAM) -> Path:
    return next((VERSION_1 / "records" / stream).glob(f"{method}-*.json"))


def copied(path: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(path.with_suffix(".csv.gz"), folder)
    return Path(shutil.copy(path, folder))


@pytest.fixture(autouse=True)
def streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """The streams' first version is today's."""
    known = json.loads((VERSION_1 / "fingerprints.json").read_bytes())
    monkeypatch.setattr("benchmark.check.plausibility.fingerprints", lambda: known)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """What is kept already: of the same stream another method, another seed and the same method's other seed."""
    for name in ("finetune-seed0", "frozen-seed1", "mds-seed1"):
        copied(committed(name), tmp_path / "results" / "records" / STREAM)
    return tmp_path / "results"


@pytest.fixture
def honest(tmp_path: Path) -> Path:
    return copied(committed("mds-seed0"), tmp_path / "theirs")


@pytest.fixture
def submit(results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """``submit(*arguments) -> (exit code, lines)``, those on standard error last."""

    def call(*arguments: Path | str) -> tuple[int, list[str]]:
        monkeypatch.setattr("sys.argv", ["benchmark", "submit", *map(str, arguments), "--results", str(results)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        return int(str(ended.value.code or 0)), [*told.out.splitlines(), *told.err.splitlines()]

    return call


def forged(
    path: Path,
    folder: Path,
    change: Callable[[Content], object] = lambda content: None,
    tamper: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table,
) -> Path:
    """A record like that of ``path``, changed, under the name that it should then have."""
    content = json.loads(path.read_bytes())
    change(content)
    table = files.read_predictions(path)
    return files.write(Record.model_validate(content), tamper(table), folder, overwrite=True)


def _both(path: Path) -> tuple[Path, Path]:
    return path, path.with_suffix(".csv.gz")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_honest_record_is_added_and_the_next_command_is_said(submit, honest, results):
    code, lines = submit(honest)
    assert (code, lines[0]) == (0, f"{honest}: fine")
    assert lines[-1] == f"added 1 to {results / 'records'}; next: python -m benchmark leaderboard --results {results}"
    kept = results / "records" / STREAM / honest.name
    assert files.read(kept) == files.read(honest)
    assert files.recompute(files.read(kept), files.read_predictions(kept)) == []
    assert len(table(files.read_all(results))) == 3


def test_a_folder_of_another_persons_method_and_streams_is_added(submit, tmp_path, results):
    def mine(content: Content) -> None:
        content["method"] |= {"name": "mine.py:Mine", "code": "0123456789abcdef", "settings": {"steps": 80}}

    for stream in (STREAM, "driving-rounds"):
        for seed in (0, 1):
            forged(committed(f"mds-seed{seed}", stream), tmp_path / "theirs", mine)
    code, lines = submit(tmp_path / "theirs")
    assert code == 0 and lines[-1].startswith("added 4 to")
    assert len(files.read_all(results)) == 3 + 4


def test_what_systems_leave_behind_is_no_submission(submit, honest):
    for name in (f"._{honest.name}", f"__MACOSX/._{honest.name}", ".ipynb_checkpoints/x.json"):
        (honest.parent / name).parent.mkdir(exist_ok=True)
        (honest.parent / name).write_bytes(b"\0\5\x16\7")
    code, lines = submit(honest.parent)
    assert code == 0 and len(lines) == 2, lines


def test_one_forged_record_keeps_all_out(submit, honest, tmp_path, results):
    bad = forged(honest, tmp_path / "bad", lambda content: content.update(seed=1000))
    before = contents(results)
    code, lines = submit(honest, bad)
    assert code == 1 and contents(results) == before
    assert lines[0] == f"{honest}: fine" and "nothing was added: 1 of 2 refused" in lines


def test_a_failure_while_adding_leaves_nothing(submit, honest, tmp_path, results, monkeypatch):
    before, calls, real = contents(results), [], files.write

    def full(*arguments: Any) -> Path:
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return real(*arguments)

    monkeypatch.setattr(files, "write", full)
    code, _ = submit(honest, copied(committed("mds-seed2"), tmp_path / "theirs"))
    assert (code, len(calls)) == (2, 2) and contents(results) == before


@pytest.mark.parametrize("outcome", ["", "another"])
def test_a_failure_while_adding_leaves_what_another_process_has_added(
    submit, honest, tmp_path, results, monkeypatch, outcome
):
    before, calls, real = contents(results), [], files.write
    also = [copied(committed(f"mds-seed{seed}"), tmp_path / "theirs") for seed in (2, 3)]

    def racing(record: Record, *rest: Any) -> Path:
        calls.append(record.seed)
        if record.seed == 0:
            other = files.read(also[0]).model_copy(update={"message": outcome})
            before.update(
                {str(p): p.read_bytes() for p in _both(real(other, files.read_predictions(also[0]), results))}
            )
        if record.seed == 3:
            raise OSError(28, "No space left on device")
        return real(record, *rest)

    monkeypatch.setattr(files, "write", racing)
    code, _ = submit(honest, *also)
    assert (code, calls) == (2, [0, 2] if outcome else [0, 2, 3]) and contents(results) == before


def in_round(**changes: Any) -> Callable[[Content], object]:
    return lambda content: content["rounds"][0].update(changes)


def scenes(old: int) -> Callable[[Content], object]:
    return in_round(scene_pairs={"group": {"n": 100, "old_correct": old, "new_correct": 50, "both_correct": 0}})


@pytest.mark.parametrize(("old", "code"), [(30, 0), (31, 1)])
def test_scene_pairs_of_one_base_are_the_same(submit, honest, tmp_path, results, old, code):
    forged(committed("mds-seed1"), results, scenes(30))
    found, lines = submit(forged(honest, tmp_path / "forged", scenes(old)))
    assert found == code
    assert any("scene pairs: group of the base is not that of mds seed 1" in line for line in lines) == bool(code)


def test_scene_pairs_may_not_be_left_out(submit, honest, tmp_path, results):
    forged(committed("mds-seed1"), results, scenes(30))
    code, lines = submit(forged(honest, tmp_path / "forged", in_round(scene_pairs={})))
    assert code == 1 and "scene pairs: there are none of group, which mds seed 1 has" in "\n".join(lines)


PROBED = {
    "image_size": 64,
    "target_images": 400,
    "protected_per_class": 400,
    "val_per_class": 300,
    "test_per_class": 800,
    "scored": "probe",
}


def in_part(part: str, **changes: Any) -> Callable[[Content], object]:
    return lambda content: content[part].update(changes)


def constraints(**violations: list[Any]) -> Callable[[Content], object]:
    return in_round(constraints={"steps": [80], "violations": violations})


def better(content: Content) -> None:
    content["rounds"][0]["test"]["clear"]["new_correct"] += 5


def better_checkpoint(content: Content) -> None:
    content["rounds"][0]["checkpoints"][-1]["target_accuracy"] = 0.99


def fewer_images(content: Content) -> None:
    content["rounds"][0]["test"]["clear"] = {"n": 9, "old_correct": 1, "new_correct": 1, "both_correct": 1}


def other_task(content: Content) -> None:
    content["rounds"][0]["protected"] = content["rounds"][0]["protected"][1:]


def no_tau(content: Content) -> None:
    del content["method"]["settings"]["tau"]


FORGERIES: dict[str, tuple[Callable[[Content], object], str]] = {
    "a better score": (better, "the record has Counts"),
    "other pictures": (in_part("scenario", fingerprint="ab" * 32), "fingerprint abababab"),
    "an older stream": (in_part("scenario", version=0), "version 0 of the stream, which is at 1: run it again"),
    "an unknown stream": (in_part("scenario", name="mine"), "stream 'mine' cannot be verified"),
    "pictures that calibrate": (in_part("scenario", options=PROBED), "with other options than"),
    "unknown options": (in_part("scenario", options={"image_size": 32}), "with other options than"),
    "fewer images": (fewer_images, "test has 800 images of each class, not so of clear"),
    "other training images": (
        in_part("scenario", training_fingerprint="ab"),
        "training fingerprint ab… is not",
    ),
    "fewer protected classes": (other_task, "target or protected classes are not those of"),
    "a worse checkpoint": (in_round(selected_step=20), "selected is step 20, but by validation"),
    "no checkpoint": (in_round(selected_step=7), "selected is step 7, which is no checkpoint"),
    "nothing scored": (in_round(checkpoints=[]), "no checkpoint was scored"),
    "another model validated": (better_checkpoint, "target accuracy 0.643333, the selected checkpoint has"),
    "validation left out": (in_round(val={}), "validation counts of some classes are missing"),
    "a loss that is no number": (in_round(losses=["NaN"] * 80), "losses are not all finite"),
    "fewer steps": (in_round(losses=[0.1] * 79), "79 losses for 80 steps"),
    "less than no time": (in_round(seconds=-1e9), "in rounds of"),
    "constraints of nobody": (constraints(nobody=[0.5]), "constraints of classes that are not protected: nobody"),
    "constraints that are no numbers": (constraints(clear=["NaN"]), "constraints are not all finite"),
    "no environment": (in_part("environment", python=""), "the environment is not described"),
    "the future": (lambda content: content.update(created="2999-01-01T00:00:00+00:00"), "created in the future"),
    "a tuning seed": (lambda content: content.update(seed=1001), "seed 1001"),
    "no time": (lambda content: content.update(seconds=1.0), "in rounds of 1.0 in all cannot be"),
    "another version": (in_part("method", version=2), "version 2 of method mds, which is at 1"),
    "other code": (in_part("method", code="0123456789abcdef"), "it ran other code (0123456789abcdef)"),
    "a name that looks alike": (in_part("method", name="MDS", code="0123"), "could be taken for"),
    "no code": (in_part("method", name="mine"), "code must tell which"),
    "no such setting": (lambda content: content["method"]["settings"].update(x=1), "settings that mds does not take"),
    "a setting left out": (no_tau, "settings are not all that mds has"),
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_forged_record_is_refused_with_the_reason(submit, honest, tmp_path, results, kind):
    change, words = FORGERIES[kind]
    path, before = forged(honest, tmp_path / "forged", change), contents(results)
    code, lines = submit(path)
    assert code == 1 and contents(results) == before
    assert any(line.startswith(f"{path}: ") and words in line for line in lines), lines


def wrong_otherwise(table: pd.DataFrame, number: int = 0, places: int = 1) -> pd.DataFrame:
    """Other wrong answers of the old model in a round, so that no count changes."""
    wrong = table[(table["round"] == number) & (table["split"] == "test") & (table["old"] != table["label"])][:places]
    for place, label, old in zip(wrong.index, wrong["label"], wrong["old"], strict=True):
        table.loc[place, "old"] = next(name for name in ("clear", "rainy", "snowy") if name not in (label, old))
    return table


TAMPERINGS: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "another base": (lambda table: wrong_otherwise(table), "1 of 6600 predictions of the base are not those of"),
    "no such class": (
        lambda table: table.replace({"new": {"snowy": "hail"}}),
        "classes that the stream does not have: hail",
    ),
    "an image twice": (lambda table: table.assign(index=table["index"].replace(1, 0)), "indices are not 0, 1, 2"),
    "an image left out": (lambda table: table[1:], "the record has Counts"),
    "other images": (lambda table: table.iloc[[1, 0, *range(2, len(table))]].assign(index=table["index"]), ""),
}


@pytest.mark.parametrize("kind", TAMPERINGS)
def test_tampered_predictions_are_refused_with_the_reason(submit, honest, tmp_path, kind):
    tamper, words = TAMPERINGS[kind]
    code, lines = submit(forged(honest, tmp_path / "forged", tamper=tamper))
    assert code == 1 if words else code == 0, lines
    assert any(words in line for line in lines), lines


def test_a_round_starts_from_the_model_that_the_last_one_ended_with(submit, tmp_path):
    path = committed("mds-seed0", "driving-rounds")
    code, lines = submit(forged(path, tmp_path / "forged", tamper=lambda table: wrong_otherwise(table, 2)))
    assert code == 1
    assert any("round 3, test: 1 old predictions are not the new ones of the round before" in line for line in lines)


def test_records_made_elsewhere_may_round_otherwise_but_not_by_much(submit, honest, tmp_path):
    def elsewhere(content: Content) -> None:
        content["environment"] |= {"device": "NVIDIA H200"}

    code, lines = submit(forged(honest, tmp_path / "much", elsewhere, lambda table: wrong_otherwise(table, places=80)))
    assert code == 1 and any("predictions of the base are not those of" in line for line in lines)
    assert (
        submit(forged(honest, tmp_path / "little", elsewhere, lambda table: wrong_otherwise(table, places=40)))[0] == 0
    )


def test_a_name_must_be_that_of_the_run(submit, honest):
    changed = honest.with_name("mds-seed0-0123456789abcdef.json")
    honest.rename(changed)
    honest.with_suffix(".csv.gz").rename(changed.with_suffix(".csv.gz"))
    code, lines = submit(changed)
    assert code == 1 and f"it holds the run {honest.name}: it was changed or renamed" in lines[0]


def test_a_run_is_kept_once(submit, honest, tmp_path):
    again = copied(honest, tmp_path / "again")
    code, lines = submit(honest, again)
    assert code == 1 and lines[1] == f"{again}: the same run as {honest}"
    assert submit(honest)[0] == 0
    code, lines = submit(honest)
    assert code == 1 and lines[0].endswith("already")


def test_predictions_must_lie_beside_a_record(submit, honest):
    honest.with_suffix(".csv.gz").unlink()
    code, lines = submit(honest)
    assert code == 1 and "no predictions to be read" in lines[0]


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b"\xff"])
def test_what_holds_no_record_is_told_apart_by_the_exit_code(submit, honest, tmp_path, results, content):
    path, before = tmp_path / "x.json", contents(results)
    if content is not None:
        path.write_bytes(content)
    bad = forged(honest, tmp_path / "bad", better)
    code, lines = submit(path, bad)
    assert code == 2 and contents(results) == before
    assert lines[0].startswith(f"{path}: ")
    assert lines[-1] == f"error: nothing was added: 2 of 2 refused, as {path} holds no record"  # on standard error


def test_an_empty_folder_holds_no_records(submit, tmp_path):
    (tmp_path / "empty").mkdir()
    assert submit(tmp_path / "empty")[0] == 2


def test_unknown_streams_are_taken_on_request(submit, honest, tmp_path):
    path = forged(honest, tmp_path / "forged", in_part("scenario", name="mine"))
    assert submit(path)[0] == 1
    assert submit(path, "--allow-unknown-stream")[0] == 0


def test_a_new_folder_compares_what_is_submitted_with_each_other(submit, honest, tmp_path, results):
    shutil.rmtree(results)
    other = forged(committed("mds-seed2"), tmp_path / "forged", tamper=lambda table: wrong_otherwise(table))
    code, lines = submit(honest, other)
    assert code == 1 and "1 of 6600 predictions of the base are not those of mds seed 0" in "\n".join(lines)
    assert submit(honest)[0] == 0 and (results / "records" / STREAM / honest.name).is_file()


def test_records_of_a_new_base_are_compared_with_each_other(submit, honest, tmp_path):
    """Although others on the same pictures are kept."""
    base = in_part("base", sha256="b" * 64)
    one = forged(honest, tmp_path / "one", base)
    other = forged(committed("mds-seed2"), tmp_path / "other", base, tamper=wrong_otherwise)
    code, lines = submit(one, other)
    assert code == 1 and lines[0].endswith("fine")
    assert "1 of 6600 predictions of the base are not those of mds seed 0" in "\n".join(lines)


def test_records_may_be_kept_in_a_folder_of_another_name(submit, honest, results):
    (results / "records" / STREAM).rename(results / "records/mine")
    assert submit(honest)[0] == 0
    code, lines = submit(copied(committed("mds-seed1"), honest.parent / "again"))
    assert code == 1 and lines[0].endswith("already")


def test_numbers_that_no_table_holds_are_told_in_one_line(submit, honest):
    file = honest.with_suffix(".csv.gz")
    lines = gzip.decompress(file.read_bytes()).decode().splitlines()
    lines[1] = lines[1].replace("0", str(10**30), 1)
    file.write_bytes(gzip.compress("\n".join([*lines, ""]).encode()))
    code, told = submit(honest)
    assert code == 1 and "no predictions to be read" in told[0]


def test_names_cannot_rewrite_the_terminal(submit, honest, tmp_path):
    path = forged(honest, tmp_path / "forged", in_part("method", name="\x1b[2Jmine"))
    _, lines = submit(path)
    assert "\x1b" not in "".join(lines)
