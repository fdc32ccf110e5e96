"""Published set-ups by name, as defaults that flags override."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Preset:
    """A model, a scenario's options, and settings of MDS, of which another method takes those that it shares."""

    model: str
    pretrained: str
    options: dict[str, Any]
    settings: dict[str, Any]


def preset(name: str, scenario: str) -> Preset:
    """The preset ``name`` for a scenario.

    ``paper`` is the scale of arXiv 2410.03955's runs (settings of its published scripts): CLIP ViT-B/16 at 224 px,
    AdamW at 1e-6 with 500 steps of warm-up; on driving 24,000 steps of 306 images, 128 of them of the target, on Places
    64,000 steps of 544 images, 32 of them of the target. Images that are not of the target are protected ones: a step
    contrasts with them and constrains on them alike, where the published code draws the two sets apart.

    Raises:
        ValueError: unknown name.
    """
    if name != "paper":
        raise ValueError(f"--preset must be paper, not {name!r}")
    places = scenario.startswith("places")
    target, others, steps = (32, 512, 64_000) if places else (128, 178, 24_000)
    kept = 2_000 if places or "overcast" in scenario else 1_000
    settings = {
        "steps": steps,
        "batch_size": target + others,
        "lr": 1e-6,
        "weight_decay": 0.1,
        "warmup": 500 / steps,
        "target_share": target / (target + others),
        "head_rank": 32,
        "beta": 1_000.0 if places else 100.0,
        "tau": 0.01 if places else 0.05,
        "t": 0.05,
    }
    return Preset("ViT-B-16-quickgelu", "openai", {"image_size": 224, "protected_per_class": kept}, settings)
