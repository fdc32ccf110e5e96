"""Your own photos as a development stream: a folder of class-named folders, or a CSV."""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial

import torch

from scenarios.division import divide, fixed_splits
from scenarios.photos import SPLITS, Found, Photo, compose, look
from scenarios.pixels import photo_store
from scenarios.stream import DevelopmentStream, LabelledImages, Round, RoundData
from scenarios.wording import some, unknown_name

TEST_PERCENT, VAL_PERCENT = 25, 15

# A floor, no recommendation: below it there is nothing to score. A regression shows from hundreds of test photos on.
MINIMUM = {"test": 5, "val": 3, "train": 1}
ENOUGH = 20  # photos in a class that give MINIMUM by the percentages above

# The base sees the target as rarely as a driving data set sees fog: BDD100K labels 143 of about 80,000 frames foggy.
RARE_SHARE = 0.0018

Splits = dict[str, list[Photo]]


def folder(
    seed: int = 0,
    *,
    data: str,
    target: str,
    protected: Sequence[str] | None = None,
    image_size: int = 64,
    protected_per_class: int | None = None,
    base_share: float = 0.4,
    prompt: str = "a photo of a {}.",
    augment: bool = True,
) -> DevelopmentStream:
    """One round on your own photos: ``target`` must be learned and the protected classes kept.

    Each class is split by itself. Its photos are ordered by the SHA-256 of class name and path below the class folder;
    of this order the first 25 % are test and the next 15 % validation. Of the remaining photos of a protected class,
    ``base_share`` is for pretraining the base model and the rest is the pool that ``seed`` draws the protected data
    from. Of the remaining photos of the target, one or more is for pretraining, but no more than 0.18 % of the base
    images and no more than ``base_share``; the rest are the round's new images.

    So test and validation depend on the class's own files alone: not on the seed, on where the folder lies, or on the
    other classes. Adding photos to a class can move others of it across a border; a CSV with ``split`` freezes the
    splits.

    In a CSV (columns ``path,label[,split][,group]``, paths relative to the CSV's folder) a ``split`` is obeyed:
    ``test``, ``val``, ``train`` (protected or target data) or ``base`` (pretraining, whatever ``base_share`` is). Rows
    without one are split as above among themselves. Folders of these names, with the class folders inside, are splits
    too. Photos of one ``group`` show the same thing, such as frames of one drive: they are in one split, ordered by the
    hash of the group's name, so that a split may get some photos more than its share. Where a group gives the base more
    of the target than it may see, the rest of the target's photos in it are left out.

    Args:
        seed: decides which photos of the pool are the protected data; with the whole pool in use, nothing.
        data: path of a folder of class-named folders of photos, or of a CSV.
        target: the class to be learned.
        protected: the classes to be kept; all others but the target are then left out. Default: all but the target.
        image_size: side in px, 16 to 1,024; photos are resized and centre-cropped to it.
        protected_per_class: labelled photos of each protected class a method may use. Default: the whole pool.
        base_share: share of each protected class's training photos held back for pretraining, 0 to below 1. With 0
            nothing is held back, and the base model comes from elsewhere.
        prompt: text for a class, with ``{}`` for its name; underscores in names become spaces.
        augment: whether training, of base and methods, sees random crops, rotations and mirror images.

    Raises:
        ValueError: an option or class name is wrong, photos are too few or cannot be read; the message has the remedy.
    """
    _check_options(protected, image_size, protected_per_class, base_share, prompt)
    found = look(data)
    photos = found.photos
    target, kept = _choose(photos, compose(target), protected)
    classes = tuple(sorted((target, *kept)))
    splits = split_photos(photos, target, kept, base_share)
    _check_counts(splits, data, found)
    if surplus := len(photos[target]) - sum(map(len, splits[target].values())):
        found.left_out.setdefault(target, Counter())["in groups that the base sees"] += surplus
    if told := "; ".join(f"of {label} {found.told(label)}" for label in classes if found.told(label)):
        warnings.warn(f"{data}: photos left out: {told}", stacklevel=2)
    drawn = {label: _draw(splits[label]["train"], protected_per_class, label, seed) for label in kept}

    everything = [photo for label in classes for split in SPLITS for photo in splits[label][split]]
    store = photo_store([photo.path for photo in everything], image_size)
    store.fill(range(len(everything)))  # drawn or not: whether the photos can serve must not depend on the seed
    row_of = {photo: row for row, photo in enumerate(everything)}
    grouped = any(photo.group for photo in everything)

    def images(photos: Iterable[Photo]) -> LabelledImages:
        photos = list(photos)
        labels = torch.tensor([classes.index(photo.label) for photo in photos])
        groups = [photo.group or "" for photo in photos] if grouped else None
        return LabelledImages(store.take([row_of[photo] for photo in photos]), labels, groups)

    base = [photo for label in classes for photo in splits[label]["base"]]
    return DevelopmentStream(
        name="folder",
        version=2,
        seed=seed,
        classes=classes,
        prompts=_prompts(prompt, classes),
        rounds=(Round(target, kept),),
        data=(
            RoundData(
                train=images(splits[target]["train"]),
                protected=images(photo for label in kept for photo in drawn[label]),
                val=images(photo for label in classes for photo in splits[label]["val"]),
                test=images(photo for label in classes for photo in splits[label]["test"]),
            ),
        ),
        options={  # without ``data``: the same photos elsewhere are the same stream
            "target": target,
            "protected": list(kept),
            "image_size": image_size,
            "protected_per_class": protected_per_class,
            "base_share": base_share,
            "prompt": prompt,
            "augment": augment,
        },
        pretraining=partial(images, base) if base else None,
        augment=augment,
    )


