"""The severity table: what each weather may look like, and the one place to tune how hard the weathers are to tell."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ..draws import Draws

WEATHERS = ("clear", "overcast", "snowy", "rainy", "partly cloudy", "foggy")

Range = tuple[float, float]


@dataclass(frozen=True)
class Severity:
    """(low, high) of each quantity; a picture's values lie between them, by draws that all weathers share."""

    cloud: Range  # fraction of the sky under cloud, 0-1
    sun: Range  # strength of direct sun, 0-1: shadows, contrast and warmth
    haze: Range  # extinction k in transmittance (d / (d + k))^2 at disparity d; 0.01 is clean air, 0.5 dense fog
    wet: Range  # wetness of the road, 0-1: darkening and mirror reflection
    rain: Range  # density of falling streaks and drops on the lens, 0-1
    snow: Range  # snow cover of ground and roofs, 0-1
    flakes: Range  # density of falling snow, 0-1
    grey: Range  # greyness of the sky between the clouds, 0-1


SEVERITY: dict[str, Severity] = {
    "clear": Severity((0.0, 0.28), (0.65, 1.0), (0.004, 0.03), (0.0, 0.05), (0, 0), (0, 0), (0, 0), (0.0, 0.15)),
    "overcast": Severity((0.80, 1.0), (0.0, 0.25), (0.01, 0.12), (0.0, 0.25), (0, 0), (0, 0), (0, 0), (0.6, 1.0)),
    "snowy": Severity((0.60, 1.0), (0.0, 0.35), (0.01, 0.14), (0.0, 0.3), (0, 0), (0.0, 0.5), (0.0, 0.4), (0.5, 1.0)),
    "rainy": Severity((0.80, 1.0), (0.0, 0.2), (0.02, 0.14), (0.3, 1.0), (0.1, 1), (0, 0), (0, 0), (0.65, 1.0)),
    "partly cloudy": Severity((0.25, 0.8), (0.35, 1), (0.006, 0.05), (0, 0.06), (0, 0), (0, 0), (0, 0), (0.05, 0.45)),
    "foggy": Severity((0.70, 1.0), (0.0, 0.2), (0.08, 0.7), (0.0, 0.25), (0, 0), (0, 0), (0, 0), (0.7, 1.0)),
}
SHARED = 0.6  # weight of an image's one severity draw against a quantity's own: how far light signs come together


@dataclass
class Weather:
    """Weather of a chunk of B images, each quantity (B, 1, 1, 1); see `Severity`."""

    cloud: Tensor
    sun: Tensor
    haze: Tensor
    wet: Tensor
    rain: Tensor
    snow: Tensor
    flakes: Tensor
    grey: Tensor


def sample_weather(code: Tensor, draws: Draws) -> Weather:
    """Weather of the images whose codes are `code` (B,) int64; codes change only how the draws map to values."""
    low = torch.tensor([[getattr(SEVERITY[name], f.name)[0] for f in fields(Severity)] for name in WEATHERS])
    high = torch.tensor([[getattr(SEVERITY[name], f.name)[1] for f in fields(Severity)] for name in WEATHERS])
    low, high = low.to(draws.table)[code], high.to(draws.table)[code]  # (B, quantities)
    values = {}
    for column, field in enumerate(fields(Severity)):
        own = draws.uniform("weather", column)
        # Bad weather is dim: the sun and the shared severity pull in opposite directions.
        shared = 1.0 - draws.uniform("severity") if field.name == "sun" else draws.uniform("severity")
        t = shared * SHARED + own * (1.0 - SHARED)
        if field.name == "haze":
            t = t * t  # thin haze is commoner than dense
        bottom, top = (bound[:, column].reshape(-1, 1, 1, 1) for bound in (low, high))
        values[field.name] = bottom + (top - bottom) * t
    return Weather(**values)
