"""German traffic signs: real photos from a moving car, 43 classes, of which some must be learned and the others kept.

A drive past a sign is a *track* of some 30 frames. They show one sign, so no track is divided between splits.
"""

from __future__ import annotations

from functools import partial
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd

from scenarios.gtsrb_files import CLASSES, SOURCE, boxes, locate, photos
from scenarios.real import Choices, Pool, data_folder, develop, found, grouped, ranks
from scenarios.stream import DevelopmentStream, Round

# Warning signs, which differ in what is drawn in the triangle alone, and rare ones: of 39,209 official training photos
# they are 0.6, 1.4, 0.7 and 2.0 %. First people on the road, then those whose sign looks most like it.
TARGETS = {
    "gtsrb-pedestrians": ("pedestrians",),
    "gtsrb-rounds": ("pedestrians", "children", "bicycles", "wild animals"),
}

TEST_SHARE, VAL_SHARE = 0.25, 0.15  # of a class's tracks; the first only where the official test is not there
RARE_SHARE = 0.0006  # of the base's photos, of each target: some four
BASE_SHARE = 0.5  # of the tracks that are neither validation nor test
MET = "bases/gtsrb-tracks.txt"  # the tracks that the shipped bases have met, of a target the first by its rank
RECIPE = {"steps": 2_000, "relight": True}


def stream(
    name: str,
    seed: int = 0,
    *,
    data: str = "",
    image_size: int = 64,
    protected_per_class: int | None = None,
    target_images: int | None = None,
    val_per_class: int | None = None,
    test_per_class: int | None = None,
    base_share: float = BASE_SHARE,
    crop: bool = True,
    augment: bool = True,
    scored: str = "test",
) -> DevelopmentStream:
    """Recognition of traffic signs, developed on one warning sign after the other.

    Tracks of a class are ordered by a hash of their names. The official test is the test set; where it is not there,
    the first 25 % of the tracks are. The next 15 % are validation. Of the other tracks ``base_share`` is for
    pretraining the base model and the rest may be trained on. Of a target the base meets a few frames of one track,
    0.06 % of its photos; the other frames of that track are left out. With the usual ``base_share`` the base's tracks
    are those that the shipped base has met, whatever other tracks are there: none of them is ever tested.

    The frames of a track are much alike, so a class of 300 test photos may be 10 signs: tests that need independent
    images are to be made with one photo of each group in the predictions.

    Args:
        name: a key of ``TARGETS``.
        seed: decides which photos of the protected classes a method may use; where all are used, it decides nothing.
        data: folder of GTSRB, as ``torchvision.datasets.GTSRB(DIR, download=True)`` leaves it, as the official archives
            unpack, with ``Train/``, ``Test/`` and their tables, or with a folder for each class's number. Default: the
            one that the environment variable MDS_BENCH_DATA names.
        image_size: side in px, 16 to 1,024; the central square of a photo is seen.
        protected_per_class: labelled photos of each protected class a method may use, or all where there are fewer.
            Default: all, as for the next three.
        target_images: new photos of each target.
        val_per_class: validation photos per class, for quick work.
        test_per_class: test photos per class, for quick work.
        base_share: share of the tracks that are neither validation nor test for the base model, 0 to below 1. With 0
            nothing is held back, and the base model comes from elsewhere.
        crop: whether the sign's box is cut out, where a table tells it.
        augment: whether training sees varied views; they are never mirrored, as a sign then may be another one.
        scored: test, or probe: validation photos in place of test's, to judge a stream or a base by.

    Raises:
        ValueError: data or an option cannot serve; one line with the remedy.
    """
    choices = Choices(
        image_size, protected_per_class, target_images, val_per_class, test_per_class, augment, None, scored
    )
    targets = TARGETS[name]
    known = tuple(label for label in CLASSES if label not in targets)
    rounds = [Round(target, (*known, *targets[:number])) for number, target in enumerate(targets)]
    prompts = {label: f"the traffic sign is {label}." for label in (*known, *targets)}
    signs = pool(name, data_folder(data, SOURCE), base_share, crop)
    return develop(
        name,
        seed,
        signs,
        prompts,
        rounds,
        choices,
        {"base_share": base_share, "crop": crop},
        mirror=False,
        recipe=RECIPE,
        base=f"{name}.safetensors" if base_share == BASE_SHARE else None,  # another share, other tracks: one's own base
    )


