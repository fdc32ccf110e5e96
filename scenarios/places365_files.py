"""Places365 on disk: where its archives put lists and images, and the photos in lists or in class folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from scenarios.leftovers import is_leftover
from scenarios.photo_kinds import readable_suffixes
from scenarios.real import Source, found, ranks
from scenarios.wording import some

SOURCE = Source(
    "Places365-Standard", "places2.csail.mit.edu: small images (256 * 256) of train and val, and the file lists"
)

CLASSES = 365  # officially, in the order of their names; small copies have fewer
CATEGORIES, TRAIN, VAL = "categories_places365.txt", "places365_train_standard.txt", "places365_val.txt"
LISTS_FOLDER = "filelist_places365-standard"  # the folder that the archive of the lists unpacks to
# The first one there counts. The last ones are those of the easy-directory archive, with a folder for each class.
TRAIN_IMAGES = ("data_256", "data_256_standard", "data_large", "data_large_standard", "train")
VAL_IMAGES = ("val_256", "val_256_standard", "val_large", "val_large_standard", "val")


def locate(folder: Path) -> dict[str, Path | None]:
    """The three lists and two image folders, None where there is nothing.

    Images in class folders stand for the list that is missing. Photos of val lie side by side in one archive, which
    needs its list, and in class folders in the other.
    """
    below = sorted(place for place in folder.iterdir() if place.is_dir() and not is_leftover(place.name))
    roots = [root for near in (folder, *below, folder.parent) for root in (near, near / LISTS_FOLDER)]

    def first(names: Sequence[str]) -> Path | None:
        near = ((root, name) for name in names for root in roots if len(name) > len("train") or root != folder.parent)
        return next((root / name for root, name in near if (root / name).exists()), None)

    categories, train, val = (first([name]) for name in (CATEGORIES, TRAIN, VAL))
    images = {"train": first(TRAIN_IMAGES), "val": first(VAL_IMAGES)}
    folders = {split: _class_folders(place) if place else [] for split, place in images.items()}
    by_letter = all(len(place.name) == 1 for place in folders["train"])  # as in the lists: a/abbey
    return {
        CATEGORIES: categories or (images["train"] if folders["train"] else None),
        TRAIN: train if train and by_letter else images["train"] if folders["train"] else None,
        VAL: images["val"] if folders["val"] else val,
        TRAIN_IMAGES[0]: images["train"],
        VAL_IMAGES[0]: images["val"],
    }


def _class_folders(images: Path) -> list[Path]:
    if not images.is_dir():
        return []
    with os.scandir(images) as entries:
        return [Path(entry.path) for entry in entries if entry.is_dir() and not is_leftover(entry.name)]


def categories(folder: Path) -> tuple[str, ...]:
    """Class names in the order of their indices, without the leading "/a/".

    Raises:
        ValueError: the list is missing or cannot be read.
    """
    place = found({CATEGORIES: locate(folder)[CATEGORIES]}, folder, SOURCE)[CATEGORIES]
    if place.is_dir():
        return tuple(sorted({label for label, _ in _in_class_folders(place)}))
    table = _read_list(place)
    names = table["path"].str.replace(r"^/?[^/]/", "", regex=True)
    if sorted(table["label"]) != list(range(len(table))) or names.duplicated().any():
        raise ValueError(
            f"data: {place} must name each class once, with the indices 0 to {len(table) - 1}: get it again from "
            f"{SOURCE.address}"
        )
    return tuple(names.iloc[np.argsort(table["label"])])


def photos(place: Path, images: Path, classes: Sequence[str]) -> pd.DataFrame:
    """file, label (an index) and rank of the photos in a list, or in the class folders in ``images``.

    The rank is that of the path in the official list, so that splits are the same in every layout.

    Raises:
        ValueError: the list cannot be read, or a number or folder is of no class.
    """
    if place.is_dir():
        return _photos_in_folders(images, classes)
    table = _read_list(place)
    wrong = ~table["label"].between(0, len(classes) - 1)
    if wrong.any():
        raise ValueError(
            f"data: {place}, entry {wrong.argmax() + 1} has the index {table['label'][wrong.argmax()]}, {CATEGORIES} "
            f"goes to {len(classes) - 1}: get both lists again from {SOURCE.address}"
        )
    paths = table["path"].str.lstrip("/")
    return pd.DataFrame({"file": f"{images}/" + paths, "label": table["label"], "rank": ranks(paths)})


def _photos_in_folders(images: Path, classes: Sequence[str]) -> pd.DataFrame:
    entries = _in_class_folders(images)
    index = {name: number for number, name in enumerate(classes)}
    if unknown := sorted({label for label, _ in entries} - index.keys()):
        raise ValueError(
            f"data: {images} holds folders of no class: {some(unknown)}: take them away, or get the data set again "
            f"from {SOURCE.address}"
        )
    listed = pd.Series([_listed_path(label, os.path.basename(file)) for label, file in entries], dtype="str")  # noqa: PTH119
    labels = np.array([index[label] for label, _ in entries], dtype=np.int64)
    return pd.DataFrame({"file": [file for _, file in entries], "label": labels, "rank": ranks(listed)})


def _in_class_folders(images: Path) -> list[tuple[str, str]]:
    """Class and file of every photo; a class is ``a/abbey`` or ``abbey``, with ``/`` or ``-`` before its kind."""

    def stop(error: OSError) -> None:
        raise ValueError(f"data: {error.filename} cannot be listed ({error.strerror}): allow reading it") from None

    entries: list[tuple[str, str]] = []
    for parent, folders, files in os.walk(images, onerror=stop):
        folders[:] = sorted(name for name in folders if not is_leftover(name))
        parts = Path(parent).relative_to(images).parts
        label = "/".join(parts[1:] if len(parts) > 1 and len(parts[0]) == 1 else parts).replace("-", "/")
        if label:
            entries += [(label, os.path.join(parent, name)) for name in sorted(files) if _is_photo(name)]  # noqa: PTH118
    return entries


def _is_photo(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in readable_suffixes()  # noqa: PTH122


def _listed_path(label: str, name: str) -> str:
    """What the official lists call a photo."""
    return name if name.startswith("Places365_val_") else f"{label[0]}/{label}/{name}"


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
