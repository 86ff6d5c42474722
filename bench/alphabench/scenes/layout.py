"""Where objects go: footprints and places for them that do not overlap.

Lengths are in units of the canvas's shorter side here, so that a turn keeps its shape on a canvas
that is not square.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from alphabench.scenes.icons import load_icon


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """An object without a place."""

    category: str
    colour: str | None
    size: float
    """Longest side before rotation, as a fraction of the canvas's shorter side."""
    rotation_degrees: float
    mirrored: bool

    @property
    def footprint(self) -> Extent:
        """The upright rectangle that surely holds the object."""
        aspect = load_icon(self.category).aspect
        width, height = self.size * min(aspect, 1.0), self.size / max(aspect, 1.0)
        angle = math.radians(self.rotation_degrees)
        cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
        return Extent(cos * width + sin * height, sin * width + cos * height)


class Extent(NamedTuple):
    """Width and height in units of the canvas's shorter side."""

    width: float
    height: float


class Spot(NamedTuple):
    """A centre in units of the canvas's shorter side, from its upper left corner."""

    x: float
    y: float


def canvas_extent(aspect: float) -> Extent:
    """The canvas of width over height `aspect`, its shorter side being 1."""
    return Extent(max(aspect, 1.0), max(1.0 / aspect, 1.0))


def scatter(
    rng: np.random.Generator,
    footprints: Sequence[Extent],
    canvas: Extent,
    *,
    gap: float = 0.02,
    attempts: int = 60,
) -> list[Spot] | None:
    """A centre for each footprint, wholly on the canvas and `gap` apart; None when none was found.

    Args:
        rng: decides the places.
        footprints: put down in this order.
        canvas: see `canvas_extent`.
        gap: least distance between two rectangles along one axis; negative lets them overlap.
        attempts: tries for each object before giving up.
    """
    spots: list[Spot] = []
    for index, own in enumerate(footprints):
        spot = _free_spot(
            rng,
            own,
            list(zip(spots, footprints[:index], strict=True)),
            canvas,
            gap=gap,
            attempts=attempts,
        )
        if spot is None:
            return None
        spots.append(spot)
    return spots


def random_spots(
    rng: np.random.Generator, own: Extent, canvas: Extent, *, attempts: int
) -> Iterator[Spot]:
    """Centres at which a footprint lies wholly on the canvas, each sampled when it is needed."""
    room_x, room_y = canvas.width - own.width, canvas.height - own.height
    if room_x < 0 or room_y < 0:
        return
    for _ in range(attempts):
        draw_x, draw_y = rng.random(2).tolist()
        yield Spot(own.width / 2 + draw_x * room_x, own.height / 2 + draw_y * room_y)


def _free_spot(
    rng: np.random.Generator,
    own: Extent,
    taken: Sequence[tuple[Spot, Extent]],
    canvas: Extent,
    *,
    gap: float,
    attempts: int,
) -> Spot | None:
    room_x, room_y = canvas.width - own.width, canvas.height - own.height
    if room_x < 0 or room_y < 0:
        return None
    for draw_x, draw_y in rng.random((attempts, 2)).tolist():
        spot = Spot(own.width / 2 + draw_x * room_x, own.height / 2 + draw_y * room_y)
        if all(_apart(spot, own, other, extent, gap) for other, extent in taken):
            return spot
    return None


def _apart(spot: Spot, own: Extent, other: Spot, extent: Extent, gap: float) -> bool:
    beside = abs(spot.x - other.x) >= (own.width + extent.width) / 2 + gap
    return beside or abs(spot.y - other.y) >= (own.height + extent.height) / 2 + gap
