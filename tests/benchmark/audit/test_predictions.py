"""Files of predictions: what is read from them, and what is refused."""

from __future__ import annotations

import csv
import doctest
import random
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from benchmark.audit import names as names_module
from benchmark.audit import pairing, predictions
from benchmark.audit.names import lookalikes
from benchmark.metrics.counts import Counts

OLD = [("1", "NA", "NA"), ("2", "NA", "007"), ("3", "007", "007"), ("4", "007", "null"), ("5", "007", "007")]
NEW = [("5", "007", "NA"), ("4", "007", "007"), ("3", "007", "7"), ("2", "NA", "NA"), ("1", "NA", "NA")]
PAIRED = {"007": Counts(3, 2, 1, 0), "NA": Counts(2, 1, 2, 1)}  # "7" is not "007"

Row = tuple[str, str, str]


def write_csv(path: Path, rows: list[Row]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([predictions.COLUMNS, *rows])
    return path


def write_parquet(path: Path, rows: list[Row], dictionary: bool = False) -> Path:
    import pyarrow
    from pyarrow import parquet

    columns = {
        name: pyarrow.array(values) for name, values in zip(predictions.COLUMNS, zip(*rows, strict=True), strict=True)
    }
    if dictionary:
        columns = {name: column.dictionary_encode() for name, column in columns.items()}
    parquet.write_table(pyarrow.table(columns), path)
    return path


def paired_counts(old: Path, new: Path, renamed: dict[str, str] | None = None) -> dict[str, Counts]:
    return {name: own.counts for name, own in pairing.pair(old, new, renamed).rows.of_classes().items()}


WRITERS = {"csv": write_csv, "parquet": write_parquet}


@pytest.mark.parametrize("old_kind", WRITERS)
@pytest.mark.parametrize("new_kind", WRITERS)
def test_two_files_are_matched_by_id_and_names_stay_text(tmp_path: Path, old_kind: str, new_kind: str) -> None:
    old, new = tmp_path / f"old.{old_kind}", tmp_path / f"new.{new_kind}"
    WRITERS[old_kind](old, OLD)
    WRITERS[new_kind](new, NEW)
    assert paired_counts(old, new) == PAIRED
    assert list(paired_counts(old, new)) == ["007", "NA"]


def test_integers_and_dictionaries_in_parquet_are_their_text(tmp_path: Path) -> None:
    numbers = write_parquet(tmp_path / "numbers.parquet", [(1, 3, 4), (2, 3, 3)])  # type: ignore[list-item]
    words = write_parquet(tmp_path / "words.parquet", [("2", "3", "3"), ("1", "3", "3")], dictionary=True)
    assert paired_counts(numbers, words) == {"3": Counts(2, 1, 2, 1)}


names = st.text(st.characters(codec="utf-8"), max_size=5).map(lambda name: f"{name}.")  # never empty


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(names, names), min_size=1, max_size=20),
    st.dictionaries(names, st.tuples(st.integers(0), st.integers(0), st.integers(0)), min_size=1, max_size=20),
    st.randoms(use_true_random=False),
)
def test_any_names_in_any_order_give_the_counts_of_plain_counting(
    tmp_path: Path, classes: list[tuple[str, str]], images: dict[str, tuple[int, int, int]], shuffle: random.Random
) -> None:
    known = [name for pair in classes for name in pair]
    table = [(name, *(known[k % len(known)] for k in picks)) for name, picks in images.items()]
    table.append(("an id that text() does not make", known[0], known[0], known[0]))  # one right answer in each file
    assume(
        not lookalikes({name for row in table for name in row[2:]} - {row[1] for row in table}, {r[1] for r in table})
    )
    old = [(name, label, before) for name, label, before, _ in table]
    new = [(name, label, after) for name, label, _, after in table]
    shuffle.shuffle(new)
    counts = paired_counts(write_csv(tmp_path / "old.csv", old), write_csv(tmp_path / "new.csv", new))
    assert set(counts) == {label for _, label, _, _ in table}
    for name, own in counts.items():
        rows = [row for row in table if row[1] == name]
        right = [(label == before, label == after) for _, label, before, after in rows]
        assert own == Counts(
            len(rows), sum(o for o, _ in right), sum(n for _, n in right), sum(o and n for o, n in right)
        )


def test_other_columns_their_order_a_byte_order_mark_and_empty_lines_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "own.CSV"
    path.write_bytes(b'\xef\xbb\xbfscore,prediction,label,id\r\n0.5,"a, b",c,1\r\n\r\n0.7,c,c,2\r\n')
    assert predictions.read(path)[1:] == (
        ["c", "c"],
        ["a, b", "c"],
        {"1": 0, "2": 1},
        {},
        ["score", "prediction", "label", "id"],
    )
    assert predictions.read(path, more=["score"]).more == {"score": ["0.5", "0.7"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "column id, label, prediction is missing"),
        ("id,label\n1,a\n", "column prediction is missing"),
        ("id,label,prediction,label\n1,a,a,b\n", "column label is there more than once"),
        ("id,label,prediction\n", "holds no predictions"),
        ("id,label,prediction\n1,a,a\n2,,a\n", "line 3 (id '2') has no label"),
        ("id,label,prediction\n1,a, \n", "line 2 (id '1') has no prediction"),
        ("id,label,prediction\n,a,a\n", "line 2 (id '') has no id"),
        ("id,label,prediction\n1,a\n", "line 2 has 2 values, the header 3"),
        ("id,label,prediction\n1,a,b,c\n", "line 2 has 4 values, the header 3"),
        ("id,label,prediction\n7,a,a\n8,a,a\n7,a,a\n9,a,a\n8,a,a\n", "ids '7', '8' there more than once"),
        ('id,label,prediction\n1,a,"b\n', "is not CSV in UTF-8"),
        ("id,label,prediction\n1,a,\xff\n", "is not CSV in UTF-8"),
    ],
)
def test_a_bad_csv_is_refused_with_a_line_that_names_it(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError) as refused:
        predictions.read(path)
    assert str(refused.value).startswith(f"{path}: ") and message in str(refused.value)