def _check_options(
    protected: Sequence[str] | None, image_size: int, protected_per_class: int | None, base_share: float, prompt: str
) -> None:
    if isinstance(protected, str) or (protected is not None and not protected):
        raise ValueError(f"protected must be a list of one class name or more, not {protected!r}: leave it out for all")
    if not 16 <= image_size <= 1024:
        raise ValueError(f"image_size must be between 16 and 1024 px, not {image_size}")
    if protected_per_class is not None and protected_per_class < 1:
        raise ValueError(
            f"protected_per_class must be 1 or more, not {protected_per_class}: leave it out for all photos"
        )
    if not 0 <= base_share < 1:
        raise ValueError(f"base_share must be 0 or more and below 1, not {base_share}")
    if prompt.count("{}") != 1:
        raise ValueError(
            f"prompt must have one {{}} where the class name goes, as 'a photo of a {{}}.', not {prompt!r}"
        )


def _choose(known: Iterable[str], target: str, protected: Sequence[str] | None) -> tuple[str, tuple[str, ...]]:
    """The target and the protected classes, sorted, once they make sense."""
    known = list(known)
    names = (
        [label for label in known if label != target] if protected is None else [compose(name) for name in protected]
    )
    for option, name in (("target class", target), *(("protected class", name) for name in names)):
        if name not in known:
            raise ValueError(unknown_name(option, name, known))
    if target in names:
        raise ValueError(f"protected: {target!r} is the target: take it out of the protected classes")
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"protected: {', '.join(twice)} given more than once: name each class once")
    if not names:
        raise ValueError(f"data: {target!r} is the only class: add a class that must be kept")
    return target, tuple(sorted(names))


def _prompts(prompt: str, classes: Sequence[str]) -> tuple[str, ...]:
    if twins := same_names(classes):
        raise ValueError(f"data: several classes have the prompt of {some(twins)}: rename one, underscores are spaces")
    return tuple(prompt.replace("{}", _spoken(label)) for label in classes)


def _spoken(label: str) -> str:
    return label.replace("_", " ")


def same_names(classes: Iterable[str]) -> list[str]:
    """The names that several classes have in their prompts."""
    counts = Counter(map(_spoken, classes))
    return sorted(repr(name) for name, number in counts.items() if number > 1)


