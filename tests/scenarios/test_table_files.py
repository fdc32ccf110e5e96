"""Tables as people hand them over: what is read, and what is refused with its file and place."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

from scenarios.photos import find_photos
from scenarios.table_files import SUFFIXES, MissingColumns, UnreadableTable, read_table

COLUMNS = {"id": ["1", "2"], "label": ["NA", "007"]}
PLAIN = "id,label,score\n1,NA,0.5\n2,007,0.7\n"


def read(path: Path, **options: object) -> dict[str, list[str]]:
    return read_table(path, ("id", "label"), **options).columns  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", PLAIN.encode()),
        ("a.CSV", PLAIN.encode("utf-8-sig")),
        ("a.csv", PLAIN.replace(",", ";").encode()),
        ("a.csv", PLAIN.replace(",", "\t").encode()),
        ("a.tsv", PLAIN.replace(",", "\t").encode()),
        ("a.csv", ("sep=,\n" + PLAIN).encode()),
        ("a.csv", ("sep=;\r\n" + PLAIN.replace(",", ";").replace("\n", "\r\n")).encode("utf-8-sig")),
        ("a.csv", ('"sep=|"\n' + PLAIN.replace(",", "|")).encode()),
        ("a.csv", PLAIN.replace(",", " , ", 2).encode()),
        ("a.csv", PLAIN.replace("\n", "\r").encode()),
        ("a.csv", ("\n" + PLAIN.replace("\n", "\n\n")).encode()),
        ("a.csv", PLAIN.replace("0.5", '"a\nb;,"').encode()),
        ("a.csv.gz", gzip.compress(PLAIN.encode("utf-8-sig"), mtime=0)),
        ("a.jsonl", b'{"id": 1, "label": "NA", "x": [1.5, {"id": 3}]}\n\n{"label": "007", "id": "2"}\n'),
        ("a.jsonl.gz", gzip.compress(b'\xef\xbb\xbf{"id": 1, "label": "NA"}\n{"label": "007", "id": 2}', mtime=0)),
    ],
)
def test_the_same_table_in_many_forms(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert read(tmp_path / name) == COLUMNS


def test_parquet_and_folders_of_its_parts(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    folder = tmp_path / "parts"
    folder.mkdir()
    for number, (one, label) in enumerate(zip(*COLUMNS.values(), strict=True)):
        parquet.write_table(pyarrow.table({"label": [label], "id": [int(one)]}), folder / f"part-{number}.parquet")
    (folder / "_SUCCESS").touch()
    (folder / "._part-0.parquet").write_bytes(b"left behind")
    assert read(folder) == COLUMNS
    assert read(folder / "part-1.parquet") == {"id": ["2"], "label": ["007"]}
    table = read_table(folder, ("id",), ("split",), {"id": "label"})
    assert table.columns == {"id": ["NA", "007"], "split": ["", ""]}
    assert [table.place(row) for row in (0, 1)] == ["part-0.parquet, row 1", "part-1.parquet, row 1"]
    with pytest.raises(MissingColumns, match=r"part-0\.parquet: column guess is missing.*'label,id'"):
        read_table(folder, ("guess",))
    (tmp_path / "none").mkdir()
    with pytest.raises(UnreadableTable, match="none: is a folder without Parquet parts"):
        read(tmp_path / "none")


def test_damaged_parquet_names_file_and_column(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    size = 300
    ids = [str(number) for number in range(size)]
    damaged = pyarrow.array([b"\xff" if number == 3 else b"a" for number in range(size)], pyarrow.binary())
    damaged = pyarrow.Array.from_buffers(pyarrow.string(), size, damaged.buffers())
    parquet.write_table(pyarrow.table({"id": ids, "label": damaged}), tmp_path / "a.parquet")
    with pytest.raises(UnreadableTable, match=r"a\.parquet: column label cannot be read: Invalid UTF8"):
        read(tmp_path / "a.parquet")
    parquet.write_table(pyarrow.table({"id": ids, "label": ids}), tmp_path / "b.parquet")
    content = bytearray((tmp_path / "b.parquet").read_bytes())
    content[200:260] = b"\xff" * 60
    (tmp_path / "b.parquet").write_bytes(content)
    with pytest.raises(UnreadableTable, match=r"b\.parquet: column id cannot be read: \w+"):
        read(tmp_path / "b.parquet")
    parquet.write_table(pyarrow.Table.from_arrays([ids, ids, ids], ["id", "label", "label"]), tmp_path / "c.parquet")
    with pytest.raises(UnreadableTable, match=r"c\.parquet: column label is there more than once"):
        read(tmp_path / "c.parquet")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "column id, label is missing: it needs id,label, its first line is ''"),
        ("a.csv", b"ID, Label\n1,a\n", r"column id, label is missing (did you mean 'ID', 'Label'?)"),
        (
            "a.csv",
            b"id,label,label\n1,a,b\n",
            "column label is there more than once, its first line is 'id,label,label'",
        ),
        ("a.csv", b"id,label,;id;label;,\n", "its first line can be read with commas or semicolons between"),
        ("a.csv", b"id,label\n1,a\n2,a,b\n", "line 3 has 3 values, the header 2: '2,a,b'"),
        ("a.csv", b'id,label\n1,a\n"2,b\n3,c\n', "line 3, unexpected end of data: '\"2,b'"),
        ("a.csv", b"id,label\n1,a\n2,\xff\n", "line 3 is of another encoding"),
        ("a.csv", "id,label\n1,a\n".encode("utf-16"), "line 1 is UTF-16"),
        ("a.csv.gz", b"id,label\n1,a\n", "cannot be read: Not a gzipped file"),
        ("a.csv.gz", gzip.compress(PLAIN.encode(), mtime=0)[:-9], "cannot be read: "),
        ("a.jsonl", b'{"id": 1, "label": "a"}\n{"id": 2', "line 2 is not JSON"),
        ("a.jsonl", b"[1]\n", "line 1 is no JSON object: '[1]'"),
        ("a.jsonl", b'{"id": 1}\n', "column label is missing: it needs id,label, its first line is 'id'"),
        ("a.jsonl", b'{"id": 1, "id": 2, "label": 3}\n', "column id is there more than once"),
        ("a.jsonl", b'{"id": 1, "label": 2.0}\n', "line 1, column label is neither text nor an integer"),
        ("a.jsonl", b'{"id": 1, "label": "\\ud800"}\n', "line 1, column label is no text that UTF-8 can hold"),
        ("a.jsonl", b"[" * 100_000, "line 1 is not JSON"),
    ],
)
def test_a_bad_file_is_named_with_the_place(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UnreadableTable) as refused:
        read(path)
    assert str(refused.value).startswith(f"{path}: ") and message in str(refused.value)
    assert str(refused.value).isprintable()


def test_an_ignored_column_may_be_of_any_size_and_the_limit_stays_as_it_was(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    (tmp_path / "a.csv").write_text("id,label,x\n1,NA," + "x" * 200_000 + "\n2,007,\n")
    assert read(tmp_path / "a.csv") == COLUMNS
    assert csv.field_size_limit() == limit


def test_lines_are_counted_where_rows_begin(tmp_path: Path) -> None:
    for text, numbers in (
        (PLAIN, [2, 3]),
        ("sep=,\n" + PLAIN, [3, 4]),
        ('id,label,x\n1,NA,"a\nb"\n\n2,007,\n', [2, 5]),
    ):
        (tmp_path / "a.csv").write_text(text)
        table = read_table(tmp_path / "a.csv", ("id", "label"))
        assert table.columns == COLUMNS and list(table.numbers) == numbers
        assert table.place(1) == f"line {numbers[1]}"


def test_rows_may_be_short_where_that_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,label\n1\n 2 , b\n")
    assert read_table(tmp_path / "a.csv", ("id", "label"), ("split",), short=True).stripped() == [
        (2, {"id": "1", "label": "", "split": ""}),
        (3, {"id": "2", "label": "b", "split": ""}),
    ]
    with pytest.raises(UnreadableTable, match="line 2 has 1 values, the header 2"):
        read(tmp_path / "a.csv")


def test_a_missing_file_and_the_endings_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(UnreadableTable, match=r"gone\.csv: no such file"):
        read(tmp_path / "gone.csv")
    assert ".jsonl" in SUFFIXES and json.dumps(SUFFIXES)


def test_lists_of_photos_from_windows_and_from_excel(tmp_path: Path) -> None:
    for label in ("barn", "shop"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.png").touch()
    (tmp_path / "shop" / r"a\b.png").touch()
    file = tmp_path / "photos.csv"
    file.write_text("sep=;\r\npath;label;note\r\nbarn\\1.png;barn;" + "x" * 200_000 + "\r\nshop\\1.png;shop;\r\n")
    assert {label: [one.name for one in found] for label, found in find_photos(str(file)).items()} == {
        "barn": ["1.png"],
        "shop": ["1.png"],
    }
    file.write_text("path,label\nshop/a\\b.png,shop\n")
    assert find_photos(str(file))["shop"][0].path.name == r"a\b.png", "where that is the name of a file"
    file.write_text("path,label,label\nbarn/1.png,barn,shop\n")
    with pytest.raises(ValueError, match=r"data: .*photos\.csv: column label is there more than once"):
        find_photos(str(file))