def test_a_bad_parquet_is_refused_with_a_line_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "bad.parquet"
    path.write_bytes(b"id,label,prediction\n1,a,a\n")
    with pytest.raises(ValueError, match=r"bad\.parquet: is not a Parquet file"):
        predictions.read(path)
    for row, message in (
        (("1", "a", None), "row 2 .id '1'. has no prediction"),
        (("1", None, "a"), "has no label"),
        (("0", "a", "a"), "id '0' there more than once"),
    ):
        write_parquet(path, [("0", "a", "a"), row])  # type: ignore[list-item]
        with pytest.raises(ValueError, match=message):
            predictions.read(path)
    write_parquet(path, [("1", "a", 0.5)])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="column prediction is of type double: store it as text"):
        predictions.read(path)


def test_parquet_without_pyarrow_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path / "old.parquet", OLD)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"pip install 'mds-bench\[parquet\]'"):
        predictions.read(path)


def test_no_file_and_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.csv: no such file"):
        predictions.read(tmp_path / "gone.csv")
    with pytest.raises(ValueError, match=r"must end in \.csv, .* or \.parquet"):
        predictions.read(tmp_path / "old.json")


NEAR = {
    "underscore": "partly_cloudy",
    "case": "Partly Cloudy",
    "blank": "partly cloudy ",
    "no blank": "partlycloudy",
    "wide": "ｐartly cloudy",
}


@pytest.mark.parametrize("spelling", NEAR.values(), ids=NEAR)
@pytest.mark.parametrize("sides", [("old",), ("new",), ("old", "new")])
def test_a_prediction_that_is_a_label_but_for_its_spelling_is_refused(
    tmp_path: Path, spelling: str, sides: tuple[str, ...]
) -> None:
    files = []
    for side in ("old", "new"):
        name = spelling if side in sides else "partly cloudy"
        rows = [(f"{k}", "partly cloudy", name) for k in range(9)] + [("x", "clear", "clear")]
        files.append(write_csv(tmp_path / f"{side}.csv", rows))
    with pytest.raises(ValueError) as refused:
        pairing.pair(*files)
    assert f"{sides[0]}.csv: predictions that are no label: " in str(refused.value)
    assert "(9); did you mean 'partly cloudy'?" in str(refused.value)


def test_spellings_that_look_alike_are_spelt_out_and_numbers_compared_as_numbers(tmp_path: Path) -> None:
    for label, name, shown in (("névoa", "ne\u0301voa", r"'ne\u0301voa' (1)"), ("2", "2.0", "2.0 (1)")):
        path = write_csv(tmp_path / "one.csv", [("1", label, name)])
        with pytest.raises(ValueError) as refused:
            pairing.pair(path, path)
        assert shown in str(refused.value)
    path = write_csv(tmp_path / "one.csv", [("1", "1", "-1"), ("2", "1", "1"), ("3", "20", "2.00")])
    assert pairing.pair(path, path).others == {"-1": 2, "2.00": 2}


def test_a_class_that_is_never_named_is_not_measured(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "one.csv", [("1", "a", "a"), ("2", "b", "class 7"), ("3", "c", "a")])
    paired = pairing.pair(path, path)
    assert paired.unpredicted == ("b", "c") and paired.others == {"class 7": 2}
    pairing.check_measured(paired, ["a"])
    with pytest.raises(ValueError, match=r"ever predicts 'b', so .* no label: class 7 \(2\)"):
        pairing.check_measured(paired, ["a", "b"])


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("image;truth;guess;label\n1;a;b;x\n2;b;b;x\n", encoding="utf-8")
    with pytest.raises(ValueError, match="name yours with --columns"):
        predictions.read(path)
    counts = paired_counts(path, path, {"id": "image", "label": "truth", "prediction": "guess"})
    assert counts == {"a": Counts(1, 0, 0, 0), "b": Counts(1, 1, 1, 1)}


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (NEW[1:], "new.csv: lacks id '5' of"),
        ([*NEW, *((f"x{k}", "NA", "NA") for k in range(9))], "lacks ids 'x0', 'x1', 'x2', 'x3', 'x4' and 4 more of"),
        ([("5", "NA", "NA"), *NEW[1:]], "new.csv: id '5' with another label than in"),
        ([(name, label, "cat") for name, label, _ in NEW], "new.csv: no prediction is a label, such as '007'"),
    ],
)
def test_files_about_different_images_are_refused(tmp_path: Path, new: list[Row], message: str) -> None:
    with pytest.raises(ValueError) as refused:
        paired_counts(write_csv(tmp_path / "old.csv", OLD), write_csv(tmp_path / "new.csv", new))
    assert message in str(refused.value)


def test_the_examples_of_names_hold() -> None:
    found = doctest.testmod(names_module)
    assert found.attempted and not found.failed
