"""Places365: scene recognition on real photos, 365 classes of which one must be learned and 364 kept."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from scenarios.real import Choices, Pool, Source, data_folder, develop, found, grouped, ranks
from scenarios.stream import DevelopmentStream, Round
from scenarios.wording import unknown_name

SOURCE = Source(
    "Places365-Standard", "places2.csail.mit.edu: small images (256 * 256) of train and val, and the file lists"
)

NAME = "places365-dressing-room"

CATEGORIES, TRAIN, VAL = "categories_places365.txt", "places365_train_standard.txt", "places365_val.txt"
LISTS_FOLDER = "filelist_places365-standard"  # the folder that the archive of the lists unpacks to
# The first one there counts.
TRAIN_IMAGES = ("data_256", "data_256_standard", "data_large", "data_large_standard")
VAL_IMAGES = ("val_256", "val_large")


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
) -> DevelopmentStream:
    """Scene recognition in which one class must be learned and all others kept, after the study.

    Official val, 100 photos per class, is the test set. Of each class's official train photos, the first
    ``val_per_class`` in an order by a hash of their paths are validation, so that validation too is the same for every
    seed; the rest may be trained on. A photo listed twice counts once.

    In full, at 64 px, the stream is 0.8 million photos and 10 GB of memory; ``protected_per_class`` makes it smaller.

    Args:
        seed: decides which photos of the protected classes a method may use, and nothing else.
        data: folder of Places365-Standard with the three file lists, ``data_256/`` and ``val_256/`` (or the large
            images), in it or one level up or down. Default: the one that the environment variable MDS_BENCH_DATA names.
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

    Raises:
        ValueError: data or an option cannot serve; one line with the remedy.
    """
    choices = Choices(image_size, protected_per_class, target_images, val_per_class, test_per_class, augment, external)
    folder = data_folder(data, SOURCE)
    classes = categories(folder)
    if target not in classes:
        raise ValueError(unknown_name("target", target, classes))
    prompts = {c: f"the scene is a(n) {c.replace('_', ' ').replace('/', ', ')}." for c in classes}
    rounds = [Round(target, tuple(c for c in classes if c != target))]
    photos = pool(folder, val_per_class)
    return develop(NAME, seed, photos, prompts, rounds, choices, {"target": target})


def pool(folder: Path, val_per_class: int = 100) -> Pool:
    """All listed photos, divided into splits; see ``dressing_room`` for the rule.

    Raises:
        ValueError: lists or image folders are missing, or lists cannot be read.
    """
    places = found(locate(folder), folder, SOURCE)
    lists, images = (places[TRAIN], places[VAL]), (places[TRAIN_IMAGES[0]], places[VAL_IMAGES[0]])
    editions = tuple((file.stat().st_size, file.stat().st_mtime_ns) for file in lists)
    return _pool(lists, images, editions, categories(folder), val_per_class)


@lru_cache(maxsize=1)  # the lists have 1.8 million lines: read once per process, not once per seed
def _pool(
    lists: tuple[Path, Path],
    images: tuple[Path, Path],
    _editions: tuple[object, ...],  # an edited list is read again
    classes: tuple[str, ...],
    val_per_class: int,
) -> Pool:
    parts = [_photos(*place, len(classes)) for place in zip(lists, images, strict=True)]
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


def locate(folder: Path) -> dict[str, Path | None]:
    """The three lists and two image folders, None where there is nothing."""
    below = sorted(place for place in folder.iterdir() if place.is_dir())
    roots = [root for near in (folder, *below, folder.parent) for root in (near, near / LISTS_FOLDER)]

    def first(names: Sequence[str]) -> Path | None:
        return next((root / name for name in names for root in roots if (root / name).exists()), None)

    return {names[0]: first(names) for names in ([CATEGORIES], [TRAIN], [VAL], TRAIN_IMAGES, VAL_IMAGES)}


def categories(folder: Path) -> tuple[str, ...]:
    """Class names in the order of their indices, without the leading "/a/".

    Raises:
        ValueError: the list is missing or cannot be read.
    """
    file = found({CATEGORIES: locate(folder)[CATEGORIES]}, folder, SOURCE)[CATEGORIES]
    table = _read_list(file)
    names = table["path"].str.replace(r"^/?[^/]/", "", regex=True)
    if sorted(table["label"]) != list(range(len(table))) or names.duplicated().any():
        raise ValueError(
            f"data: {file} must name each class once, with the indices 0 to {len(table) - 1}: get it again from "
            f"{SOURCE.address}"
        )
    return tuple(names.iloc[np.argsort(table["label"])])


def _photos(file: Path, images: Path, classes: int) -> pd.DataFrame:
    """file, label and rank of the photos in a list."""
    table = _read_list(file)
    wrong = ~table["label"].between(0, classes - 1)
    if wrong.any():
        raise ValueError(
            f"data: {file}, entry {wrong.argmax() + 1} has the index {table['label'][wrong.argmax()]}, {CATEGORIES} "
            f"goes to {classes - 1}: get both lists again from {SOURCE.address}"
        )
    paths = table["path"].str.lstrip("/")
    return pd.DataFrame({"file": f"{images}/" + paths, "label": table["label"], "rank": ranks(paths)})


def _read_list(file: Path) -> pd.DataFrame:
    """path and label of the lines "path index" of a file."""
    try:
        table = pd.read_csv(
            file,
            sep=" ",
            names=["path", "label"],
            dtype={"path": "str", "label": "int64"},
            quoting=3,  # a quotation mark in a path is one
            na_filter=False,
            encoding="utf-8-sig",
        )
        if not len(table) or not isinstance(table.index, pd.RangeIndex):
            raise ValueError("there are no lines" if not len(table) else "lines have more than two parts")
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"data: {file} is no list of lines 'path index' ({reason}): get it again from {SOURCE.address}"
        ) from None
    return table
