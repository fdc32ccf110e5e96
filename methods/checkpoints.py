"""Building, saving and loading classifiers: any open_clip model name, or a safetensors file."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import open_clip
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from methods.clip import ClipClassifier
from methods.tokenizer import VOCAB_SIZE, ByteTokenizer

TINY = "mds-tiny"  # the embedded default: a 16-token ViT and a byte-level text tower, 1.2 M parameters
METADATA = "mds-bench"  # key of the description in a file's metadata

open_clip.add_model_config(Path(__file__).parent / "model_configs")


def create_classifier(prompts: Sequence[str], model: str = TINY, pretrained: str | None = None) -> ClipClassifier:
    """A classifier on an open_clip architecture, with pretrained weights where a tag is given.

    Args:
        prompts: one text per class.
        model: open_clip model name, or ``mds-tiny``.
        pretrained: open_clip tag such as ``laion400m_e31``; None leaves random weights from torch's global generator.

    Raises:
        ValueError: unknown model or tag, or weights that cannot be had.
    """
    if model not in open_clip.list_models():
        raise ValueError(f"unknown --model {model!r}: see open_clip.list_models(), for example ViT-B-16")
    if pretrained is not None and pretrained not in open_clip.list_pretrained_tags_by_model(model):
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
        raise ValueError(f"unknown --pretrained {pretrained!r} for {model}: known are {tags}")
    try:
        clip = _quietly(open_clip.create_model, model, pretrained=pretrained)
    except Exception as error:  # whatever hub, cache or network raised
        raise ValueError(
            f"cannot get the weights {model}/{pretrained} ({type(error).__name__}): run once with a connection so that "
            "they are cached, set HF_HOME to a folder that has them, or give a local file with --base FILE.safetensors"
        ) from error
    classifier = ClipClassifier(clip, prompts, tokenizer_for(model, clip))
    classifier.architecture = model
    return classifier


def image_size(model: str | None = None, path: Path | None = None) -> int:
    """Side in px of the images that an architecture, or the one a checkpoint names, takes.

    Raises:
        ValueError: unknown architecture, or not a checkpoint.
    """
    name = (_description(path).get("model") if path is not None else None) or model or TINY
    config = open_clip.get_model_config(name)
    if config is None:
        raise ValueError(f"unknown --model {name!r}: see open_clip.list_models(), for example ViT-B-16")
    return int(config["vision_cfg"].get("image_size", 224))


def tokenizer_for(model: str, clip: Any) -> Any:
    """The tokenizer that fits the text tower of ``model``."""
    tower = getattr(clip, "text", clip)
    if tower.vocab_size == VOCAB_SIZE:
        return ByteTokenizer(tower.context_length)
    return open_clip.get_tokenizer(model)


def checkpoint_bytes(model: ClipClassifier, name: str) -> bytes:
    """The classifier as a safetensors file: open_clip's own keys, heads and offsets beside them, and metadata."""
    state = {key.removeprefix("clip."): value.cpu().contiguous() for key, value in model.state_dict().items()}
    description = json.dumps({"model": name, "prompts": model.prompts}, ensure_ascii=False)
    return save(state, {METADATA: description})  # one key: safetensors writes several in random order


def load_checkpoint(path: Path, prompts: Sequence[str], model: str | None = None) -> ClipClassifier:
    """Read a classifier from a safetensors file.

    Args:
        path: a file of ``checkpoint_bytes``, or open_clip weights for ``model``.
        prompts: one text per class. Heads and offsets in the file are kept only if made for the same prompts.
        model: architecture of a file that does not name one.

    Raises:
        ValueError: no such file, not safetensors, or weights of another architecture.
    """
    description = _description(path)
    with _opened(path) as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    name = description.get("model") or model or TINY
    if model is not None and model != name:
        raise ValueError(f"{path}: holds a {name}, not a {model}: drop --model or choose another --base")
    classifier = create_classifier(prompts, name)
    per_class = {key: state.pop(key) for key in ClipClassifier.PER_CLASS if key in state}
    if description.get("prompts") == list(prompts):
        for key, value in per_class.items():
            setattr(classifier, key, nn.Parameter(value))
    expected = {key: value.shape for key, value in classifier.clip.state_dict().items()}
    wrong = [k for k in sorted(expected.keys() | state.keys()) if k not in state or expected.get(k) != state[k].shape]
    if wrong:
        raise ValueError(
            f"{path}: not a checkpoint of {name}: {len(wrong)} of {len(expected)} weights differ, first {wrong[0]}"
        )
    classifier.clip.load_state_dict(state)
    return classifier


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
        raise ValueError(
            f"{path}: not a safetensors file ({error}); convert it with safetensors.torch.save_file"
        ) from error


def _quietly(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Call an open_clip function without its log lines: errors are still raised."""
    logging.disable(logging.ERROR)
    try:
        return function(*args, **kwargs)
    finally:
        logging.disable(logging.NOTSET)


__all__ = ["TINY", "checkpoint_bytes", "create_classifier", "image_size", "load_checkpoint", "tokenizer_for"]
