"""GTSRB on disk: where its archives and common copies put photos and labels, and the photos with track and box."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from scenarios.leftovers import is_leftover
from scenarios.photo_kinds import readable_suffixes
from scenarios.real import Source, found
from scenarios.table_files import UnreadableTable, read_table, with_slashes
from scenarios.wording import some

SOURCE = Source(
    "GTSRB", "benchmark.ini.rub.de (Final_Training and Final_Test), or torchvision.datasets.GTSRB(DIR, download=True)"
)

CLASSES = (
    *(f"speed limit {limit}" for limit in (20, 30, 50, 60, 70, 80)),
    *("end of speed limit 80", "speed limit 100", "speed limit 120"),
    *("no overtaking", "no overtaking by trucks", "right of way at next crossing", "priority road", "yield", "stop"),
    *("no vehicles", "no trucks", "no entry", "general danger", "bend to the left", "bend to the right"),
    *("double bend", "bumpy road", "slippery road", "road narrows on the right", "road works", "traffic lights"),
    *("pedestrians", "children", "bicycles", "ice or snow", "wild animals", "end of all limits"),
    *("turn right ahead", "turn left ahead", "ahead only", "straight or right", "straight or left"),
    *("keep right", "keep left", "roundabout", "end of no overtaking", "end of no overtaking by trucks"),
)  # what the official class numbers mean

# The first one there counts: torchvision's, the official archive's, those of copies with Train.csv and Test.csv; last
# the folder itself, with a folder for each class.
TRAINING = ("Training", "Final_Training/Images", "Train", "train", "")
TEST_IMAGES = ("Final_Test/Images", "Test", "test")
TEST_LABELS = ("GT-final_test.csv", "Test.csv")
PHOTOS, TEST, LABELS = f"{TRAINING[0]}/000NN", f"{TEST_IMAGES[0]}", " or ".join(TEST_LABELS)  # in messages

BOX = ("Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2", "Width", "Height")  # a part of a photo, and the size of the whole
TRACK = re.compile(r"(?:\d{5}_)?(\d{5})_\d{5}")  # 00003_00014.ppm, or 00027_00003_00014.png with the class in front
COLUMNS = ("file", "label", "track", *BOX)


def locate(folder: Path) -> dict[str, Path | None]:
    """Training photos, and those of the official test with their labels; None where there is nothing.

    Without both of the test, neither is looked for: tracks of the training photos are held out then.
    """
    roots = [folder, *(folder / name for name in ("gtsrb", "GTSRB", "gtsrb/GTSRB"))]

    def first(names: Sequence[str]) -> Path | None:
        return next((root / name for name in names for root in roots if (root / name).exists()), None)

    training = next((root / name for name in TRAINING for root in roots if _class_folders(root / name)), None)
    images = first(TEST_IMAGES)
    labels = first([*TEST_LABELS, *(f"{TEST_IMAGES[0]}/{name}" for name in TEST_LABELS)])
    test = {} if images is None and labels is None else {TEST: images, LABELS: labels}
    return {PHOTOS: training} | test


def _class_folders(folder: Path) -> list[tuple[int, Path]]:
    """The numbers of the classes that have a folder here, and these, in order."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        numbered = [Path(entry.path) for entry in entries if entry.is_dir() and re.fullmatch(r"\d{1,5}", entry.name)]
    return sorted((int(place.name), place) for place in numbered if int(place.name) < len(CLASSES))


def photos(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """The training photos, and those of the official test, None without them.

    Returns:
        Columns ``file``, ``label`` (an index into ``CLASSES``), ``track`` ("" where the name tells none) and ``BOX``
        (px, all 0 where no table tells them), in the order of the names. What a table lists is there, on disk or not.

    Raises:
        ValueError: photos or labels are missing, or labels cannot be read.
    """
    places = found(locate(folder), folder, SOURCE)
    train = _training(places[PHOTOS], folder)
    return train, _test(places[TEST], places[LABELS]) if TEST in places else None


def _training(place: Path, folder: Path) -> pd.DataFrame:
    label_of: dict[str, int] = {}
    box_of: dict[str, tuple[int, ...]] = {}
    for number, below in _class_folders(place):
        with os.scandir(below) as entries:
            names = [entry.name for entry in entries if not is_leftover(entry.name)]
        label_of |= {f"{below}/{name}": number for name in names if Path(name).suffix.lower() in readable_suffixes()}
        for table in (below / name for name in names if name.lower().endswith(".csv")):
            listed = {f"{below}/{name}": box for name, _, box in _rows(table, "Filename")}
            label_of, box_of = label_of | dict.fromkeys(listed, number), box_of | listed
    tables = (place.parent / name for name in ("Train.csv", "train.csv"))
    for table in [table for table in tables if table.is_file() and (place != folder or _lists_photos(table))][:1]:
        for path, label, box in _rows(table, "Path"):
            file = str(place.parent / with_slashes(place.parent, path))
            if label_of.setdefault(file, label) != label:
                raise ValueError(
                    f"data: {table}: {path} has ClassId {label} and lies in the folder of class {label_of[file]}: get "
                    f"it again from {SOURCE.address}"
                )
            box_of[file] = box
    rows = [(file, label, _track(file, label), *box_of.get(file, (0,) * len(BOX))) for file, label in label_of.items()]
    return pd.DataFrame(sorted(rows), columns=COLUMNS)


def _lists_photos(table: Path) -> bool:
    """Whether a table beside the folder that was given is one of GTSRB's."""
    try:
        read_table(table, ("Path", "ClassId"))
    except UnreadableTable:
        return False
    return True


def _test(images: Path, labels: Path) -> pd.DataFrame:
    column = "Path" if labels.name == "Test.csv" else "Filename"
    rows = [
        (f"{images}/{Path(path.replace(chr(92), '/')).name}", label, "", *box)
        for path, label, box in _rows(labels, column)
    ]
    return pd.DataFrame(sorted(rows), columns=COLUMNS)


def _track(file: str, label: int) -> str:
    """Class and number of the track that the name of a photo tells; "" if it tells none."""
    match = TRACK.fullmatch(Path(file).stem)
    return f"{label:05}/{match[1]}" if match else ""


def _rows(table: Path, name: str) -> Iterator[tuple[str, int, tuple[int, ...]]]:
    """Name, class and box of the photos in a table.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        read = read_table(table, (name, "ClassId"), BOX)
    except UnreadableTable as error:
        raise ValueError(f"data: {error}: get it again from {SOURCE.address}") from None
    problems = []
    lines: dict[str, int] = {}  # where a photo was first listed
    for number, row in read.stripped():
        if lines.setdefault(row[name], number) != number:
            problems.append(f"line {number}: {row[name]} is listed already in line {lines[row[name]]}")
            continue
        texts = [row["ClassId"], *(row[side] or "0" for side in BOX)]
        if not all(re.fullmatch(r"\d{1,5}", text) for text in texts) or int(texts[0]) >= len(CLASSES):
            problems.append(f"line {number}: {','.join([row[name], *texts])}")
            continue
        label, *box = map(int, texts)
        yield row[name], label, tuple(box)
    if problems:
        raise ValueError(
            f"data: {table}: {some(problems)}: ClassId must be 0 to {len(CLASSES) - 1}, a box in whole px, each photo "
            f"listed once: get it again from {SOURCE.address}"
        )


def boxes(table: pd.DataFrame) -> np.ndarray:
    """The boxes of a table of photos and the sizes of these, (N, 6) int64; see ``decode``."""
    return table[list(BOX)].to_numpy(np.int64)
