"""Pairs the objects that two detectors report in one image. Knows no detector and no rule.

Promises that each object above `FLOOR` has a partner in the other list or is counted as alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from alphabench.detections.objects import DetectedObject

Found = Sequence[DetectedObject]


FLOOR: Final = 0.05
"""Objects up to this score are only looked at as partners."""


def pair_up(ours: Found, theirs: Found) -> tuple[list[tuple[DetectedObject, DetectedObject]], int]:
    """Pairs of one category of which either exceeds the floor, and how many are left alone."""
    pairs: list[tuple[DetectedObject, DetectedObject]] = []
    alone = 0
    for category in sorted({one.category for one in [*ours, *theirs]}):
        left = [one for one in ours if one.category == category]
        right = [one for one in theirs if one.category == category]
        cost = np.array([[pairing_cost(one, other) for other in right] for one in left])
        rows, columns = linear_sum_assignment(cost) if cost.size else ((), ())
        matched = [(left[i], right[j]) for i, j in zip(rows, columns, strict=True)]
        pairs += [pair for pair in matched if above_floor(pair)]
        left_over = [one for i, one in enumerate(left) if i not in set(rows)]
        left_over += [one for j, one in enumerate(right) if j not in set(columns)]
        alone += len(above_floor(left_over))
    return pairs, alone


def above_floor(objects: Iterable[DetectedObject]) -> list[DetectedObject]:
    """The objects whose score exceeds `FLOOR`, in order."""
    return [one for one in objects if one.score > FLOOR]


def pairing_cost(one: DetectedObject, other: DetectedObject) -> float:
    """0 to 3: the difference of scores, and 1 - IoU of boxes and of masks (at every fourth pixel).

    Masks count because queries of a detector may share a box, but not a mask.
    """
    apart = abs(one.score - other.score) + 1.0 - box_iou(one.box, other.box)
    masks = [None if of.mask is None else of.mask[::4, ::4] for of in (one, other)]
    return apart + 1.0 - mask_iou(masks[0], masks[1])


def box_iou(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> float:
    """Intersection over union of two boxes, 0 to 1; of two empty boxes, 1 if they are equal."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    union = sum(areas) - shared
    return shared / union if union > 0 else float(one == other)


def mask_iou(one: NDArray[np.bool_] | None, other: NDArray[np.bool_] | None) -> float:
    """Intersection over union of two (H, W) masks, 0 to 1; 1 where both are None or empty."""
    if one is None or other is None:
        return float(one is other)
    union = np.count_nonzero(one | other)
    return float(np.count_nonzero(one & other) / union) if union else 1.0
