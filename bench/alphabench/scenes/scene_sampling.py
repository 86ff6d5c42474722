"""Random scenes without a prompt, endless: what the nano models are trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from alphabench.detections.objects import COLOURS
from alphabench.scenes.layout import Extent, Look, Spot, canvas_extent, scatter
from alphabench.scenes.palette import random_background
from alphabench.scenes.spec import CATEGORIES, Scene, SceneObject

MAX_TURN_DEGREES: Final = 15.0
LARGEST: Final = {0: 0.6, 1: 0.75, 2: 0.46, 3: 0.40, 4: 0.36, 5: 0.32, 6: 0.29}
"""Number of objects -> size of the largest that leaves room for the others."""
SMALLEST: Final = 0.17


def random_scene(
    rng: np.random.Generator,
    *,
    categories: Sequence[str] = CATEGORIES,
    max_objects: int = 6,
    aspect: float = 1.0,
) -> Scene:
    """A scene of 0 to `max_objects` objects; about a third of the scenes repeat a category.

    Args:
        rng: decides everything, the scene's own seed included.
        categories: what to draw from.
        max_objects: at most 6.
        aspect: width over height of the canvas it will be rendered on.
    """
    n_objects = int(rng.integers(0, max_objects + 1))
    looks = random_looks(rng, _random_categories(rng, categories, n_objects))
    # A small overlap now and then, as in real images.
    gap = -0.06 if rng.random() < 0.1 else 0.015
    canvas = canvas_extent(aspect)
    spots = scatter(rng, [look.footprint for look in looks], canvas, gap=gap)
    while spots is None:
        looks = looks[:-1]
        spots = scatter(rng, [look.footprint for look in looks], canvas, gap=gap)
    objects = place_objects(looks, spots, canvas)
    return Scene(
        background=random_background(rng, objects), objects=objects, seed=int(rng.integers(2**62))
    )


def random_looks(
    rng: np.random.Generator,
    categories: Sequence[str],
    colours: Sequence[str | None] | None = None,
    *,
    smallest: float = SMALLEST,
) -> list[Look]:
    """Sizes, turns and, unless given, colours (natural in half the cases) for these categories."""
    largest = LARGEST[len(categories)]
    if colours is None:
        colours = [random_colour(rng) for _ in categories]
    return [
        Look(
            category=category,
            colour=colour,
            size=float(rng.uniform(min(smallest, largest), largest)),
            rotation_degrees=float(rng.uniform(-MAX_TURN_DEGREES, MAX_TURN_DEGREES)),
            mirrored=bool(rng.random() < 0.5),
        )
        for category, colour in zip(categories, colours, strict=True)
    ]


def random_colour(rng: np.random.Generator) -> str | None:
    """None, which is natural, in half the cases."""
    return None if rng.random() < 0.5 else COLOURS[rng.integers(len(COLOURS))]


def place_objects(
    looks: Sequence[Look], spots: Sequence[Spot], canvas: Extent
) -> tuple[SceneObject, ...]:
    """Objects of a scene from looks and their centres."""
    return tuple(
        SceneObject(
            category=look.category,
            colour=look.colour,
            x=min(max(spot.x / canvas.width, 0.0), 1.0),
            y=min(max(spot.y / canvas.height, 0.0), 1.0),
            size=look.size,
            rotation_degrees=look.rotation_degrees,
            mirrored=look.mirrored,
        )
        for look, spot in zip(looks, spots, strict=True)
    )


def _random_categories(
    rng: np.random.Generator, categories: Sequence[str], n_objects: int
) -> list[str]:
    pool = [categories[i] for i in rng.integers(len(categories), size=max(n_objects, 1))]
    if rng.random() < 0.35:
        pool[1:] = [pool[0] if rng.random() < 0.7 else other for other in pool[1:]]
    return pool[:n_objects]
