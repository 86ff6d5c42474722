"""What a scene is: a ground and objects on it, as plain data that says nothing about pixels.

Lengths are fractions of the canvas, so that one scene can be rendered at any size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, get_args

from alphabench.detections.objects import COLOURS

RGB = tuple[int, int, int]

WORLD_VERSION: Final = "1"
"""Raised whenever a scene's pixels change: images of two versions never share a run."""

CATEGORIES: Final = (
    "apple", "backpack", "bear", "bed", "bicycle", "boat", "book", "broccoli", "cake", "car",
    "carrot", "cell phone", "chair", "clock", "computer keyboard", "couch", "cow", "dog", "donut",
    "elephant", "giraffe", "handbag", "horse", "hot dog", "laptop", "pizza", "potted plant",
    "scissors", "skateboard", "sports ball", "stop sign", "suitcase", "toilet", "toothbrush",
    "train", "tv", "umbrella", "vase", "wine glass", "zebra",
)  # fmt: skip
"""COCO names as GenEval spells them; each is one icon in `icons/`."""

GroundKind = Literal["plain", "gradient", "noise", "stripes", "checker"]
GROUND_KINDS: Final[tuple[GroundKind, ...]] = get_args(GroundKind)


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneObject:
    """One object of a scene."""

    category: str
    colour: str | None = None
    """One of GenEval's ten colours; None leaves the icon its own."""
    x: float
    """Centre, as a fraction of the canvas's width."""
    y: float
    """Centre, as a fraction of the canvas's height."""
    size: float
    """Longest side before rotation, as a fraction of the canvas's shorter side."""
    rotation_degrees: float = 0.0
    """Counter-clockwise."""
    mirrored: bool = False

    def __post_init__(self) -> None:
        if self.category not in CATEGORIES:
            raise ValueError(f"{self.category!r} is no category of the world")
        if self.colour is not None and self.colour not in COLOURS:
            raise ValueError(f"{self.colour!r} is none of {COLOURS}")
        if not (0.0 <= self.x <= 1.0 and 0.0 <= self.y <= 1.0):
            raise ValueError(f"the centre ({self.x}, {self.y}) lies off the canvas")
        if not 0.0 < self.size <= 1.0:
            raise ValueError(f"size {self.size} is not in (0, 1]")
        if not math.isfinite(self.rotation_degrees):
            raise ValueError(f"rotation {self.rotation_degrees} is not finite")


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """The background of the objects: one or two colours and how they share the canvas."""

    kind: GroundKind = "plain"
    first: RGB = (200, 200, 200)
    second: RGB = (200, 200, 200)
    """Unused by `plain`."""
    scale: float = 0.25
    """Period of stripes, side of a square or length of a blotch; fraction of the shorter side."""
    angle_degrees: float = 0.0
    """Direction of gradient and stripes."""

    def __post_init__(self) -> None:
        if self.kind not in GROUND_KINDS:
            raise ValueError(f"{self.kind!r} is none of {GROUND_KINDS}")
        if not 0.0 < self.scale <= 1.0:
            raise ValueError(f"scale {self.scale} is not in (0, 1]")
        if not all(0 <= c <= 255 for c in (*self.first, *self.second)):
            raise ValueError("a colour channel is not in 0..255")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """All that decides the pixels, given a size."""

    background: Background
    objects: tuple[SceneObject, ...]
    """Later objects cover earlier ones."""
    seed: int
    """Decides the shade of each object and the grain of the ground; two seeds, two images."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed {self.seed} is negative")
