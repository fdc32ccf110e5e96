"""What is typed: lists, names with commas, options given twice, empty, or without effect."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.arguments import key_values, names_of, scenario_options
from scenarios.wording import quoted

PHOTOS = Path("photos")


class TestNames:
    def test_lists_add_up_whether_by_commas_or_by_repetition(self) -> None:
        assert names_of(["a, b", "c", "a"], "--protected") == ("a", "b", "c")

    def test_a_name_with_a_comma_stands_in_quotes_or_is_known(self) -> None:
        assert names_of(['"crane, bird",owl'], "--protected") == ("crane, bird", "owl")
        known = ["crane, bird", "owl"]
        assert names_of(["owl,crane, bird"], "--protected", known) == ("owl", "crane, bird")
        assert names_of(["crane, bird", "owl"], "--protected", known) == ("crane, bird", "owl")

    def test_words_that_are_one_name_or_several_are_refused_unless_quoted(self) -> None:
        known = ["living", "modern", "living, modern"]
        with pytest.raises(ValueError, match="'living, modern' is one name or several"):
            names_of(["living, modern"], "--protected", known)
        assert names_of(['"living, modern"'], "--protected", known) == ("living, modern",)
        assert names_of(['"living","modern"'], "--protected", known) == ("living", "modern")

    @given(st.lists(st.text(min_size=1).filter(lambda name: name == name.strip()), min_size=1, unique=True))
    def test_quoted_names_are_read_back(self, names: list[str]) -> None:
        assert names_of([",".join(map(quoted, names))], "--protected") == tuple(names)
        assert names_of([*map(quoted, names)], "--protected", names) == tuple(names)

    @pytest.mark.parametrize("text", ["", " ", ",", '""'])
    def test_a_list_without_a_name_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="--protected holds no name"):
            names_of([text], "--protected")


class TestOptions:
    def test_a_key_given_twice_is_refused(self) -> None:
        with pytest.raises(ValueError, match="--set beta given twice"):
            key_values(["beta=1", "lr=2", " beta =3"], "--set")

    @pytest.mark.parametrize("value", ["[" * 100_000, "9" * 10_000, "{", "\ud800"], ids=lambda value: value[:2])
    def test_what_is_no_json_is_text(self, value: str) -> None:
        assert key_values([f"a={value}"], "--set") == {"a": value}

    @pytest.mark.parametrize(("option", "flag"), [("seed=1", "--seed"), ("name=x", "--scenario")])
    def test_what_has_a_flag_of_its_own_is_no_option(self, option: str, flag: str) -> None:
        with pytest.raises(ValueError, match=f"is not an option, use {flag}"):
            scenario_options("driving-foggy", [option], None, None, None)

    def test_a_flag_and_the_option_of_its_name_are_one(self) -> None:
        with pytest.raises(ValueError, match="--data and --option data are the same: give one"):
            scenario_options("folder", ["data=a"], PHOTOS, "owl", None)
        assert scenario_options("folder", ["data=a"], None, "owl", None) == {"data": "a", "target": "owl"}

    def test_a_command_without_a_flag_does_not_ask_for_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("MDS_BENCH_DATA", raising=False)
        with pytest.raises(ValueError, match="folder is not for this command, which has no --data"):
            scenario_options("folder", [], None, None, None, flags=())
        with pytest.raises(ValueError, match="bdd100k-foggy: name the folder of its data set in the variable"):
            scenario_options("bdd100k-foggy", [], None, None, None, flags=())
        monkeypatch.setenv("MDS_BENCH_DATA", "frames")
        assert scenario_options("bdd100k-foggy", [], None, None, None, flags=()) == {"data": "frames"}


GATE = ("audit", "--old", "old.csv", "--new", "new.csv")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*GATE, "--alpha", "0.1", "--alpha", "0.2"), "--alpha given twice"),
        ((*GATE, "--old", "b", "--old", "c"), "--old given 3 times"),
        ((*GATE, "--target", ""), "--target is empty"),
        ((*GATE, "--protected", "a", "--protected", " "), "--protected is empty"),
        ((*GATE, "--drop", "0.01", "--margin", "0.02"), "--drop 0.01 is less than --margin 0.02"),
        (("leaderboard", "--results", ""), "--results is empty"),
        (("show", ""), "RECORD is empty"),
        (("data", "verify", "--scenario", "x", "-s", "y"), "--scenario given twice"),
        (("run", "-m", "mds", "--seeds", "99999999999999999999"), "--seeds must be 10,000 or less"),
        (("run", "-m", "mds", "--seed", "99999999999999999999"), "--seed: seeds must be"),
        (("run", "-m", "mds", "--base", "a.safetensors", "--pretrained", "openai"), "give one"),
        (("check", "--update", "--junit", "a.xml"), "give one"),
        (("calibrate", "--scenario", "folder"), "folder is not for this command"),
        (("costs", "--scenario", "folder", "--out", "a.json"), "folder is not for this command"),
        (("sheet", "--out", "."), "--out .: name a file in a folder that exists"),
        (("sheet", "--out", "none/a.png"), "--out none/a.png: name a file in a folder that exists"),
        (("sheet", "--out", "a.jpg"), "the name must end in .png or .webp"),
        (("sheet", "--out", "/dev/null"), "is a device or pipe"),
        (("pretrain", "--scenario", "toy", "--out", "."), "--out ."),
        (("costs", "--out", "."), "--out ."),
        (("calibrate", "--out", "."), "--out ."),
        (("data", "fingerprints", "--out", "."), "--out ."),
        (("check", "--junit", "."), "--junit ."),
    ],
    ids=lambda value: " ".join(value[-4:]) if isinstance(value, tuple) else "",
)
def test_what_would_be_passed_over_or_lost_is_refused_at_once(command, monkeypatch, arguments, message):
    from tests import ROOT

    if arguments[0] == "check":
        arguments = (*arguments, "--baselines", str(ROOT / "results" / "baselines"))
    Path("old.csv").write_text("id,label,prediction\n1,a,a\n")
    Path("new.csv").write_text("id,label,prediction\n1,a,a\n")
    before = sorted(Path().iterdir())
    code, out, err = command(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1) and message in err
    assert sorted(Path().iterdir()) == before


def test_seeds_and_methods_add_up(command):
    arguments = ("--scenario", "toy", "--base", "toy.safetensors", "--set", "steps=2", "--quiet")
    code, _, err = command("run", "-m", "finetune", "-m", "rm", "--seed", "0", "--seed", "3", *arguments)
    assert code == 0, err
    made = sorted(path.name.rsplit("-", 1)[0] for path in Path("runs/records/toy").glob("*.json"))
    assert made == ["finetune-seed0", "finetune-seed3", "rm-seed0", "rm-seed3"]


def test_the_home_folder_is_known_wherever_a_path_stands(command, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "old.csv").write_text("id,label,prediction\n" + "".join(f"{k},a,a\n" for k in range(100)))
    code, _, err = command("audit", "--old=~/old.csv", "--new=~/old.csv", "--html=~/a.html")
    assert code == 0 and (tmp_path / "home" / "a.html").is_file(), err
    assert "home/m.py" in command("try", "~/m.py:Mine")[2] and "home/m.py" in command("run", "--method=~/m.py:Mine")[2]
    code, _, err = command("leaderboard", "--results=~nobody-of-this-name/runs")
    assert code == 2 and "~nobody-of-this-name" in err


def test_the_version_is_printed(command):
    from importlib.metadata import version

    assert command("--version") == (0, version("mds-bench") + "\n", "")
