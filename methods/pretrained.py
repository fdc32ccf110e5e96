"""What open_clip's tags say about their weights: the activation, and the mean and std of images, in training."""

from __future__ import annotations

from typing import NamedTuple

import open_clip

SCRATCH = "scratch"  # in place of a tag: weights like no tag's


class Normalisation(NamedTuple):
    """Mean and standard deviation per colour of the images that a model was trained on, of values in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


OPENAI = Normalisation(open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)


class Training(NamedTuple):
    """What weights do not tell of themselves: the exact architecture, activation included, and the normalisation."""

    architecture: str
    normalisation: Normalisation


def known_model(model: str) -> str:
    """``model``, once it is one of open_clip's.

    Raises:
        ValueError: there is none of that name.
    """
    if model not in open_clip.list_models():
        raise ValueError(f"unknown --model {model!r}: see open_clip.list_models(), for example ViT-B-16")
    return model


def training_of(model: str, tag: str, flag: str = "--pretrained") -> Training:
    """What the weights ``tag`` of ``model`` were trained with.

    OpenAI's and some others were trained with QuickGELU, whichever of open_clip's two names is asked for.

    Raises:
        ValueError: unknown tag.
    """
    tags = open_clip.list_pretrained_tags_by_model(model)
    if tag not in tags:
        raise ValueError(f"unknown {flag} {tag!r} for {model}: known are {', '.join(tags) or 'none'}")
    config = open_clip.get_pretrained_cfg(model, tag)
    quick = f"{model}-quickgelu"
    renamed = config.get("quick_gelu") and quick in open_clip.list_models()
    return Training(quick if renamed else model, Normalisation(tuple(config["mean"]), tuple(config["std"])))


def default_normalisation(model: str) -> Normalisation:
    """That of a file which names its architecture and nothing else: what all tags agree on, else OpenAI's."""
    found = {entry.normalisation for entry in _trainings(model).values()}
    return found.pop() if len(found) == 1 else OPENAI


def training_like(model: str, like: str | None) -> Training:
    """What weights of ``model`` without any description were trained with.

    Args:
        model: open_clip architecture.
        like: a tag of ``model`` whose training they share; ``scratch`` takes the activation that ``model`` names and
            OpenAI's mean and std; None where nothing was said.

    Raises:
        ValueError: unknown tag, or nothing was said and the architecture leaves it open.
    """
    if like == SCRATCH:
        return Training(model, OPENAI)
    if like is not None:
        return training_of(model, like, "--like")
    trainings = _trainings(model)
    if not trainings:
        return Training(model, OPENAI)
    found = set(trainings.values())
    if len(found) == 1 and (only := found.pop()).architecture == model:
        return only
    first = {training: tag for tag, training in reversed(trainings.items())}  # one tag for each way of training
    choices = " or ".join(sorted(f"--like {tag} ({_in_words(training)})" for training, tag in first.items()))
    raise ValueError(
        f"weights of {model} were trained in several ways, and a file of weights does not tell which: add {choices}, "
        f"or --like {SCRATCH} ({_in_words(Training(model, OPENAI))})"
    )


def _trainings(model: str) -> dict[str, Training]:
    """Of every tag."""
    return {tag: training_of(model, tag) for tag in open_clip.list_pretrained_tags_by_model(model)}


def _in_words(training: Training) -> str:
    quick = (open_clip.get_model_config(training.architecture) or {}).get("quick_gelu", False)
    mean = ", ".join(f"{value:.3g}" for value in training.normalisation.mean)
    return f"{'QuickGELU' if quick else 'GELU'}, mean {mean}"


__all__ = [
    "OPENAI",
    "SCRATCH",
    "Normalisation",
    "Training",
    "default_normalisation",
    "known_model",
    "training_like",
    "training_of",
]
