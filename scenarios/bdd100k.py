"""BDD100K: weather and scene recognition on real road frames, by the image-level labels of either release."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from scenarios.bdd100k_files import SOURCE, images_of, labels_of, locate, read_labels
from scenarios.real import Choices, Pool, data_folder, develop, found, grouped, ranks
from scenarios.stream import DevelopmentStream, Round

WEATHERS = ("clear", "overcast", "snowy", "rainy", "partly cloudy", "foggy")
ROADS = ("highway", "residential area", "city street")  # where the weather shows
SCENES = (*ROADS, "parking lot", "tunnel", "gas stations")

# There are 143 foggy frames, too few of them in official val: the study pooled them, 57 to train on, 43 to validate and
# 43 to test.
POOLED, POOLED_TRAIN, POOLED_VAL = "foggy", 0.4, 0.3


@dataclass(frozen=True)
class Plan:
    """The classes of a stream: the first ``known`` are protected from the start, each other one is a target."""

    classes: tuple[str, ...]
    known: int

    @property
    def rounds(self) -> tuple[Round, ...]:
        """One target after the other; each is protected from then on."""
        return tuple(Round(self.classes[n], self.classes[:n]) for n in range(self.known, len(self.classes)))

    @property
    def prompts(self) -> dict[str, str]:
        """class -> the study's prompt."""
        return {c: f"the weather is {c}." if c in WEATHERS else f"the scene is a {c}." for c in self.classes}


PLANS = {
    "bdd100k-foggy": Plan(WEATHERS, 5),
    "bdd100k-overcast": Plan(("clear", "snowy", "rainy", "partly cloudy", "overcast"), 4),
    "bdd100k-tunnel": Plan((*ROADS, "parking lot", "tunnel"), 4),
    # The classes exclude each other: a tunnel or a parking lot is that whatever its weather, which is mostly undefined
    # in tunnels; on open roads the weather counts.
    "bdd100k-rounds": Plan(
        ("clear", "snowy", "rainy", "partly cloudy", "overcast", "foggy", "tunnel", "parking lot"), 4
    ),
}


def stream(
    name: str,
    seed: int = 0,
    *,
    data: str = "",
    image_size: int = 64,
    protected_per_class: int | None = 1000,
    target_images: int | None = None,
    val_share: float = 0.3,
    val_per_class: int | None = None,
    test_per_class: int | None = None,
    external: str | None = None,
    augment: bool = True,
    scored: str = "test",
) -> DevelopmentStream:
    """A stream of ``PLANS``: weather or scene recognition, developed on one target after the other.

    Official val is the test set. Of each class's official train frames, the first ``val_share`` in an order by a hash
    of their names are validation, so that validation too is the same for every seed; the rest may be trained on.
    Foggy frames, of both official splits, are divided 40 / 30 / 30 % into train, validation and test in that order.

    A frame whose class is undefined or not among the stream's is dropped; one named in both official splits counts in
    val alone. ``pool`` tells how many were dropped.

    Args:
        name: a key of ``PLANS``.
        seed: decides which frames of the protected classes a method may use, and nothing else.
        data: folder of BDD100K with ``labels/`` and ``images/100k/``, in it or up to two folders below, as the
            archives unpack. Default: the one that the environment variable MDS_BENCH_DATA names.
        image_size: side in px, 16 to 1,024; the central square of a frame is seen.
        protected_per_class: labelled frames of each protected class a method may use, or all where there are fewer.
        target_images: new frames of each target. Default: all, as for the next two.
        val_share: share of official train that is validation, above 0 and below 1; the study's was near 0.3.
        val_per_class: validation frames per class, for quick work.
        test_per_class: test frames per class, for quick work.
        external: CSV ``filepath,title,slabel`` of images from elsewhere, paths absolute or relative to its folder, for
            a stream with one target. Those with slabel 1 show the target and join its new images. Rows with slabel 0
            and the titles are checked and not used: the suite's methods contrast images with the classes' prompts.
        augment: whether training sees varied views.
        scored: test, or probe: validation frames in place of test's, to judge a stream or a base by.

    Raises:
        ValueError: data or an option cannot serve; one line with the remedy.
    """
    choices = Choices(
        image_size, protected_per_class, target_images, val_per_class, test_per_class, augment, external, scored
    )
    plan, frames_ = PLANS[name], pool(name, data_folder(data, SOURCE), val_share)
    return develop(name, seed, frames_, plan.prompts, plan.rounds, choices, {"val_share": val_share})