pedestrians = partial(stream, "gtsrb-pedestrians")
rounds = partial(stream, "gtsrb-rounds")


def pool(name: str, folder: Path, base_share: float = BASE_SHARE, crop: bool = True) -> Pool:
    """The photos of the stream ``name``, divided into splits by track; see ``stream`` for the rule.

    Raises:
        ValueError: photos or labels are missing, or labels cannot be read.
    """
    if not 0 <= base_share < 1:
        raise ValueError(f"base_share must be 0 or more and below 1, not {base_share}")
    places = found(locate(folder), folder, SOURCE)
    train, test = photos(folder)
    train["split"] = _splits(train, test is None, base_share, TARGETS[name])
    table = train if test is None else pd.concat([train, test.assign(split="test")], ignore_index=True)
    table["rank"] = ranks(table["track"])
    table = table.sort_values(["label", "rank", "file"], ignore_index=True)
    used = table.index[table["split"] != ""].to_numpy()
    names = np.array(CLASSES, dtype=object)[table["label"]]
    nameless = int((train["track"] == "").sum())
    spare = int((train["split"] == "").sum()) - nameless
    return Pool(
        source=SOURCE,
        classes=CLASSES,
        folders=tuple(place for place in places.values() if place.is_dir()),
        files=table["file"].tolist(),
        rows=grouped(used, names[used], table["split"].to_numpy()[used]),
        dropped={
            reason: number
            for reason, number in (("a name that tells no track", nameless), ("a track that the base has met", spare))
            if number
        },
        groups=table["track"].tolist(),
        boxes=boxes(table) if crop and boxes(table)[:, :4].any() else None,
    )


def met_tracks() -> frozenset[str]:
    """The tracks that the shipped bases were trained on, by class and number."""
    listed = (resources.files("scenarios") / MET).read_text(encoding="utf-8")
    return frozenset(line for line in listed.splitlines() if line and line[0] != "#")


def _splits(photos: pd.DataFrame, with_test: bool, base_share: float, targets: tuple[str, ...]) -> pd.Series:
    """The split of each photo of a table, "" where it is in none."""
    tracks = photos.loc[photos["track"] != "", ["label", "track"]].drop_duplicates()
    tracks["rank"] = ranks(tracks["track"])
    base = met_tracks() if base_share == BASE_SHARE else frozenset[str]()
    split_of: dict[str, str] = {}
    for label in tracks["label"].unique().tolist():
        names = tracks[tracks["label"] == label].sort_values("rank")["track"].tolist()
        known, others = [n for n in names if n in base], [n for n in names if n not in base]
        test = max(1, round(TEST_SHARE * len(names))) if with_test else 0
        val = test + max(1, round(VAL_SHARE * len(names)))
        if not known:
            count = max(1, round(base_share * max(0, len(names) - val))) if base_share else 0
            known, others = others[val:][:count], [*others[:val], *others[val + count :]]
        if CLASSES[label] in targets:
            known, others = known[:1], [*others, *known[1:]]
        parts = {"test": others[:test], "val": others[test:val], "base": known, "train": others[val:]}
        split_of |= {track: split for split, some_tracks in parts.items() for track in some_tracks}
    splits = photos["track"].map(split_of).fillna("")
    rare = photos["label"].isin([CLASSES.index(target) for target in targets]) & (splits == "base")
    seen = max(1, int(RARE_SHARE * ((splits == "base") & ~rare).sum()))
    number = photos.groupby("track").cumcount()
    frames = photos.groupby("track")["file"].transform("size")
    met = (number * seen) // frames != ((number - 1) * seen) // frames  # ``seen`` of them, evenly spaced
    return splits.where(~rare | met, "")
