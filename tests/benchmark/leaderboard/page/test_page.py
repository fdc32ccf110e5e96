"""The page as a file: the same bytes again, well formed, and nothing in it that a record could run."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from benchmark import arguments
from benchmark.leaderboard import page as pages
from benchmark.leaderboard.aggregation import frames
from benchmark.leaderboard.page import details, reproduce
from benchmark.records import files
from tests import ROOT
from tests.benchmark.example_records import record
from tests.benchmark.leaderboard.page.conftest import ATTACKS, two_streams, written

VOID = {"meta", "input", "img", "path", "circle", "br", "link"}
COMMITTED = ROOT / "results"


class Reader(HTMLParser):
    """Elements of a page, refusing tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"{tag} has an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, text):
        self.texts.setdefault(self.open[-1] if self.open else "", []).append(text)


def test_the_same_records_give_the_same_bytes(tmp_path, page):
    assert written(list(reversed(two_streams())), tmp_path / "again").read_bytes() == page.read_bytes()
    assert written(two_streams()[:-1], tmp_path / "fewer").read_bytes() != page.read_bytes()


@pytest.mark.parametrize("which", ["page", "hostile_page"])
def test_it_is_well_formed_and_stands_alone(which, request):
    read = Reader(request.getfixturevalue(which).read_text())
    identifiers = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(set(identifiers)) == len(identifiers)
    for tag, attributes in read.elements:
        assert not any(name.startswith("on") or name == "style" for name in attributes), (tag, attributes)
        for name in ("src", "href", "action", "srcset", "data"):
            assert re.match(r"(#|data:image/)", attributes.get(name) or "#"), (tag, attributes)
        assert tag != "img" or attributes["alt"]
    assert [tag for tag, _ in read.elements].count("script") == 2


def test_only_the_scripts_and_styles_of_the_package_may_run(hostile_page):
    read = Reader(hostile_page.read_text())
    (policy,) = (a["content"] for _, a in read.elements if a.get("http-equiv") == "Content-Security-Policy")
    data, script = ("".join(text) for text in (read.texts["script"][:1], read.texts["script"][1:]))
    json.loads(data)
    for part, text in (("script-src", script), ("style-src", "".join(read.texts["style"]))):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{part} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy


def test_what_records_say_is_in_the_data_as_it_was(hostile_page):
    data = json.loads(Reader(hostile_page.read_text()).texts["script"][0])
    assert set(data["methods"]) == set(ATTACKS)
    assert {name for run in data["runs"].values() for name in run["settings"]} >= set(ATTACKS)


def test_too_many_runs_leave_the_first_seeds_of_every_method(monkeypatch, tmp_path):
    many = [record(method, seed, (1, 1, 1)) for method in ("mds", "naive") for seed in range(5)]
    monkeypatch.setattr(details, "MOST_LINES", 6 * (details.OTHER_LINES + 3))  # three classes a run
    assert sorted((r.method.name, r.seed) for r in details.detailed(many)) == [
        (method, seed) for method in ("mds", "naive") for seed in range(3)
    ]
    path = pages.write(many, tmp_path)
    assert "6 of 10 runs have a page here" in path.read_text()
    monkeypatch.undo()
    assert "have a page here" not in pages.write(many, tmp_path).read_text()


def test_no_records_give_a_page_too(tmp_path):
    path = pages.write([], tmp_path)
    Reader(path.read_text())


def typed(words: list[str], flag: str) -> list[str]:
    return [value for name, value in pairwise(words) if name == flag]


@pytest.mark.parametrize("text", [*ATTACKS, "", "5", "null", "a 'quoted' \"name\""])
def test_the_command_gives_back_settings_and_options(text):
    settings = {"note": text, "lr": 3e-05, "on": True, "none": None, "list": [1, 2.5, text]}
    one = record(f"mds{text}", 7, (1, 1, 1), as_method={"settings": settings}, scenario={"options": settings})
    words = shlex.split(reproduce.command(one))
    assert arguments.key_values(typed(words, "--set"), "--set") == one.method.settings
    assert arguments.key_values(typed(words, "--option"), "--option") == one.scenario.options
    assert typed(words, "--method") == [one.method.name] and typed(words, "--seed") == [str(one.seed)]


@pytest.mark.slow
def test_the_command_makes_the_run_again(command):
    code, _, err = command(
        *("run", "--method", "finetune", "--scenario", "toy", "--base", "toy.safetensors", "--seed", "3"),
        *("--set", "steps=4", "--set", "lr=0.0002"),
    )
    assert code == 0, err
    (one,) = files.read_all(Path("runs"))
    again = reproduce.command(one).replace("FILE.safetensors", "toy.safetensors")
    code, _, err = command(*shlex.split(again)[3:], "--results", "again")
    assert code == 0, err
    (made,) = files.read_all(Path("again"))
    assert made.run_id == one.run_id and made.rounds[0].test == one.rounds[0].test


def test_flags_of_a_folder_of_photos_are_given_back():
    options = {"target": "store", "protected": ["kitchen", "living room"], "image_size": 64, "augment": True}
    one = record("mds", 0, (1, 1, 1), scenario={"name": "folder", "options": options}, base={"name": "ViT-B-16/openai"})
    words = shlex.split(reproduce.command(one))
    assert typed(words, "--target") == ["store"] and typed(words, "--protected") == ["kitchen,living room"]
    assert typed(words, "--data") == ["DATA"] and typed(words, "--option") == ["image_size=64", "augment=true"]
    assert typed(words, "--model") == ["ViT-B-16"] and typed(words, "--pretrained") == ["openai"]


@pytest.mark.parametrize("names", [["crane, bird", "heron", " x ", '"q"'], None, 5])
def test_a_command_names_the_protected_classes_as_run_reads_them(names):
    one = record("mds", 0, (10, 0, 0), scenario={"name": "folder", "options": {"target": "store", "protected": names}})
    given = typed(shlex.split(reproduce.command(one)), "--protected")
    assert [arguments.names_of(given, "--protected")] == [tuple(names)] if isinstance(names, list) else given == []


@pytest.mark.slow
def test_the_committed_page_is_made_of_the_records_and_plots():
    found = files.read_all(COMMITTED)
    made = pages.page(found, COMMITTED, frames(found)).encode()
    assert made == (COMMITTED / "index.html").read_bytes(), "run: python -m benchmark leaderboard"
    assert len(made) < 5_000_000
