"""Compares two detectors image by image, down to GenEval's verdicts.

Promises that each object above the floor has its partner on the other side or is counted as alone.
Knows no detector. Images come without prompts, so verdicts are taken of prompts made from what
was found: each category alone, counted and in each colour, and pairs of the best ones in each
relation. A verdict counts as the same only if its reason is too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from alphabench.detections.geneval_rules import (
    RELATIONS,
    Selected,
    colour_questions,
    decide,
    select,
)
from alphabench.detections.matching import (
    FLOOR,
    Found,
    above_floor,
    box_iou,
    mask_iou,
    pair_up,
)
from alphabench.detections.objects import COLOURS, DetectedObject
from alphabench.evaluators.detection.detector import ColourQuery, ColourReader
from alphabench.scenes.palette import TINTS

if TYPE_CHECKING:
    from PIL.Image import Image


_PAIRED: Final = 4
"""Categories of which pairs are asked, the best of each image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How far two detectors may be apart and still count as equal."""

    score: float = 1e-4
    box_iou: float = 0.999
    corner: float = 0.5
    """Pixels; a box passes by its IoU or by its corners."""
    mask_iou: float = 0.999


class MeanColours:
    """Names the colour that an object's mean is nearest to; see `ColourReader`.

    It takes no weights and follows the mask: what a comparison of detectors needs, and no more.
    """

    @property
    def identity(self) -> Mapping[str, str]:
        return {"model": "mean colour under the mask"}

    def read(self, queries: Sequence[ColourQuery]) -> list[str]:
        """One of `COLOURS` for each query."""
        pixels: dict[int, NDArray[np.uint8]] = {}
        names = []
        for query in queries:
            key = id(query.image)
            if key not in pixels:
                pixels[key] = np.asarray(query.image.convert("RGB"))
            names.append(_nearest_colour(pixels[key], query.found))
        return names


def _nearest_colour(pixels_HW3: NDArray[np.uint8], found: DetectedObject) -> str:
    mask_HW = found.mask
    if mask_HW is None or not mask_HW.any():
        return COLOURS[0]
    mean_3 = pixels_HW3[mask_HW].mean(axis=0)
    tints_K3 = np.array([TINTS[name][0] for name in COLOURS], dtype=float)
    return COLOURS[int(np.linalg.norm(tints_K3 - mean_3, axis=1).argmin())]


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionComparison:
    """Two detectors on one image. Without any pair the gaps are 0 and the overlaps 1."""

    image_name: str
    objects: tuple[int, int]
    """Above the floor, of each side."""
    alone: int
    """Objects above the floor without a partner of their category."""
    score_gap: float
    box_iou: float
    corner_gap: float
    boxes_apart: int
    """Pairs whose boxes fail both of the tolerance's measures."""
    mask_iou: float
    verdicts: int
    verdicts_apart: int

    def within(self, tolerance: Tolerance) -> bool:
        """Whether nothing is further apart than that."""
        return (
            self.alone == self.boxes_apart == self.verdicts_apart == 0
            and self.score_gap <= tolerance.score
            and self.mask_iou >= tolerance.mask_iou
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncompared:
    """A image that one side could not read or process; it counts as unequal."""

    image_name: str
    reason: str


Row = DetectionComparison | Uncompared


def all_equal(rows: Sequence[Row], tolerance: Tolerance) -> bool:
    """Whether every image is equal, and some object was there to compare."""
    return all(_is_equal(row, tolerance) for row in rows) and _n_objects(rows) > 0


def _is_equal(row: Row, tolerance: Tolerance) -> bool:
    return isinstance(row, DetectionComparison) and row.within(tolerance)


def _n_objects(rows: Sequence[Row]) -> int:
    return sum(sum(row.objects) for row in rows if isinstance(row, DetectionComparison))


def compare_detections(
    image_name: str,
    image: Image,
    found: tuple[Found, Found],
    *,
    colours: ColourReader,
    tolerance: Tolerance,
) -> DetectionComparison:
    """Both sides' objects of one image.

    Args:
        image_name: for the table.
        image: the image, upright.
        found: all objects of either side, those at or below the floor too.
        colours: reads the colours for the verdicts, of both sides alike.
        tolerance: what makes a pair of boxes count as apart.
    """
    pairs, alone = pair_up(*found)
    overlaps = [box_iou(one.box, other.box) for one, other in pairs]
    corners = [
        max(abs(a - b) for a, b in zip(one.box, other.box, strict=True)) for one, other in pairs
    ]
    verdicts = list(_verdicts(image, found, colours))
    return DetectionComparison(
        image_name=image_name,
        objects=(len(above_floor(found[0])), len(above_floor(found[1]))),
        alone=alone,
        score_gap=max((abs(one.score - other.score) for one, other in pairs), default=0.0),
        box_iou=min(overlaps, default=1.0),
        corner_gap=max(corners, default=0.0),
        boxes_apart=sum(
            overlap <= tolerance.box_iou and corner >= tolerance.corner
            for overlap, corner in zip(overlaps, corners, strict=True)
        ),
        mask_iou=min((mask_iou(one.mask, other.mask) for one, other in pairs), default=1.0),
        verdicts=len(verdicts),
        verdicts_apart=sum(ours != theirs for ours, theirs in verdicts),
    )


def detection_table(rows: Sequence[Row], tolerance: Tolerance) -> str:
    """One line for each image, and a last one for all."""
    width = max((len(row.image_name) for row in rows), default=7)
    head = (
        f"{'image':<{width}}  objects    alone  score gap  box IoU   corner px  mask IoU  "
        "verdicts  apart"
    )
    lines = [head]
    for row in rows:
        if isinstance(row, Uncompared):
            lines.append(f"{row.image_name:<{width}}  could not be compared: {row.reason}")
            continue
        lines.append(
            f"{row.image_name:<{width}}  {row.objects[0]:>3} /{row.objects[1]:>4}  {row.alone:>6}  "
            f"{row.score_gap:>9.1e}  {row.box_iou:>8.6f}  {row.corner_gap:>8.2f}  "
            f"{row.mask_iou:>8.6f}  {row.verdicts:>8}  {row.verdicts_apart:>5}"
            f"{'' if row.within(tolerance) else '  DIFFERS'}"
        )
    if not _n_objects(rows):
        lines.append("there was no object to compare")
    compared = [row for row in rows if isinstance(row, DetectionComparison)]
    equal = sum(_is_equal(row, tolerance) for row in rows)
    asked = sum(row.verdicts for row in compared)
    apart = sum(row.verdicts_apart for row in compared)
    lines.append(
        f"equal on {equal} of {len(rows)} images (scores to {tolerance.score:g}, boxes to IoU "
        f"{tolerance.box_iou:g} or {tolerance.corner:g} px, masks to IoU {tolerance.mask_iou:g}); "
        f"{asked - apart} of {asked} verdicts the same"
    )
    return "\n".join(lines)


def _verdicts(
    image: Image, found: tuple[Found, Found], colours: ColourReader
) -> Iterator[tuple[object, object]]:
    """(ours, theirs) for each prompt: what is wrong with the image, or that nothing is."""
    asked = list(_prompts([*found[0], *found[1]]))
    sides = [_decisions(image, of, asked, colours) for of in found]
    yield from zip(*sides, strict=True)


def _decisions(
    image: Image, found: Found, prompts: Sequence[Mapping[str, Any]], colours: ColourReader
) -> list[object]:
    selected: dict[str, Selected] = {
        tag: select(found, tag=tag) for tag in {str(one["tag"]) for one in prompts}
    }
    wanted = {
        id(one): one
        for facts in prompts
        for one in colour_questions(facts, selected[str(facts["tag"])])
    }
    words = colours.read([ColourQuery(image=image, found=one) for one in wanted.values()])
    colour_of = dict(zip(wanted, words, strict=True))

    def read(one: DetectedObject) -> str:
        return colour_of[id(one)]

    decided = [decide(facts, selected[str(facts["tag"])], read) for facts in prompts]
    return [(one.correct, one.reason) for one in decided]


def _prompts(found: Iterable[DetectedObject]) -> Iterator[dict[str, Any]]:
    """GenEval's six tasks about the categories that either side found, best first."""
    best: dict[str, float] = {}
    for one in found:
        if one.score > FLOOR:
            best[one.category] = max(one.score, best.get(one.category, 0.0))
    ranked = sorted(best, key=lambda category: (-best[category], category))
    makers: tuple[Callable[[str], Iterator[dict[str, Any]]], ...] = (_alone, _counted, _coloured)
    for category in ranked:
        for make in makers:
            yield from make(category)
    for first, second in permutations(ranked[:_PAIRED], 2):
        include = [_clause(first), _clause(second)]
        yield {"tag": "two_object", "include": include}
        for relation in RELATIONS:
            placed = {**_clause(second), "position": [relation, 0]}
            yield {"tag": "position", "include": [_clause(first), placed]}
        mixed = [_clause(first, color="red"), _clause(second, color="white")]
        yield {"tag": "color_attr", "include": mixed}


def _clause(category: str, *, count: int = 1, **more: str) -> dict[str, Any]:
    return {"class": category, "count": count, **more}


def _alone(category: str) -> Iterator[dict[str, Any]]:
    yield {"tag": "single_object", "include": [_clause(category)]}


def _counted(category: str) -> Iterator[dict[str, Any]]:
    for count in (2, 3, 4):
        yield {
            "tag": "counting",
            "include": [_clause(category, count=count)],
            "exclude": [_clause(category, count=count + 1)],
        }


def _coloured(category: str) -> Iterator[dict[str, Any]]:
    for colour in COLOURS:
        yield {"tag": "colors", "include": [_clause(category, color=colour)]}
