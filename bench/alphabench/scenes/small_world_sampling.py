"""Random small scenes: how many objects, which, what colours and where.

What the nano models are trained on and where the prompts of small trainings come from. The same
generator gives the same scenes on every machine: never change the order of its random calls. Knows
no pixel.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Final

import numpy as np

from alphabench.detections.objects import COLOURS
from alphabench.scenes.descriptions import random_choice
from alphabench.scenes.scene_edits import SceneChange, edit, mistake
from alphabench.scenes.small_world import (
    CORNERS,
    SMALL_CATEGORIES,
    Location,
    SmallObject,
    SmallScene,
    tones_for,
)

TASKS: Final = ("single_object", "colors", "two_object", "counting", "position", "color_attr")
"""GenEval's six; a scene for one can be described by such a prompt."""
_ADJACENT: Final = ((0, 1), (2, 3), (0, 2), (1, 3))
"""Corners that stand in one plain relation."""


def random_small(rng: np.random.Generator) -> SmallScene:
    """One to four objects; a third of the scenes with more than one repeat a category."""
    number = int(rng.choice([1, 2, 3, 4], p=[0.3, 0.3, 0.2, 0.2]))
    same = number > 1 and rng.random() < 0.33
    categories = _categories(rng, 1 if same else number, distinct=False)
    colours = [random_small_colour(rng) for _ in range(number)]
    return _staged(rng, categories * (number if same else 1), colours)


def task_small(rng: np.random.Generator, task: str) -> SmallScene:
    """A scene that a prompt of GenEval's `task` describes."""
    if task in ("single_object", "colors"):
        colour = None if task == "single_object" else random_choice(COLOURS, rng)
        return _staged(rng, _categories(rng, 1), [colour])
    if task == "counting":
        number = int(rng.integers(2, 5))
        return _staged(rng, _categories(rng, 1) * number, [None] * number)
    colours: list[str | None] = [None, None]
    if task == "color_attr":
        colours = [COLOURS[index] for index in rng.permutation(len(COLOURS))[:2]]
    corners = random_choice(_ADJACENT, rng) if task == "position" else None
    return _staged(rng, _categories(rng, 2), colours, corners)


def random_small_scene(rng: np.random.Generator) -> SmallScene:
    """Two thirds described as a GenEval task, the rest of any kind."""
    if rng.random() < 0.67:
        return task_small(rng, random_choice(TASKS, rng))
    return random_small(rng)


def random_change(rng: np.random.Generator) -> SceneChange:
    """Half of them edits of any scene, half mistakes in a scene that was asked for."""
    while rng.random() < 0.5:
        with contextlib.suppress(LookupError):  # this scene has nothing that can be named
            return edit(random_small(rng), rng)
    while True:
        with contextlib.suppress(LookupError):
            return mistake(random_small_scene(rng), rng)


def random_small_colour(rng: np.random.Generator) -> str | None:
    """The icon's own in half the cases."""
    return None if rng.random() < 0.5 else COLOURS[rng.integers(len(COLOURS))]


def _categories(rng: np.random.Generator, number: int, *, distinct: bool = True) -> list[str]:
    count = len(SMALL_CATEGORIES)
    chosen = rng.permutation(count)[:number] if distinct else rng.integers(count, size=number)
    return [SMALL_CATEGORIES[index] for index in chosen]


def _staged(
    rng: np.random.Generator,
    categories: Sequence[str],
    colours: Sequence[str | None],
    corners: Sequence[int] | None = None,
) -> SmallScene:
    number = len(categories)
    middle = number == 1 and rng.random() < 0.7
    places: list[Location] = ["middle"]
    if not middle:
        chosen = corners if corners is not None else rng.permutation(len(CORNERS))[:number]
        places = [CORNERS[corner] for corner in sorted(chosen)]
    objects = tuple(
        SmallObject(category=category, colour=colour, place=place)
        for category, colour, place in zip(categories, colours, places, strict=True)
    )
    return SmallScene(objects=objects, tone=random_choice(tones_for(objects), rng))
