"""The figure of docs/metrics.md: how often a round is strictly preserved, by luck and by a true gain.

    python -m results.studies.strictness.figure

writes ``strictness.svg`` beside this file. Nothing is simulated: see ``benchmark.metrics.luck.strict_probability``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.leaderboard.plots.drawing import INK, Picture, style
from benchmark.metrics.luck import strict_probability
from benchmark.output.files import replace_file

FILE = Path(__file__).with_name("strictness.svg")
IMAGES = 800  # test images per class, as in driving-foggy
FLIPS = 0.06  # share of predictions that change in a round
CLASSES = (1, 5, 19, 364)


def main() -> None:
    """Draw it."""
    with style():
        replace_file(FILE, picture().svg())


def picture() -> Picture:
    """Two panels: by true gain and by share of flips."""
    import matplotlib.pyplot as plt
    import seaborn as sns

    figure, (by_gain, by_flips) = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    look = {"y": "strict", "hue": "classes", "style": "classes", "palette": "colorblind"}
    sns.lineplot(gains(), x="gain", ax=by_gain, **look)
    by_gain.axvline(0, color=INK, linewidth=1)
    by_gain.set(xlabel="true change of every protected class (points)", ylabel="strictly preserved (%)")
    by_gain.set_title(f"{FLIPS:.0%} of predictions flip")
    by_gain.get_legend().remove()
    sns.lineplot(flips(), x="flips", ax=by_flips, **look)
    by_flips.set(xlabel="predictions that flip (%)", xscale="log")
    by_flips.xaxis.set_major_formatter("{x:g}")
    by_flips.set_title("No true change: by luck alone")
    by_flips.legend(title="protected classes", frameon=False, loc="upper right")
    return Picture(
        figure,
        "When strictness is luck",
        "Left: the share of rounds that are strictly preserved rises with the true gain of the protected classes; with "
        "5 classes it is 4 percent without any change and 56 percent at 1 point. Right: without true change it falls "
        "with the share of predictions that flip and with the number of classes.",
    )


def gains() -> pd.DataFrame:
    """Probability of strict preservation in percent, by true gain in points and number of classes."""
    one = {gain: strict_probability(IMAGES, FLIPS, gain) for gain in np.linspace(-0.01, 0.03, 41)}
    return pd.DataFrame(
        [(100 * gain, str(k), 100 * p**k) for k in CLASSES for gain, p in one.items()],
        columns=["gain", "classes", "strict"],
    )


def flips() -> pd.DataFrame:
    """The luck rate in percent, by share of flips in percent and number of classes."""
    one = {share: strict_probability(IMAGES, share) for share in np.geomspace(1e-4, 0.3, 60)}
    return pd.DataFrame(
        [(100 * share, str(k), 100 * p**k) for k in CLASSES for share, p in one.items()],
        columns=["flips", "classes", "strict"],
    )


if __name__ == "__main__":
    main()
