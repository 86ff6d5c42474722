"""The world's colours: what each of GenEval's ten looks like, and grounds that set objects off.

The ten are placed far apart in RGB on purpose; natural images are not so kind.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np

from alphabench.scenes.icons import load_icon
from alphabench.scenes.spec import GROUND_KINDS, RGB, Background, SceneObject


class Tint(NamedTuple):
    """A colour with what its shadows and lights turn into."""

    dark: RGB
    base: RGB
    light: RGB


TINTS: Final[dict[str, Tint]] = {
    "red": Tint((140, 5, 10), (222, 25, 25), (255, 85, 75)),
    "orange": Tint((205, 85, 0), (255, 132, 0), (255, 172, 70)),
    "yellow": Tint((205, 165, 0), (252, 222, 15), (255, 244, 120)),
    "green": Tint((10, 85, 20), (35, 155, 45), (105, 210, 105)),
    "blue": Tint((8, 30, 130), (25, 75, 220), (95, 150, 255)),
    "purple": Tint((62, 12, 105), (125, 35, 180), (175, 100, 225)),
    "pink": Tint((225, 70, 140), (255, 130, 190), (255, 185, 222)),
    "brown": Tint((62, 32, 12), (115, 66, 30), (160, 105, 62)),
    "black": Tint((3, 3, 4), (28, 28, 30), (92, 92, 97)),
    "white": Tint((168, 168, 172), (246, 246, 246), (255, 255, 255)),
}
GROUNDS: Final[tuple[RGB, ...]] = (
    (250, 250, 248), (218, 218, 215), (165, 165, 165), (112, 114, 118), (62, 64, 70), (26, 27, 32),
    (188, 220, 246), (236, 222, 186), (200, 234, 206), (224, 208, 242), (246, 214, 214),
    (34, 46, 84), (30, 66, 52), (84, 32, 44), (70, 128, 136), (150, 134, 110),
)  # fmt: skip
"""Muted: none could be taken for an object's colour, apart from the near white and near black."""
_CONTRAST: Final = 105.0
"""Least distance in RGB between a ground and an object's typical colour."""


def object_rgb(item: SceneObject) -> tuple[float, float, float]:
    """The typical colour of an object as rendered."""
    if item.colour is None:
        return load_icon(item.category).mean_rgb()
    red, green, blue = TINTS[item.colour].base
    return float(red), float(green), float(blue)


def grounds_for(objects: Iterable[SceneObject]) -> tuple[RGB, ...]:
    """The grounds that contrast with every object; the best one alone when none does."""
    colours = [object_rgb(item) for item in objects]
    if not colours:
        return GROUNDS
    apart = np.asarray(GROUNDS, dtype=np.float64)[:, None] - np.asarray(colours)[None]
    gaps = np.linalg.norm(apart, axis=-1).min(axis=1)
    fit = tuple(ground for ground, gap in zip(GROUNDS, gaps, strict=True) if gap >= _CONTRAST)
    return fit or (GROUNDS[int(gaps.argmax())],)


def random_background(rng: np.random.Generator, objects: Iterable[SceneObject]) -> Background:
    """A ground of any kind that contrasts with the objects."""
    choices = grounds_for(objects)
    first = choices[rng.integers(len(choices))]
    # The second colour stays near the first: a texture must not look like an object.
    shift = rng.uniform(-1.0, 1.0, size=3) * 8.0 + rng.choice((-1.0, 1.0)) * rng.uniform(8.0, 24.0)
    red, green, blue = (int(c) for c in np.clip(np.add(first, shift), 0, 255))
    return Background(
        kind=GROUND_KINDS[rng.integers(len(GROUND_KINDS))],
        first=first,
        second=(red, green, blue),
        scale=float(rng.uniform(0.08, 0.35)),
        angle_degrees=float(rng.uniform(0.0, 180.0)),
    )
