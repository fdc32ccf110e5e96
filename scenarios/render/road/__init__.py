"""Road scenes with the attributes weather, scene and time of day (those of BDD100K)."""

from .compose import SCENES, counterfactual_pair, render_road
from .light import TIMES
from .weather import WEATHERS

__all__ = ["SCENES", "TIMES", "WEATHERS", "counterfactual_pair", "render_road"]
