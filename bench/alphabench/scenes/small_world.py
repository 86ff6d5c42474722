"""The small world: sixteen categories on a canvas of four places, for models of a few megabytes.

Every scene here is an ordinary `Scene`; only less varies. Up to four objects stand at the four
corners, nearly upright and of nearly one size, or one large object fills the middle, before a plain
ground. What the nano models are trained on, and what the mini splits keep to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np

from alphabench.detections.geneval_rules import Rules
from alphabench.scenes.edit_ops import GROUND_TONES, SceneEdit, is_edit
from alphabench.scenes.palette import grounds_for
from alphabench.scenes.spec import RGB, Background, Scene, SceneObject

SMALL_CATEGORIES: Final = (
    "apple", "bicycle", "boat", "book", "cake", "car", "chair", "clock", "couch", "dog", "donut",
    "giraffe", "pizza", "train", "umbrella", "vase",
)  # fmt: skip
SMALL_TONES: Final = ("white", "grey", "dark", "sand", "sky", "navy")
"""Grounds, as named in `alphabench.scenes.edit_ops.GROUND_TONES`."""
MAX_SMALL_OBJECTS: Final = 4

Location = Literal["upper left", "upper right", "lower left", "lower right", "middle"]
CORNERS: Final[tuple[Location, ...]] = ("upper left", "upper right", "lower left", "lower right")
CENTRES: Final[Mapping[Location, tuple[float, float]]] = {
    "upper left": (0.25, 0.25),
    "upper right": (0.75, 0.25),
    "lower left": (0.25, 0.75),
    "lower right": (0.75, 0.75),
    "middle": (0.5, 0.5),
}
_CORNER_SIZES: Final = (0.40, 0.45)
_MIDDLE_SIZES: Final = (0.66, 0.74)
_SHIFT: Final = 0.02
"""Greatest displacement from a place's centre."""
_TURN_DEGREES: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallObject:
    """One object and its place."""

    category: str
    colour: str | None
    """One of GenEval's ten; None is the icon's own."""
    place: Location


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallScene:
    """A small scene as it can be described in text."""

    objects: tuple[SmallObject, ...]
    """No two at one place; in reading order."""
    tone: str

    def __post_init__(self) -> None:
        places = [item.place for item in self.objects]
        if len(set(places)) < len(places) or ("middle" in places and len(places) > 1):
            raise ValueError(f"objects share a location: {places}")


def tones_for(objects: Sequence[SmallObject]) -> tuple[str, ...]:
    """The small world's grounds that set all of these objects off; all of them if none does."""
    named: dict[RGB, str] = {GROUND_TONES[tone]: tone for tone in SMALL_TONES}
    contrasting = grounds_for(
        SceneObject(category=item.category, colour=item.colour, x=0.5, y=0.5, size=0.4)
        for item in objects
    )
    return tuple(named[ground] for ground in contrasting if ground in named) or SMALL_TONES


def small_to_scene(small: SmallScene, rng: np.random.Generator) -> Scene:
    """The scene to render; `rng` decides sizes, small displacements and turns, and shades.

    Two scenes rendered with equal `rng` differ where their objects differ, and nowhere else.
    """
    poses = {place: _pose(place, rng) for place in CENTRES}
    return Scene(
        background=Background(kind="plain", first=GROUND_TONES[small.tone]),
        objects=tuple(
            replace(poses[item.place], category=item.category, colour=item.colour)
            for item in small.objects
        ),
        seed=int(rng.integers(2**62)),
    )


def _pose(place: Location, rng: np.random.Generator) -> SceneObject:
    """Where and how any object at this location is rendered."""
    x, y = CENTRES[place]
    low, high = _MIDDLE_SIZES if place == "middle" else _CORNER_SIZES
    dx, dy = rng.uniform(-_SHIFT, _SHIFT, size=2)
    return SceneObject(
        category=SMALL_CATEGORIES[0],
        x=float(x + dx),
        y=float(y + dy),
        size=float(rng.uniform(low, high)),
        rotation_degrees=float(rng.uniform(-_TURN_DEGREES, _TURN_DEGREES)),
    )


def why_not_small(facts: Mapping[str, Any]) -> str | None:
    """Why a sample's facts, of an edit or of none, go beyond the small world; None if not.

    Considers what is required and what is forbidden, before an edit and after it.

    Raises:
        ValueError: the facts are malformed.
    """
    return next(_beyond_small(facts), None)


def _beyond_small(facts: Mapping[str, Any]) -> Iterator[str]:
    source = facts.get("source") or {}
    edit = SceneEdit.from_facts(facts) if is_edit(facts) else None
    named: set[str] = set()
    grounds = [source.get("ground") or {}]
    if edit is not None:
        named.update(name for name in (edit.category, edit.into, edit.target) if name is not None)
        grounds.append({"tone": edit.tone, "texture": edit.texture})
    for shown in (source, facts):
        rules = Rules.from_facts(shown)
        named |= {clause.category for clause in (*rules.include, *rules.exclude)}
        n_objects = sum(clause.count for clause in rules.include)
        if n_objects > MAX_SMALL_OBJECTS:
            yield f"it shows {n_objects} objects, more than {MAX_SMALL_OBJECTS}"
    if strange := sorted(named.difference(SMALL_CATEGORIES)):
        yield f"the small world has no {' and no '.join(map(repr, strange))}"
    for ground in grounds:
        if ground.get("tone") not in (None, *SMALL_TONES):
            yield f"the small world has no ground {ground['tone']!r}"
        if ground.get("texture") not in (None, "plain"):
            yield f"the small world has no ground in {ground['texture']!r}"
