"""Building, saving and loading classifiers: any open_clip model name, or a safetensors file."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from timm.utils.model import freeze_batch_norm_2d
from torch import Tensor, nn

from methods.class_bias import BIAS
from methods.clip import ClipClassifier
from methods.conversion import why_unreadable
from methods.pretrained import (
    OPENAI,
    Normalisation,
    Training,
    default_normalisation,
    known_model,
    training_like,
    training_of,
)
from methods.running_fisher import FISHER
from methods.tokenizer import VOCAB_SIZE, ByteTokenizer
from methods.unavailable import check_usable, why_not

TINY = "mds-tiny"  # the embedded default: a 16-token ViT and a byte-level text tower, 1.2 M parameters
# Images of lite0 have their channels last: two thirds of the time on a CPU. Those of others must not: in MobileCLIP's
# stem, of strided 1x1 convolutions, oneDNN then writes past the end of its memory (torch 2.14).
LITE0 = "mds-lite0"
METADATA = "mds-bench"  # key of the description in a file's metadata
BUFFERS = (BIAS, FISHER)  # of a classifier, beside its parameters, where methods gave it any
WRAPPERS = ("module.", "_orig_mod.")  # what DistributedDataParallel and torch.compile put before the names of weights

open_clip.add_model_config(Path(__file__).parent / "model_configs")


def create_classifier(
    prompts: Sequence[str], model: str = TINY, pretrained: str | None = None, normalisation: Normalisation | None = None
) -> ClipClassifier:
    """A classifier on an open_clip architecture, with pretrained weights where a tag is given.

    Batch normalisation in the image tower is fixed: the batches of a step are no sample of what the model will meet, as
    target images come first and classes are shown alike, and a model must answer the same in training and after.

    Args:
        prompts: one text per class.
        model: open_clip model name, or ``mds-tiny``. With a tag whose weights were trained with QuickGELU, the
            architecture becomes the one that has it, such as ``ViT-B-16-quickgelu``.
        pretrained: open_clip tag such as ``laion400m_e31``; None leaves random weights from torch's global generator.
        normalisation: of the images; by default the tag's, else OpenAI's.

    Raises:
        ValueError: unknown model or tag, a package that is missing, or weights that cannot be had.
    """
    known_model(model)
    if pretrained is not None:
        model, tagged = training_of(model, pretrained)
        normalisation = normalisation or tagged
    check_usable(model, open_clip.get_model_config(model))
    try:
        clip = quietly(open_clip.create_model, model, pretrained=pretrained)
    except Exception as error:  # whatever hub, cache or network raised
        raise why_not(f"the weights {model}/{pretrained}" if pretrained else f"the model {model}", error) from error
    try:
        tokenizer = quietly(tokenizer_for, model, clip)
    except Exception as error:
        raise why_not(f"the tokenizer of {model}", error) from error
    freeze_batch_norm_2d(clip.visual)
    classifier = ClipClassifier(clip, prompts, tokenizer, normalisation=normalisation)
    classifier.architecture = model
    if model == LITE0:
        classifier.memory_format = torch.channels_last
    return classifier


def image_size(model: str | None = None, path: Path | None = None) -> int:
    """Side in px of the images that an architecture, or the one a checkpoint names, takes.

    Raises:
        ValueError: unknown architecture, or not a checkpoint.
    """
    name = (_description(path).get("model") if path is not None else None) or model or TINY
    config = open_clip.get_model_config(known_model(name))
    return int(config["vision_cfg"].get("image_size", 224))


def tokenizer_for(model: str, clip: Any) -> Any:
    """The tokenizer that fits the text tower of ``model``."""
    tower = getattr(clip, "text", clip)
    if tower.vocab_size == VOCAB_SIZE:
        return ByteTokenizer(tower.context_length)
    return open_clip.get_tokenizer(model)


def checkpoint_bytes(model: ClipClassifier, name: str) -> bytes:
    """The classifier as a safetensors file: open_clip's own keys, heads and offsets beside them, and metadata.

    The metadata name the normalisation where it is not the one that everybody would take for granted.
    """
    state = {key.removeprefix("clip."): value.cpu().contiguous() for key, value in model.state_dict().items()}
    description: dict[str, Any] = {"model": name, "prompts": model.prompts}
    if not (_same(model.normalisation, OPENAI) and _same(model.normalisation, default_normalisation(name))):
        description |= model.normalisation._asdict()
    text = json.dumps(description, ensure_ascii=False)
    return save(state, {METADATA: text})  # one key: safetensors writes several in random order


def load_checkpoint(
    path: Path, prompts: Sequence[str], model: str | None = None, like: str | None = None
) -> ClipClassifier:
    """Read a classifier from a safetensors file.

    Args:
        path: a file of ``checkpoint_bytes``, or open_clip weights for ``model``.
        prompts: one text per class. Heads, offsets and the like in the file are kept only if made for the same prompts.
        model: architecture of a file that does not name one.
        like: of a file that does not describe itself, the tag of ``model`` whose activation and normalisation its
            weights were trained with, or ``scratch``; see ``training_like``.

    Raises:
        ValueError: no such file, not safetensors, weights of another architecture, of whole numbers or trained in a
            way that has to be named.
    """
    description = _description(path)
    with _opened(path) as file:
        state = _without_wrappers({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
    name, normalisation = _training(path, description, model, like)
    classifier = create_classifier(prompts, name, normalisation=normalisation)
    _check_floating(path, state, classifier.clip.state_dict())
    of_prompts = {key: state.pop(key) for key in (*ClipClassifier.PER_CLASS, *BUFFERS) if key in state}
    if description.get("prompts") == list(prompts):
        for key, value in of_prompts.items():
            if key in BUFFERS:
                classifier.register_buffer(key, value)
            else:
                setattr(classifier, key, nn.Parameter(value))
    expected = {key: value.shape for key, value in classifier.clip.state_dict().items()}
    state = {key: value for key, value in state.items() if key in expected or not key.endswith("num_batches_tracked")}
    wrong = [k for k in sorted(expected.keys() | state.keys()) if k not in state or expected.get(k) != state[k].shape]
    if wrong:
        raise ValueError(
            f"{path}: not a checkpoint of {name}: {len(wrong)} of {len(expected)} weights differ, first {wrong[0]}"
        )
    classifier.clip.load_state_dict(state)
    return classifier


def _training(path: Path, description: dict[str, Any], model: str | None, like: str | None) -> Training:
    """What the weights of a file were trained with: as it describes itself, else as the user does."""
    named = description.get("model")
    if named is None:
        try:
            return training_like(known_model(model or TINY), like)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    if model is not None and model != named:
        raise ValueError(f"{path}: holds a {named}, not a {model}: drop --model or choose another --base")
    found = Training(named, default_normalisation(named))
    if "mean" in description:
        found = Training(named, Normalisation(tuple(description["mean"]), tuple(description["std"])))
    if like is not None:
        asked = training_like(known_model(named), like)
        if asked.architecture != named or not _same(asked.normalisation, found.normalisation):
            raise ValueError(
                f"{path}: says that it is a {named} for images of mean {_short(found.normalisation.mean)} and standard "
                f"deviation {_short(found.normalisation.std)}, unlike {like}: drop --like"
            )
    return found


def _check_floating(path: Path, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Refuse weights that were cut to whole numbers, which torch would take; some entries are whole by nature."""
    floating = {key for key, value in wanted.items() if value.is_floating_point()}
    floating |= {*ClipClassifier.PER_CLASS, *BUFFERS}
    cut = [
        f"{key} is of {value.dtype}"
        for key, value in state.items()
        if key in floating and not value.is_floating_point()
    ]
    if cut:
        raise ValueError(f"{path}: {len(cut)} weights are no floating-point numbers, first {cut[0]}: save them as such")


def _without_wrappers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the model's own names: training in parallel or compiled puts a prefix before each."""
    for prefix in WRAPPERS * 2:
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _same(one: Normalisation, other: Normalisation) -> bool:
    """Whether they are equal in float32."""
    return bool(torch.equal(torch.tensor(one), torch.tensor(other)))


def _short(values: Sequence[float]) -> str:
    return "/".join(f"{value:.3g}" for value in values)


def _description(path: Path) -> dict[str, Any]:
    """A file's description of itself, without its tensors; empty where it has none."""
    with _opened(path) as file:
        found: dict[str, Any] = json.loads((file.metadata() or {}).get(METADATA, "{}"))
        return found


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise ValueError(f"no such checkpoint: {path}")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(why_unreadable(path)) from error


def quietly(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Call an open_clip function without its log lines: errors are still raised."""
    logging.disable(logging.ERROR)
    try:
        return function(*args, **kwargs)
    finally:
        logging.disable(logging.NOTSET)


__all__ = ["TINY", "checkpoint_bytes", "create_classifier", "image_size", "load_checkpoint", "quietly", "tokenizer_for"]