# With the protected images per class of the study's scripts.
foggy = partial(stream, "bdd100k-foggy", protected_per_class=1000)
overcast = partial(stream, "bdd100k-overcast", protected_per_class=2000)
tunnel = partial(stream, "bdd100k-tunnel", protected_per_class=1000)
rounds = partial(stream, "bdd100k-rounds", protected_per_class=1000)


def pool(name: str, folder: Path, val_share: float = 0.3) -> Pool:
    """The frames of the stream ``name``, divided into splits; see ``stream`` for the rule.

    Raises:
        ValueError: labels or image folders are missing, or labels cannot be read.
    """
    if not 0 < val_share < 1:
        raise ValueError(f"val_share must be above 0 and below 1, not {val_share}")
    places = found(locate(folder), folder, SOURCE)
    images = {split: places[images_of(split)] for split in ("train", "val")}
    labels, repeated = frames(folder)
    classes, reasons = _classes(labels, PLANS[name].classes)
    table = pd.DataFrame({"label": classes, "official": labels["split"], "rank": ranks(labels["name"])})
    table = table[table["label"] != ""].sort_values(["label", "rank"])
    table["split"] = _splits(table, val_share)
    return Pool(
        source=SOURCE,
        classes=PLANS[name].classes,
        folders=tuple(images.values()),
        files=[f"{images[split]}/{frame}" for split, frame in zip(labels["split"], labels["name"], strict=True)],
        rows=grouped(table.index.to_numpy(), table["label"].to_numpy(), table["split"].to_numpy()),
        dropped={str(reason): int(number) for reason, number in reasons.value_counts().items()}
        | ({"a name listed before": repeated} if repeated else {}),
    )


def frames(folder: Path) -> tuple[pd.DataFrame, int]:
    """All labelled frames: name, split ("train" or "val", the official one), weather, scene, timeofday.

    Returns:
        One row per name, and how many more there were: a frame listed in both splits is one of val.

    Raises:
        ValueError: labels are missing or cannot be read.
    """
    places = locate(folder)
    train, val = found({name: places[name] for name in map(labels_of, ("train", "val"))}, folder, SOURCE).values()
    table = pd.concat([read_labels(val).assign(split="val"), read_labels(train).assign(split="train")])
    table["scene"] = table["scene"].replace("residential", "residential area")  # so the older release writes
    once = table.drop_duplicates("name").sort_values("name", ignore_index=True)
    return once, len(table) - len(once)


def _classes(labels: pd.DataFrame, classes: tuple[str, ...]) -> tuple[np.ndarray, pd.Series]:
    """The class of each frame, "" where it has none, and for those the reasons."""
    scenes, weathers = ([c for c in classes if c in known] for known in (SCENES, WEATHERS))
    is_scene = labels["scene"].isin(scenes)
    weather_shows = labels["scene"].isin(ROADS) if scenes else pd.Series(True, index=labels.index)
    is_weather = ~is_scene & weather_shows & labels["weather"].isin(weathers)
    names = np.select([is_scene, is_weather], [labels["scene"], labels["weather"]], "")
    by_weather = weather_shows & bool(weathers)
    reasons = ("weather " + labels["weather"]).where(by_weather, "scene " + labels["scene"])
    return names, reasons[names == ""]


def _splits(table: pd.DataFrame, val_share: float) -> np.ndarray:
    """The split of each frame of a table in the order of label and rank."""
    pooled = table["label"] == POOLED
    tested = (table["official"] == "val") & ~pooled
    groups = table.groupby(["label", tested])
    position, size = groups.cumcount(), groups["rank"].transform("size")
    train_first = pooled & (position < (size * POOLED_TRAIN).round())
    val_next = pooled & (position < (size * (POOLED_TRAIN + POOLED_VAL)).round())
    carved = ~pooled & (position < (size * val_share).round())
    return np.select([tested, train_first, val_next, pooled, carved], ["test", "train", "val", "test", "val"], "train")
