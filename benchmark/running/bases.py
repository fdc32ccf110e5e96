"""Where the model before the stream comes from: shipped, given, pretrained elsewhere, or trained here and cached."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from benchmark.output.files import check_writable, replace_file
from benchmark.output.progress import Reporter
from benchmark.output.tables import canonical
from benchmark.records.schema import BaseInfo
from benchmark.running.memory import kept_memory
from benchmark.running.pretrain import PHOTOS, Recipe, pretrain
from benchmark.running.request import BaseChoice, validated
from benchmark.running.streams import build
from methods.checkpoints import TINY, checkpoint_bytes, create_classifier, image_size, load_checkpoint
from methods.clip import ClipClassifier
from methods.distributed import agreed
from methods.lite0 import LITE0, installed
from scenarios import SCENARIOS
from scenarios.cache import cache_folder
from scenarios.pixels import Progress, reporting
from scenarios.stream import DevelopmentStream

TRAINED = (TINY, LITE0)  # architectures whose bases are trained here, on a stream's own images


class Bases:
    """The models before the stream that a command starts from: each is loaded and hashed once."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], tuple[ClipClassifier, BaseInfo]] = {}

    def load(
        self, stream: DevelopmentStream, choice: BaseChoice, device: str, progress: Progress
    ) -> tuple[ClipClassifier, BaseInfo]:
        """The base model of a stream, not to be changed, and its description for the record.

        Args:
            stream: for its prompts, and for the images of its base where it is to be trained.
            choice: the base that was asked for.
            device: where to train a base that is to be had in no other way.
            progress: called with the task under way, done and total.

        Raises:
            ValueError: the choice does not fit the stream or cannot be had.
        """
        key = (choice, stream.name, stream.prompts, stream.base or (stream.fingerprint, canonical(stream.options)))
        if key not in self._known:
            model, name = _find(stream, choice, device, progress)
            sha = hashlib.sha256(checkpoint_bytes(model, model.architecture)).hexdigest()
            self._known[key] = model, BaseInfo(name=name, sha256=sha, model=model.architecture)
        model, info = self._known[key]
        _check_size(f"the base {info.name}", model.image_size, stream)
        return model, info


def _check_size(what: str, size: int, stream: DevelopmentStream) -> None:
    """Refuse images of another side than a model's, in px."""
    side = stream.data[0].test.images.shape[-1]
    if size != side:
        raise ValueError(f"{what} takes {size} px images, the stream has {side} px: add --option image_size={size}")


def _find(stream: DevelopmentStream, choice: BaseChoice, device: str, progress: Progress) -> tuple[ClipClassifier, str]:
    if choice.file is not None:
        return load_checkpoint(choice.file, stream.prompts, choice.model, choice.like), choice.file.name
    if choice.model not in (None, *TRAINED) or choice.pretrained is not None:
        if choice.pretrained is None:
            raise ValueError(f"--model {choice.model} needs weights: add --pretrained TAG or --base FILE.safetensors")
        if choice.model is None:
            raise ValueError(f"--pretrained {choice.pretrained} needs an architecture: add --model NAME")
        classifier = create_classifier(stream.prompts, choice.model, choice.pretrained)
        return classifier, f"{classifier.architecture}/{choice.pretrained}"
    shipped = shipped_base(stream.base) if stream.base is not None and choice.model != LITE0 else None
    if shipped is not None:
        return load_checkpoint(shipped, stream.prompts), shipped.name
    if stream.pretraining is None:
        own = ", or photos to train one on in a folder or split base" if stream.name == "folder" else ""
        raise ValueError(f"scenario {stream.name} has no base of its own: give one with --base FILE.safetensors{own}")
    path = trained_base(stream, Recipe(**recipe_of(stream, choice.model or TINY)), device, progress)
    return load_checkpoint(path, stream.prompts), path.name


def shipped_base(name: str) -> Path | None:
    """Path of a base in the package, or None."""
    path = Path(str(files("scenarios") / "bases" / name))
    return path if path.is_file() else None


def usual_model(scenario: str) -> str:
    """What a scenario's base is trained on where nothing is asked for: photos start from ImageNet, if that is there."""
    return LITE0 if scenario in SCENARIOS and SCENARIOS[scenario].photos and installed() else TINY


def recipe_of(stream: DevelopmentStream, model: str) -> dict[str, Any]:
    """How the stream wants its base trained: the model's or its own recipe, and views as its methods see them."""
    views = {"model": model, "augment": stream.augment, "mirror": stream.mirror}
    return views | (PHOTOS if model == LITE0 else stream.recipe)


def trained_base(stream: DevelopmentStream, recipe: Recipe, device: str, progress: Progress) -> Path:
    """Train a base on the stream's pretraining images, or find it in the cache of earlier trainings.

    The cache is keyed by content: images, prompts and recipe.
    """
    assert stream.pretraining is not None
    _check_size(f"the model {recipe.model}", image_size(recipe.model), stream)
    with reporting(progress):
        data = stream.pretraining()
    key = hashlib.sha256(f"{data.digest()} {stream.prompts} {recipe.model_dump_json()}".encode()).hexdigest()[:16]
    path = cache_folder() / "bases" / f"{stream.name}-{key}.safetensors"
    if not agreed(path.is_file()):
        try:
            check_writable(path.parent)  # before the training, which would be lost
        except ValueError as error:
            raise ValueError(f"{error} with MDS_BENCH_CACHE, to keep the base that is trained first") from None
        with kept_memory():
            model = pretrain(data, stream.prompts, recipe, device, lambda done, total: progress("base", done, total))
        replace_file(path, checkpoint_bytes(model.cpu(), recipe.model))
    return path


def pick_device(name: str) -> str:
    """The torch device for ``--device auto|cpu|cuda``.

    Raises:
        ValueError: cuda was asked for and there is none, or the name is unknown.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"--device must be auto, cpu or cuda, not {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: no CUDA device is available; use --device cpu")
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"


def pretrain_base(
    scenario: str, options: dict[str, Any], recipe: dict[str, Any], out: Path | None, device: str, quiet: bool
) -> None:
    """Train a scenario's base; into ``out``, or into the cache that ``run`` looks into.

    Raises:
        ValueError: a name, an option or the recipe is not usable, or the stream has no images for it.
    """
    if out is not None:
        check_writable(out.parent)
    validated(Recipe, recipe, "the recipe")
    model = recipe.get("model", usual_model(scenario))
    with Reporter(quiet) as reporter:
        stream = build(scenario, 0, {"image_size": image_size(model)} | options, reporter)
        if stream.pretraining is None:
            raise ValueError(f"scenario {scenario} holds no images back to pretrain on: see its base_share option")
        settings = validated(Recipe, recipe_of(stream, model) | recipe, "the recipe")
        path = trained_base(stream, settings, pick_device(device), reporter.report)
    if out is not None:
        replace_file(out, path.read_bytes())
    print(f"base: {out or path}")
