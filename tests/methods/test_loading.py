"""Where methods come from: the registry, other packages, files, and plugins after a plus."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import methods
from methods import METHODS, Method, is_method, load
from methods.finetune import Finetune
from methods.strategy import Settings
from methods.weight_space import WeightSpace

OWN = '''
from typing import ClassVar
from pydantic import Field
import torch.nn.functional as F
from methods.strategy import RoundStrategy, Settings

class Mine(RoundStrategy):
    """Cross-entropy on everything."""

    def round_loss(self, logits, labels):
        return F.cross_entropy(logits, labels)

NotAMethod = 3
'''


@pytest.fixture
def own(tmp_path) -> Path:
    path = tmp_path / "own+file.py"
    path.write_text(OWN)
    return path


@pytest.mark.parametrize("name", METHODS)
def test_the_registry_knows_what_it_must(name):
    method = METHODS[name]
    assert method.family and method.description
    assert method.access <= set(methods.ACCESS)
    assert method.source or method.family == "reference"


@pytest.mark.parametrize("name", [name for name in METHODS if name not in methods.plugins()])
def test_what_the_registry_says_of_protected_data_is_what_batches_hold(name):
    strategy = load(name)
    assert not strategy.uses_protected or "protected data" in METHODS[name].access
    assert strategy.__doc__ and strategy.SETTINGS().model_dump()


@pytest.mark.parametrize("plugin", methods.plugins())
def test_a_plugin_goes_with_a_method_that_trains(plugin):
    strategy = load(f"finetune+{plugin}")
    assert issubclass(strategy, Finetune) and issubclass(strategy.WEIGHT_SPACE, WeightSpace)
    fields = strategy.SETTINGS.model_fields
    assert {"lr", "t"} <= fields.keys() and strategy.WEIGHT_SPACE.SETTINGS.model_fields.keys() <= fields.keys()
    assert set(strategy.SETTINGS.GRID) >= set(Settings.GRID)
    assert strategy.__doc__ == strategy.WEIGHT_SPACE.__doc__


def test_a_name_with_a_plus_of_its_own_is_no_combination():
    assert is_method("der++") and is_method("der+++ties")
    assert load("der+++ties").WEIGHT_SPACE is load("finetune+ties").WEIGHT_SPACE


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ties", "finetune\\+ties"),
        ("finetune+mds", "must stand a weight-space plugin"),
        ("frozen+ties", "trains nothing"),
        ("paint+soup", "merges by itself"),
        ("mds-strict+ties", "merges by itself"),
        ("selective+dare", "tests on held-out images what it trained"),
        ("finetune+ties+dare", "unknown"),
    ],
)
def test_what_cannot_be_combined_is_refused(name, message):
    if message == "unknown":
        assert not is_method(name)
    else:
        with pytest.raises(ValueError, match=message):
            load(name)


def test_a_class_in_a_file_is_a_method_marked_by_its_content(own):
    name = f"{own}:Mine"
    assert is_method(name) and is_method(f"{name}+ties")
    first = load(name)
    assert first.__name__ == "Mine" and len(first.CODE) == 16
    assert load(name).CODE == first.CODE and load(f"{name}+ties").CODE == first.CODE
    own.write_text(OWN + "\n# changed\n")
    assert load(name).CODE != first.CODE


@pytest.mark.parametrize(
    ("content", "class_name", "message"),
    [
        (OWN, "Yours", "has no class 'Yours'"),
        (OWN, "NotAMethod", "not a subclass"),
        ("import nowhere_to_be_found", "Mine", "cannot be imported: ModuleNotFoundError"),
        ("def broken(:", "Mine", "cannot be imported: SyntaxError"),
    ],
)
def test_a_file_that_does_not_serve_gives_the_reason(own, content, class_name, message):
    own.write_text(content)
    with pytest.raises(ValueError, match=message):
        load(f"{own}:{class_name}")


def test_a_missing_file_gives_the_reason(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        load(f"{tmp_path}/nothing.py:Mine")


def test_another_package_adds_a_method_by_an_entry_point(monkeypatch):
    entry = EntryPoint("theirs", "methods.finetune:Finetune", methods.GROUP)
    monkeypatch.setattr(methods, "entry_points", lambda group: [entry] if group == methods.GROUP else [])
    found = methods._others()
    assert found == {"theirs": Method(entry.value, "other packages", "from another package", package="another package")}
    monkeypatch.setitem(METHODS, "theirs", found["theirs"])
    assert is_method("theirs") and is_method("theirs+ties")


def test_what_a_method_may_use_is_what_the_registry_says(own):
    assert methods.access("finetune") == frozenset()
    assert methods.access("finetune+ptm") == {"old model", "pretrained model"}
    assert methods.access("mds+fisher-merge") >= {"protected data", "old model"}
    assert methods.access(f"{own}:Mine") == set(methods.ACCESS) == methods.access("of a test")


def test_a_run_withholds_what_the_registry_does_not_grant(toy_stream, toy_base):
    from benchmark.records.schema import BaseInfo
    from benchmark.running import rounds
    from benchmark.running.runner import Run

    seen = {}

    class Looks(Finetune):
        def prepare_round(self):
            seen[run.method] = (self.protected is not None, self.pretrained is not None)

    info, settings = BaseInfo(name="toy", sha256="0" * 64, model="mds-tiny"), Finetune.SETTINGS(steps=0)
    for name in ("finetune", "mds", "finetune+ptm", "mine"):
        run = Run(toy_stream, toy_base, info, name, Looks, settings)
        list(rounds.develop([run]))
    nothing, everything = (False, False), (True, True)
    assert seen == {"finetune": nothing, "mds": (True, False), "finetune+ptm": (False, True), "mine": everything}
