"""Places: 365 classes of scenes, named as Places365 names them."""

from .compose import PLACES, counterfactual_place, render_place

__all__ = ["PLACES", "counterfactual_place", "render_place"]
