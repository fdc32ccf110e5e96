"""The leaderboard as text: what it shows, and that nothing in it is rendered as markup."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from benchmark.leaderboard import one_run
from benchmark.leaderboard.aggregation import frames, table
from benchmark.leaderboard.columns import keys
from benchmark.leaderboard.text import print_table, to_markdown, write
from benchmark.output import tables
from benchmark.records.schema import Record
from tests.benchmark.example_records import (
    COMMITTED,
    EXAMPLE,
    UNLIKE,
    diverged,
    record,
    round_of,
    save,
    shown,
)


def test_numbers_as_they_are_shown() -> None:
    lines = to_markdown(*frames(EXAMPLE)).splitlines()
    start = lines.index("## driving")
    assert lines[start + 2 : start + 8] == [
        "| Rank | Method | Runs | Preserved gain | Within 1 point | Within 2 points | Tolerant gain | Target gain "
        "| DevSafety | Strictly preserved | By luck | No significant regression | Front | Seconds |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| 1 | mds ¹ | 3 | +5.3 [0.0, +10.0] | +8.0 | +8.0 | +7.1 | +8.0 ± 2.0 | 0.0, −1.0 "
        "| 66.7 % [9.4, 99.2] | 41.7 % | 100.0 % | ● | 3.0 |",
        "| 1 | naive ² | 2 | 0.0 | 0.0 | 0.0 | 0.0 | +25.0 ± 7.1 | −15.0, −20.0 "
        "| 0.0 % [0.0, 84.2] | 43.6 % | 0.0 % | ● | 2.5 |",
        "| – | joint (reference) ³ | 1 | +40.0 | +40.0 | +40.0 | +40.0 | +40.0 | +10.0, +10.0 "
        "| 100.0 % [2.5, 100.0] | 38.8 % | 100.0 % |  | 2.0 |",
        "| – | frozen (reference) ³ | 1 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0 | 0.0, 0.0 "
        "| 100.0 % [2.5, 100.0] | 100.0 % | 100.0 % |  | 2.0 |",
    ]
    assert lines[start + 9 : start + 12] == [
        "* ¹ only 3 seeds; seeds 0–2, not 0 as most",
        "* ² only 2 seeds; seeds 0–1, not 0 as most",
        "* ³ only 1 seed",
    ]
    assert "`python -m benchmark leaderboard`" in lines[2]


MANY = ["foggy", *(f"kept {number}" for number in range(20))]


def of_many_classes(seed: int, better: int) -> Record:
    """A run that gains 30 points, wins an image in ``better`` of 20 protected classes and loses one in the others."""
    counts = {name: (100, 50, 5, 6 if place < better else 4) for place, name in enumerate(MANY[1:])}
    result = round_of({"foggy": (100, 20, 0, 30)} | counts)
    return record("mds", seed, scenario={"name": "many", "classes": MANY}, rounds=[result])


def test_where_strictness_is_out_of_reach_a_stream_has_two_more_columns_and_the_text_says_why() -> None:
    many = [of_many_classes(seed, better=15) for seed in (0, 1)]
    text = to_markdown(*frames([*EXAMPLE, *many]))
    sections = {part.split("\n")[0]: part for part in text.split("\n## ")[1:]}
    head, _, row, *_ = sections["many"].splitlines()[2:]
    cells = dict(zip(head.split(" | "), row.split(" | "), strict=True))
    assert cells["By luck"] == "0.0 %" and cells["Strictly preserved"].startswith("0.0 %")
    assert (cells["Classes preserved"], cells["Gain without regression"]) == ("75.0 %", "+30.0")
    assert "Classes preserved" not in sections["driving"] and "Gain without regression" not in sections["driving"]
    assert "strictness is out of reach by counting alone" in text.split("\n## ")[0].replace("\n", " ")
    printed = shown(partial(print_table, wide=True), table([*EXAMPLE, *many]))
    assert printed.count("Classes preserved") == 1


def test_the_printed_table_fits_100_columns_with_what_matters_first() -> None:
    wide = [record("finetune+task-arithmetic", seed, (35 + seed, -12, 0), (31, 0, 0)) for seed in range(5)]
    for frame in (table(EXAMPLE), table(wide)):
        text = shown(print_table, frame)
        assert max(map(len, text.splitlines())) <= 100
        assert all(word in text for word in ("Rank", "Method", "Preserved", "Tolerant", "Strictly", "Target gain"))
        assert "not shown on 100 columns:" in text
        assert max(map(len, shown(partial(print_table, wide=True), frame).splitlines())) > 100


def test_the_printed_table_shows_what_the_file_shows() -> None:
    runs = [*EXAMPLE, record("mds", 0, (1, 0, 0), scenario={"name": "places"})]
    text = shown(partial(print_table, wide=True), table(runs))
    markdown = to_markdown(*frames(runs)).split("## driving")[1]
    rows = [line for line in markdown.splitlines() if line.startswith("| ") and "---" not in line]
    for cell in {cell.strip() for line in rows for cell in line.strip("|").split("|")}:
        assert cell in text
    assert text.index("driving") < text.index("places")
    assert "³ only 1 seed\n" in text


@pytest.mark.parametrize("fraction", [-0.0, 0.0, 0])
def test_no_change_has_no_sign(fraction: float) -> None:
    assert tables.points(fraction) == "0.0"


def test_a_small_loss_is_no_zero() -> None:
    assert tables.points(-0.0001) == "−0.0"
    assert tables.points(math.nan) == "–"


def test_neither_the_order_of_records_nor_of_files_matters(tmp_path: Path) -> None:
    runs = [*EXAMPLE, diverged("naive", 2), *(record("mds", 0, (33, 0, 0), **changes) for changes, _ in UNLIKE)]
    # sums of floats that depend on the order, were they not exact
    runs += [record("sums", seed, (seed % 7, 0, seed % 3)) for seed in range(20)]
    expected = table(runs)
    pd.testing.assert_frame_equal(table(runs[::-1]), expected, check_exact=True)
    first = [path.read_bytes() for path in write(save(runs, tmp_path / "a"))]
    second = [path.read_bytes() for path in write(save(runs[::-1], tmp_path / "b"))]
    again = [path.read_bytes() for path in write(tmp_path / "b")]
    assert first == second == again


def test_the_files_hold_the_table(tmp_path: Path) -> None:
    markdown, csv = write(save(EXAMPLE, tmp_path))
    assert (markdown, csv) == (tmp_path / "leaderboard.md", tmp_path / "leaderboard.csv")
    assert markdown.read_text() == to_markdown(*frames(EXAMPLE))
    numbers = ("rank", "target_gain_sd", *(key for key in keys() if key.endswith(("_low", "_high"))))
    read = pd.read_csv(csv, keep_default_na=False, na_values=dict.fromkeys(numbers, ""), float_precision="round_trip")
    pd.testing.assert_frame_equal(read, table(EXAMPLE), check_exact=True, check_dtype=False)


def test_no_records(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="make records with"):
        write(tmp_path)
    assert list(table([]).columns) == keys()
    assert "There are no records yet." in to_markdown(*frames([]))


HOSTILE = "a|b\n# x <img src=x> [red]y[/red] `z` *w* _v_ __u__ \x1b[2J\u2028\\"


def test_hostile_names_stay_text() -> None:
    runs = [record(HOSTILE, 0, (1, 0, 0), scenario={"name": HOSTILE}, as_method={"settings": {HOSTILE: HOSTILE}})]
    runs += [record(HOSTILE, seed, (1, 0, 0), scenario={"name": HOSTILE}) for seed in (1, 2)]
    text = to_markdown(*frames(runs))
    safe = r"a\|b # x \<img src=x\> \[red\]y\[/red\] \`z\` \*w\* \_v\_ \_\_u\_\_ \[2J \\"
    body = text[text.index("## ") :].rstrip().split("\n")
    assert body[0] == f"## {safe}"
    assert len(body) == 9, "a heading, a blank line, two lines of table head, two rows, a blank line and two notes"
    assert body[4].startswith(f"| 1 | {safe} ¹ | 2 |")
    assert body[5].startswith(rf"| – | {safe} (other settings: ")
    printed, record_ = shown(print_table, table(runs[1:])), shown(one_run.print_record, runs[0])
    assert printed.count("[red]y[/red]") == 2, "as scenario and as method"
    assert record_.count("[red]y[/red]") == 4, "as scenario, method, setting and its value"
    assert "\x1b" not in printed + record_


def test_underscores_inside_names_stay_readable() -> None:
    assert "| – | weights_manipulation ¹ |" in to_markdown(*frames([record("weights_manipulation", 0, (1, 0, 0))]))


def test_the_files_depend_on_neither_locale_nor_hash_seed_nor_place(tmp_path: Path) -> None:
    save([*EXAMPLE, *(record("mds", 0, (33, 0, 0), **changes) for changes, _ in UNLIKE)], tmp_path)
    code = (
        "import sys; from pathlib import Path; from benchmark.leaderboard.text import write; write(Path(sys.argv[1]))"
    )
    made = []
    for number, locale in enumerate(("C", "C.UTF-8")):
        results = shutil.copytree(tmp_path / "records", tmp_path / str(number) / "records").parent
        env = {"PYTHONHASHSEED": str(number), "LC_ALL": locale, "PYTHONPATH": str(COMMITTED.parent)}
        subprocess.run([sys.executable, "-c", code, str(results)], env=env, cwd=tmp_path, check=True)
        made.append([(results / name).read_bytes() for name in ("leaderboard.md", "leaderboard.csv")])
    assert made[0] == made[1]


def test_importing_tables_is_cheap() -> None:
    heavy = {"torch", "avalanche", "pandas", "scipy", "rich"}
    code = f"import sys, benchmark.leaderboard.text; print(sorted({heavy} & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
