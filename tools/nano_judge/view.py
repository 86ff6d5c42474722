"""What of a picture can be asked about without doubt, and what questions are made with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

from alphabench.detections.geneval_rules import MARGIN, RELATIONS
from alphabench.scenes.small_world import SMALL_CATEGORIES
from alphabench.scenes.spec import CATEGORIES
from tools.nano_judge.scene_images import Seen, Shown

T = TypeVar("T")
NUMBERS: Final = ("no", "one", "two", "three", "four", "five", "six", "seven")
PLACED: Final = {
    "left of": "to the left of",
    "right of": "to the right of",
    "above": "above",
    "below": "below",
}
OPPOSITE: Final = {
    "left of": "right of", "right of": "left of", "above": "below", "below": "above",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class YesNoClaim:
    """A question and whether yes is true."""

    kind: str
    text: str
    truth: bool


class View:
    """What of a picture can be asked about without doubt."""

    def __init__(self, shown: Shown) -> None:
        counts = Counter(one.category for one in shown.objects)
        self.shown = shown
        self.counts = {name: n for name, n in counts.items() if name not in shown.hidden}
        self.single = [one for one in shown.objects if self.counts.get(one.category) == 1]
        self.total = 0 if shown.hidden else len(shown.objects)
        there = {*counts, *shown.hidden}
        known = SMALL_CATEGORIES if there <= {*SMALL_CATEGORIES} else CATEGORIES
        self.absent = [name for name in known if name not in there]
        self.tinted = [one for one in self.single if one.colour is not None]
        self.pairs = [
            (a, b, box_relations(a, b)) for a in self.single for b in self.single if a is not b
        ]

    def colours(self, name: str) -> list[str | None]:
        return [one.colour for one in self.shown.objects if one.category == name]


def one_choice(choices: Sequence[T], rng: np.random.Generator) -> T:
    """One of them, each as likely as the others."""
    return choices[int(rng.integers(len(choices)))]


def box_relations(one: Seen, other: Seen) -> tuple[str, ...]:
    """GenEval's relations between two boxes (`geneval_rules.relations`), in plain numbers."""
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = one.box, other.box
    dx, dy = (ax1 + ax2 - bx1 - bx2) / 2, (ay1 + ay2 - by1 - by2) / 2
    norm = math.hypot(dx, dy)
    if norm == 0:
        return ()
    beyond_x = max(abs(dx) - MARGIN * (ax2 - ax1 + bx2 - bx1), 0.0) * math.copysign(1, dx) / norm
    beyond_y = max(abs(dy) - MARGIN * (ay2 - ay1 + by2 - by1), 0.0) * math.copysign(1, dy) / norm
    holds = (beyond_x < -0.5, beyond_x > 0.5, beyond_y < -0.5, beyond_y > 0.5)
    return tuple(name for name, true in zip(RELATIONS, holds, strict=True) if true)


def plainly_not(one: Seen, other: Seen, relation: str) -> bool:
    """Whether the centres are level, or the other way round, along the relation's axis."""
    axis = 0 if relation in ("left of", "right of") else 1
    offset = sum(one.box[axis::2]) / 2 - sum(other.box[axis::2]) / 2
    return bool(offset > -0.1 if relation in ("left of", "above") else offset < 0.1)