def split_photos(
    photos: dict[str, list[Photo]], target: str, protected: Sequence[str], base_share: float
) -> dict[str, Splits]:
    """The splits of each class in the stream; see ``folder`` for the rule."""

    def held_back(rest: int) -> int:
        return max(1, round(rest * base_share)) if base_share and rest else 0

    concerned = {label: photos[label] for label in (*protected, target) if label}
    fixed = fixed_splits(photo for own in concerned.values() for photo in own)
    free = {
        label: sum(photo.split is None and photo.group not in fixed for photo in own)
        for label, own in concerned.items()
    }
    quotas = {label: {"test": n * TEST_PERCENT // 100, "val": n * VAL_PERCENT // 100} for label, n in free.items()}
    for label, wanted in quotas.items():
        wanted["base"] = held_back(free[label] - sum(wanted.values()))
    if target:
        told = sum(photo.split == "base" for label in protected for photo in photos[label])
        rare = max(1, int((told + sum(quotas[label]["base"] for label in protected)) * RARE_SHARE))
        quotas[target]["base"] = min(rare, quotas[target]["base"])
    split_of = divide([photo for own in concerned.values() for photo in own], quotas)
    splits = {
        label: {split: [photo for photo in own if split_of[photo] == split] for split in SPLITS}
        for label, own in concerned.items()
    }
    if target:
        splits[target]["base"] = _rarely(splits[target]["base"], quotas[target]["base"])
    return splits


def _rarely(photos: list[Photo], most: int) -> list[Photo]:
    """Those of the target that the base sees: of groups that came with other classes or as a whole, ``most`` photos."""
    asked = [photo for photo in photos if photo.split == "base"]
    others = [photo for photo in photos if photo.split != "base"]
    return sorted(asked + others[: max(0, most - len(asked))], key=photos.index)


def divided(photos: dict[str, list[Photo]], base_share: float = 0.4) -> dict[str, Splits]:
    """The splits of each class, were it protected; those of the target differ in ``base`` and ``train`` alone."""
    return split_photos(photos, "", list(photos), base_share)


def shortages(splits: dict[str, Splits], found: Found) -> list[str]:
    """One phrase per class with too few photos in a split, and what was left out of it."""
    short = []
    for label in sorted(splits):
        counts = {split: len(photos) for split, photos in splits[label].items()}
        if any(counts[split] < least for split, least in MINIMUM.items()):
            parts = ", ".join(f"{count} {split}" for split, count in counts.items())
            groups = {photo.group for photos in splits[label].values() for photo in photos if photo.group}
            told = f"; {len(groups)} groups" if groups else ""
            told += f"; left out: {found.told(label)}" if found.told(label) else ""
            short.append(f"class {label!r} has {sum(counts.values())} ({parts}{told})")
    return short


def needs() -> str:
    """What ``shortages`` asks of a class, in words."""
    least = ", ".join(f"{least} {split}" for split, least in MINIMUM.items())
    return f"each class needs {least}, that is {ENOUGH} photos where no split is given"


def _check_counts(splits: dict[str, Splits], data: str, found: Found) -> None:
    if short := shortages(splits, found):
        raise ValueError(
            f"data: too few photos in {data}: {some(short)}; {needs()}: add photos, lower base_share, or name only "
            "larger classes as protected"
        )


def _draw(pool: list[Photo], count: int | None, label: str, seed: int) -> list[Photo]:
    """``count`` photos of the pool, decided by ``seed``, in the pool's order."""
    if count is None:
        return pool
    if count > len(pool):
        raise ValueError(
            f"protected_per_class is {count}, but class {label!r} has {len(pool)} photos for it: lower it, lower "
            "base_share, or add photos"
        )
    chosen = random.Random(f"{seed} {label}").sample(range(len(pool)), count)
    return [pool[number] for number in sorted(chosen)]
