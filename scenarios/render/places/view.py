"""The camera in a place: where it looks, and how far walls, floor and ceiling are.

A point's disparity d is 1 where the floor meets the bottom edge of a level picture and 0 at infinity. At disparity d
the floor lies `floor` * d below the eye, the ceiling `ceil` * d above it and the walls `wide` * d to the sides.
"""

from torch import Tensor

from ..canvas import Canvas
from ..draws import Draws
from .model import Layout
from .spread import Spread


class View(Canvas):
    """A chunk of B pictures of one place; dimensions are (B, 1, 1, 1), in image widths at disparity 1."""

    def __init__(self, draws: Draws, layout: Layout, spread: Spread, size: int) -> None:
        super().__init__(draws, size)
        self.spread = spread
        self.vanish = draws.uniform("camera", 0, 0.5 - 1.4 * spread.camera, 0.5 + 1.4 * spread.camera)
        self.eye = draws.uniform("camera", 1, layout.eye - spread.camera, layout.eye + spread.camera)
        self.wide, self.floor, self.ceil, self.back = (
            self._jitter(slot, value)
            for slot, value in enumerate((layout.wide, layout.floor, layout.ceil, layout.back), start=2)
        )

    def _jitter(self, slot: int, value: float) -> Tensor:
        room = self.spread.room
        return self.draws.uniform("camera", slot, value * (1.0 - room), value * (1.0 + room))
