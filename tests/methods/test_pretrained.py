"""What weights were trained with: named by tags, kept in files, asked for; and why some cannot be had."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import methods.checkpoints as checkpoints
from methods.checkpoints import METADATA, checkpoint_bytes, create_classifier, load_checkpoint
from methods.clip import ClipClassifier
from methods.pretrained import OPENAI, SCRATCH, Normalisation, default_normalisation, training_like, training_of
from methods.tokenizer import ByteTokenizer
from methods.unavailable import check_usable, why_not
from tests import ROOT

PROMPTS = ("a cat", "a dog")
TINY = json.loads((Path(checkpoints.__file__).parent / "model_configs" / "mds-tiny.json").read_text())
HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture
def towers(tmp_path, monkeypatch):
    """Small stand-ins: ``mds-test`` with tags of either activation and another normalisation, and their weights."""
    for name, extra in (("mds-test", {}), ("mds-test-quickgelu", {"quick_gelu": True}), ("mds-test-half", {})):
        (tmp_path / f"{name}.json").write_text(json.dumps(TINY | extra))
    open_clip.add_model_config(tmp_path)
    registry = open_clip.pretrained._PRETRAINED
    quick = open_clip.pretrained._pcfg("nowhere", quick_gelu=True)
    half = open_clip.pretrained._slpcfg("nowhere")
    monkeypatch.setitem(registry, "mds-test", {"quick": quick, "plain": open_clip.pretrained._pcfg("x"), "half": half})
    monkeypatch.setitem(registry, "mds-test-quickgelu", {"quick": quick})
    monkeypatch.setitem(registry, "mds-test-half", {"half": half})
    torch.manual_seed(0)
    path = tmp_path / "weights.safetensors"
    save_file(open_clip.create_model("mds-test").state_dict(), path)
    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda *args, **named: str(path))
    return path


def images() -> torch.Tensor:
    return torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def activation(model: ClipClassifier) -> str:
    return type(model.clip.visual.transformer.resblocks[0].mlp.gelu).__name__


@pytest.mark.parametrize("model", open_clip.list_models())
def test_every_tag_gets_the_activation_of_its_config(model):
    for tag in open_clip.list_pretrained_tags_by_model(model):
        if "hf_model_name" in open_clip.get_model_config(model)["text_cfg"]:
            continue  # refused in any case
        found, config = training_of(model, tag), open_clip.get_pretrained_cfg(model, tag)
        built = open_clip.get_model_config(found.architecture)
        assert bool(built.get("quick_gelu")) == bool(config.get("quick_gelu")), (model, tag)
        assert found.normalisation == (tuple(config["mean"]), tuple(config["std"]))


@pytest.mark.parametrize(("tag", "name"), [("quick", "QuickGELU"), ("plain", "GELU"), ("half", "GELU")])
def test_a_tag_a_file_of_ours_and_its_weights_with_like_are_one_function(towers, tmp_path, tag, name):
    model = create_classifier(PROMPTS, "mds-test", tag).eval()
    assert activation(model) == name and model.architecture == ("mds-test-quickgelu" if tag == "quick" else "mds-test")
    assert model.normalisation.mean == pytest.approx(HALF.mean if tag == "half" else OPENAI.mean)
    path = tmp_path / "own.safetensors"
    path.write_bytes(checkpoint_bytes(model, model.architecture))
    own, raw = load_checkpoint(path, PROMPTS).eval(), load_checkpoint(towers, PROMPTS, "mds-test", tag).eval()
    for other in (own, raw):
        assert activation(other) == name and torch.equal(other(images()), model(images()))
        assert checkpoint_bytes(other, other.architecture) == path.read_bytes()


def test_files_name_a_normalisation_only_where_it_is_not_taken_for_granted(towers, tmp_path):
    def keys(model: ClipClassifier) -> set[str]:
        path = tmp_path / "own.safetensors"
        path.write_bytes(checkpoint_bytes(model, model.architecture))
        with safe_open(path, "pt") as file:
            return set(json.loads(file.metadata()[METADATA]))

    assert (
        keys(create_classifier(PROMPTS))
        == keys(create_classifier(PROMPTS, "mds-test", "quick"))
        == {"model", "prompts"}
    )
    assert keys(create_classifier(PROMPTS, "mds-test", "half")) == {"model", "prompts", "mean", "std"}
    assert keys(create_classifier(PROMPTS, "mds-test-half")) == {"model", "prompts", "mean", "std"}  # trained here


def test_a_file_that_does_not_tell_is_asked_about(towers):
    with pytest.raises(
        ValueError, match=r"add --like half \(GELU, mean 0.5.*--like quick \(QuickGELU.*--like scratch"
    ) as told:
        load_checkpoint(towers, PROMPTS, "mds-test")
    assert str(towers) in str(told.value)
    assert load_checkpoint(towers, PROMPTS, "mds-test", SCRATCH).normalisation.mean == pytest.approx(OPENAI.mean)
    assert load_checkpoint(towers, PROMPTS, "mds-test-half").normalisation.mean == HALF.mean  # all tags agree
    assert activation(load_checkpoint(towers, PROMPTS, "mds-test-quickgelu")) == "QuickGELU"
    with pytest.raises(ValueError, match="unknown --like 'nope' for mds-test: known are quick, plain, half"):
        load_checkpoint(towers, PROMPTS, "mds-test", "nope")


@pytest.mark.parametrize("like", ["quick", "half"])
def test_what_contradicts_the_file_is_refused(towers, tmp_path, like):
    path = tmp_path / "own.safetensors"
    path.write_bytes(checkpoint_bytes(create_classifier(PROMPTS, "mds-test", "plain"), "mds-test"))
    with pytest.raises(ValueError, match=f"unlike {like}: drop --like"):
        load_checkpoint(path, PROMPTS, like=like)
    load_checkpoint(path, PROMPTS, like="plain")


def test_openais_weights_in_a_file_are_not_taken_for_others():
    for name in ("ViT-B-16", "ViT-B-32", "ViT-L-14", "RN50"):
        with pytest.raises(ValueError, match=rf"--like openai \(QuickGELU.*--like {SCRATCH}|--like .*QuickGELU"):
            training_like(name, None)
    assert training_like("ViT-B-16-quickgelu", None).architecture == "ViT-B-16-quickgelu"
    assert default_normalisation("ViT-B-16-SigLIP") == HALF and default_normalisation("mds-tiny") == OPENAI


@pytest.mark.parametrize(
    "prefixes", [("module.",), ("_orig_mod.",), ("_orig_mod.", "module."), ("module.", "_orig_mod.")]
)
def test_prefixes_of_training_in_parallel_are_dropped(tmp_path, prefixes):
    torch.manual_seed(0)
    model = create_classifier(PROMPTS).eval()
    path = tmp_path / "parallel.safetensors"
    save_file({"".join(prefixes) + key: value for key, value in model.clip.state_dict().items()}, path)
    assert torch.equal(load_checkpoint(path, PROMPTS).eval()(images()), model(images()))


def test_a_file_of_torch_save_is_explained_and_the_command_converts_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = create_classifier(PROMPTS).eval()
    torch.save({"state_dict": model.clip.state_dict(), "epoch": 3}, "mine.pt")
    with pytest.raises(ValueError, match=r"not a safetensors file.*convert it once") as told:
        load_checkpoint(Path("mine.pt"), PROMPTS)
    command = str(told.value).split('python -c "')[1].rstrip('"')
    subprocess.run([sys.executable, "-c", command], check=True)
    assert torch.equal(load_checkpoint(Path("mine.safetensors"), PROMPTS).eval()(images()), model(images()))


@pytest.mark.parametrize("extra", [{"proj_bias": True, "no_causal_mask": True, "pool_type": "last"}, {}])
def test_a_linear_projection_and_its_heads(extra, tmp_path):
    (tmp_path / "mds-test-linear.json").write_text(
        json.dumps(TINY | {"custom_text": True, "text_cfg": TINY["text_cfg"] | extra})
    )
    open_clip.add_model_config(tmp_path)
    torch.manual_seed(0)
    model = create_classifier(PROMPTS, "mds-test-linear").eval()
    full = model.clip.encode_text(ByteTokenizer(77)(PROMPTS), normalize=True)
    torch.testing.assert_close(model.encode_classes(), full, atol=1e-5, rtol=1e-4)
    model.add_heads(2, torch.Generator().manual_seed(1))
    model.add_offsets()
    torch.testing.assert_close(model.encode_classes(), full, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("model", "message"),
    [("ViT-B-16-SigLIP", "pip install transformers$"), ("roberta-ViT-B-32", "roberta-base.*choose another --model")],
)
def test_a_package_that_is_missing_is_named_before_anything_is_fetched(monkeypatch, model, message):
    monkeypatch.setattr("methods.unavailable.find_spec", lambda name: None)
    monkeypatch.setattr(open_clip, "create_model", lambda *args, **named: pytest.fail("built"))
    with pytest.raises(ValueError, match=message):
        create_classifier(PROMPTS, model)
    check_usable("ViT-B-16", open_clip.get_model_config("ViT-B-16"))


def raised(after: Exception) -> Exception:
    """An error raised in an ``except`` clause, as open_clip does."""
    error = RuntimeError("Failed to get it")
    try:
        try:
            raise after
        except Exception:
            raise error  # noqa: B904
    except Exception as caught:
        return caught


@pytest.mark.parametrize(
    ("cause", "message"),
    [
        (ModuleNotFoundError("No module named 'timm.x'", name="timm.x"), "needs the package timm: pip install timm"),
        (RuntimeError("Please `pip install timm` first"), "pip install timm$"),
        (PermissionError(errno.EACCES, "Permission denied"), "set HF_HOME to a folder that can be written"),
        (OSError(errno.ENOSPC, "No space left"), "has room"),
        (ConnectionError("refused"), "run once with a connection"),
        (TimeoutError("slow"), "run once with a connection"),
        (RuntimeError("Error(s) in loading state_dict for CLIP"), r"state_dict.*: give a local file"),
    ],
)
def test_the_network_is_blamed_only_if_it_was_the_network(cause, message):
    told = str(why_not("the weights X/y", cause if "state" in str(cause) else raised(cause)))
    assert ("connection" in message) == ("run once with a connection" in told)
    with pytest.raises(ValueError, match=message):
        raise ValueError(told)


@pytest.mark.parametrize("settings", [None, "{", '{"dataset_location": "/mine"}'])
def test_avalanche_writes_nothing_at_home(tmp_path, settings):
    folder = tmp_path / ".avalanche"
    if settings is not None:
        folder.mkdir()
        (folder / "config.json").write_text(settings)
    code = (
        "import methods.strategy; from avalanche.benchmarks.datasets.dataset_utils import *\n"
        "print(default_dataset_location('mnist'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    place = "/mine/mnist" if settings and "mine" in settings else str(folder / "data" / "mnist")
    assert Path(done.stdout.strip()) == Path(place)
    assert folder.exists() == (settings is not None)
