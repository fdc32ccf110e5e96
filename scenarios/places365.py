"""Places365: scene recognition on real photos, 365 classes of which one must be learned and 364 kept."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from scenarios.places365_files import (
    CATEGORIES,
    CLASSES,
    SOURCE,
    TRAIN,
    TRAIN_IMAGES,
    VAL,
    VAL_IMAGES,
    categories,
    locate,
    photos,
)
from scenarios.real import Choices, Pool, data_folder, develop, found, grouped
from scenarios.stream import DevelopmentStream, Round
from scenarios.wording import unknown_name

NAME = "places365-dressing-room"


def dressing_room(
    seed: int = 0,
    *,
    data: str = "",
    target: str = "dressing_room",
    image_size: int = 64,
    protected_per_class: int | None = 2000,
    target_images: int | None = None,
    val_per_class: int = 100,
    test_per_class: int | None = None,
    external: str | None = None,
    augment: bool = True,
    scored: str = "test",
) -> DevelopmentStream:
    """Scene recognition in which one class must be learned and all others kept, after the study.

    Official val, 100 photos per class, is the test set. Of each class's official train photos, the first
    ``val_per_class`` in an order by a hash of their paths are validation, so that validation too is the same for every
    seed; the rest may be trained on. A photo listed twice counts once.

    In full, at 64 px, the stream is 0.8 million photos and 10 GB of memory; ``protected_per_class`` makes it smaller.

    Args:
        seed: decides which photos of the protected classes a method may use, and nothing else.
        data: folder of Places365-Standard with the three file lists, ``data_256/`` and ``val_256/`` (or the large
            images), in it or one level up or down; or with ``train/`` and ``val/`` of class folders, which need no
            lists. Default: the one that the environment variable MDS_BENCH_DATA names.
        target: the class to be learned, as in the list of categories without the leading "/d/".
        image_size: side in px, 16 to 1,024; the central square of a photo is seen.
        protected_per_class: labelled photos of each protected class a method may use, or all where there are fewer.
        target_images: new photos of the target. Default: all that are not validation.
        val_per_class: validation photos per class; another number moves photos between validation and training.
        test_per_class: test photos per class, for quick work. Default: all.
        external: CSV ``filepath,title,slabel`` of images from elsewhere, paths absolute or relative to its folder.
            Those with slabel 1 show the target and join its new images. Rows with slabel 0 and the titles are checked
            and not used: the suite's methods contrast images with the classes' prompts.
        augment: whether training sees varied views.
        scored: test, or probe: validation photos in place of test's, to judge a stream or a base by.

    Raises:
        ValueError: data or an option cannot serve; one line with the remedy.
    """
    choices = Choices(
        image_size, protected_per_class, target_images, val_per_class, test_per_class, augment, external, scored
    )
    folder = data_folder(data, SOURCE)
    classes = categories(folder)
    if target not in classes:
        raise ValueError(unknown_name("target", target, classes))
    prompts = {c: f"the scene is a(n) {c.replace('_', ' ').replace('/', ', ')}." for c in classes}
    rounds = [Round(target, tuple(c for c in classes if c != target))]
    held = pool(folder, val_per_class)
    return develop(NAME, seed, held, prompts, rounds, choices, {"target": target})


def pool(folder: Path, val_per_class: int = 100) -> Pool:
    """All listed photos, divided into splits; see ``dressing_room`` for the rule.

    Raises:
        ValueError: lists or image folders are missing, or lists cannot be read.
    """
    places = found(locate(folder), folder, SOURCE)
    lists, images = (places[TRAIN], places[VAL]), (places[TRAIN_IMAGES[0]], places[VAL_IMAGES[0]])
    editions = tuple((file.stat().st_size, file.stat().st_mtime_ns) for file in lists)
    classes = categories(folder)
    if lists[1].is_file() and places[CATEGORIES].is_dir() and len(classes) != CLASSES:
        raise ValueError(
            f"data: {images[0]} holds {len(classes)} of {CLASSES} classes, so {lists[1]} needs {CATEGORIES}, which "
            f"says what its numbers mean: get it from {SOURCE.address}"
        )
    make = _pool if all(file.is_file() for file in lists) else _pool.__wrapped__  # folders have no edition
    return make(lists, images, editions, classes, val_per_class)


@lru_cache(maxsize=1)  # the lists have 1.8 million lines: read once per process, not once per seed
def _pool(
    lists: tuple[Path, Path],
    images: tuple[Path, Path],
    _editions: tuple[object, ...],  # an edited list is read again
    classes: tuple[str, ...],
    val_per_class: int,
) -> Pool:
    parts = [photos(*place, classes) for place in zip(lists, images, strict=True)]
    listed = sum(map(len, parts))
    parts = [part[~part["rank"].duplicated()] for part in parts]  # the hash stands for the path
    table = pd.concat(parts, ignore_index=True)
    files = table.pop("file").tolist()
    table = table.sort_values(["label", "rank"])
    tested = table.index >= len(parts[0])
    position = table.groupby(["label", tested]).cumcount()
    split = np.select([tested, position < val_per_class], ["test", "val"], "train")
    repeated = listed - len(table)
    return Pool(
        source=SOURCE,
        classes=classes,
        folders=images,
        files=files,
        rows=grouped(table.index.to_numpy(), np.array(classes, dtype=object)[table["label"]], split),
        dropped={"a path listed before": repeated} if repeated else {},
    )
