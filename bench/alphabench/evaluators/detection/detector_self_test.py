"""The self-test of detectors and colour readers: images with known answers.

A build that finds nothing, finds everything, or mixes up labels or colours does not score. Knows no
model. The test detects broken builds, not small differences: three photographs and four balls say
nothing about accuracy. The expectations were written without the trained weights, so the test has
not been run with them yet; they are limited to what is large and unmistakable in the images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image as PillowImage

from alphabench.core.errors import AlphaBenchError
from alphabench.detections.objects import DetectedObject
from alphabench.evaluators.detection.detector import ColourQuery, ColourReader, Detector
from alphabench.images import open_rgb

if TYPE_CHECKING:
    from PIL.Image import Image

HINT: Final = (
    "this build must not score: choose other weights or versions, "
    "or look closer with `alphabench doctor`"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a detector must and must not find in one bundled photograph."""

    file: str
    shown: str
    """A category that fills much of the image."""
    absent: tuple[str, ...]
    """Categories that nothing in the image resembles."""


EXPECTATIONS: Final = (
    Expectation(file="person.jpg", shown="person", absent=("cat", "cup", "pizza", "zebra")),
    Expectation(file="cat.jpg", shown="cat", absent=("person", "cup", "pizza", "zebra")),
    Expectation(file="cup.jpg", shown="cup", absent=("person", "cat", "zebra", "giraffe")),
)
BALLS: Final[Mapping[str, tuple[int, int, int]]] = {
    "red": (200, 20, 25),
    "yellow": (240, 215, 20),
    "green": (25, 140, 45),
    "blue": (25, 60, 200),
}
"""Unambiguous colours."""


def run_detector_self_test(detector: Detector, colours: ColourReader) -> None:
    """Evaluates three photographs and four rendered balls.

    Raises:
        AlphaBenchError: names the first wrong answer.
    """
    photographs = [_photograph(one.file) for one in EXPECTATIONS]
    for expected, found in zip(EXPECTATIONS, detector.detect(photographs), strict=True):
        _check_objects(expected, found, threshold=detector.thresholds.score)
    balls = [_ball_query(colour) for colour in BALLS.values()]
    for wanted, read in zip(BALLS, colours.read(balls), strict=True):
        if read != wanted:
            raise AlphaBenchError(
                f"the self-test failed: the colour reader calls a {wanted} ball {read!r}",
                hint=HINT,
            )


def _check_objects(
    expected: Expectation, found: Sequence[DetectedObject], *, threshold: float
) -> None:
    def best(category: str) -> float:
        return max((one.score for one in found if one.category == category), default=0.0)

    if any(not math.isfinite(one.score) for one in found):
        raise AlphaBenchError(
            f"the self-test failed: scores in {expected.file} are not finite", hint=HINT
        )
    if best(expected.shown) <= threshold:
        raise AlphaBenchError(
            f"the self-test failed: no {expected.shown} above {threshold} in {expected.file} "
            f"(best: {best(expected.shown):.3f}; objects of any kind: {len(found)})",
            hint=HINT,
        )
    for category in expected.absent:
        if best(category) > threshold:
            raise AlphaBenchError(
                f"the self-test failed: a {category} in {expected.file} "
                f"with score {best(category):.3f}",
                hint=HINT,
            )


def _photograph(name: str) -> Image:
    folder = files("alphabench.evaluators.detection") / "self_test_images"
    return open_rgb((folder / name).read_bytes())


def _ball_query(colour: tuple[int, int, int]) -> ColourQuery:
    """A shaded ball on a light floor, with its mask and box."""
    side, radius = 256, 80
    y_HW, x_HW = np.mgrid[0:side, 0:side] - side / 2 + 0.5
    inside_HW = x_HW**2 + y_HW**2 < radius**2
    light_HW = 1.0 - 0.2 * np.hypot(x_HW + 25, y_HW + 30) / radius
    image_HW3 = np.full((side, side, 3), 225.0)
    image_HW3[inside_HW] = (light_HW[..., None] * np.array(colour, dtype=float))[inside_HW]
    low, high = side / 2 - radius, side / 2 + radius
    ball = DetectedObject(
        category="sports ball", score=1.0, box=(low, low, high, high), mask=inside_HW
    )
    image = PillowImage.fromarray(image_HW3.clip(0, 255).astype(np.uint8))
    return ColourQuery(image=image, found=ball)
