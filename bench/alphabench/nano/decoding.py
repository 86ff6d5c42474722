"""From the nano detector's dense maps to objects: peaks, votes, and what each object's cells say.

Cells on an object vote for its centre (the grouping of Panoptic-DeepLab, arXiv:1911.10194); every
object then reads its category, colour and box from all cells that voted for it. Pure functions of
one image's maps; knows no network, no weights file and no threshold.

Shapes: H W cells, C categories plus background (index 0), K colours, N peaks, P cells on objects,
F calibration features; Y X pixels of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alphabench.nano.detector_network import BOX_UNIT, SIDE, STRIDE, Placement

Floats = NDArray[np.float32]

MAX_PEAKS: Final = 32
LOWEST_PEAK: Final = 0.05
"""Peaks below are not followed: they never become a counted object."""
FARTHEST_VOTE: Final = 3.0
"""Cells; a vote farther from every peak belongs to an object whose peak was not found."""
SAME_OBJECT_IOU: Final = 0.6
"""Two peaks whose boxes overlap by more are one object."""
FEATURES: Final = ("bias", "peak", "category", "support")


class ImageMaps(NamedTuple):
    """One image's maps; the same quantities as `detector.Maps`."""

    centre_HW: Floats
    category_CHW: Floats
    colour_KHW: Floats
    offset_2HW: Floats
    box_4HW: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Group:
    """The cells of one object and what they say together."""

    category: int
    """Index among the categories, background not counted."""
    colour: int
    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in canonical pixels."""
    features: tuple[float, ...]
    """In the order of `FEATURES`; what a score is calibrated from."""
    soft_HW: Floats
    """Probability that a cell belongs to this object."""


def find_groups(maps: ImageMaps, *, lowest_peak: float = LOWEST_PEAK) -> list[Group]:
    """All objects of one image, most certain peak first; an empty list where there is none."""
    heat_HW = _sigmoid(maps.centre_HW)
    peaks_N2 = find_peaks(heat_HW, lowest=lowest_peak)
    category_CHW = _log_softmax(maps.category_CHW)
    object_HW = 1.0 - np.exp(category_CHW[0])
    owner_HW = assign_cells(maps.offset_2HW, object_HW > 0.5, peaks_N2)
    colour_KHW = _log_softmax(maps.colour_KHW)
    edges_4HW = box_edges(maps.box_4HW)
    groups = []
    for index, (row, column) in enumerate(peaks_N2):
        mine_HW = owner_HW == index
        if not mine_HW.any():
            continue
        weight_P = object_HW[mine_HW]
        kind_C = _pooled(category_CHW[1:, mine_HW], weight_P)
        box = np.median(edges_4HW[:, mine_HW], axis=1)
        kind = int(kind_C.argmax())
        groups.append(
            Group(
                category=kind,
                colour=int(_pooled(colour_KHW[:, mine_HW], weight_P).argmax()),
                box=_ordered(box),
                features=(
                    1.0,
                    _logit(float(heat_HW[row, column])),
                    _logit(float(kind_C[kind])),
                    _support(mine_HW, box),
                ),
                soft_HW=(object_HW * mine_HW).astype(np.float32),
            )
        )
    return _without_doubles(groups)


def find_peaks(heat_HW: Floats, *, lowest: float) -> NDArray[np.intp]:
    """(N, 2) rows and columns of cells above `lowest` that no neighbour exceeds, highest first."""
    padded = np.pad(heat_HW, 1, constant_values=-np.inf)
    around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).max(axis=(2, 3))
    rows, columns = np.nonzero((heat_HW >= around) & (heat_HW > lowest))
    order = np.argsort(-heat_HW[rows, columns], kind="stable")[:MAX_PEAKS]
    return np.stack([rows, columns], axis=1)[order]


def assign_cells(
    offset_2HW: Floats, on_object_HW: NDArray[np.bool_], peaks_N2: NDArray[np.intp]
) -> NDArray[np.intp]:
    """(H, W) index of the peak nearest to where each cell votes; -1 where there is none."""
    owner_HW = np.full(on_object_HW.shape, -1, dtype=np.intp)
    if not len(peaks_N2) or not on_object_HW.any():
        return owner_HW
    rows_P, columns_P = np.nonzero(on_object_HW)
    x_P = columns_P + offset_2HW[0, rows_P, columns_P]
    y_P = rows_P + offset_2HW[1, rows_P, columns_P]
    distance_PN = np.hypot(x_P[:, None] - peaks_N2[:, 1], y_P[:, None] - peaks_N2[:, 0])
    near_P = distance_PN.min(axis=1) <= FARTHEST_VOTE
    owner_HW[rows_P[near_P], columns_P[near_P]] = distance_PN.argmin(axis=1)[near_P]
    return owner_HW


def box_edges(box_4HW: Floats) -> Floats:
    """(4, H, W) x1, y1, x2, y2 in canonical pixels that each cell claims for its object."""
    height, width = box_4HW.shape[1:]
    x_W = (np.arange(width, dtype=np.float32) + 0.5) * STRIDE
    y_H = (np.arange(height, dtype=np.float32) + 0.5) * STRIDE
    reach_4HW = box_4HW * (BOX_UNIT * STRIDE)
    edges_4HW = np.empty_like(reach_4HW)
    edges_4HW[0], edges_4HW[1] = x_W - reach_4HW[0], y_H[:, None] - reach_4HW[1]
    edges_4HW[2], edges_4HW[3] = x_W + reach_4HW[2], y_H[:, None] + reach_4HW[3]
    return edges_4HW


def calibrated(features: Sequence[float], weights: Sequence[float]) -> float:
    """Probability that an object is right: the logistic function of the weighted features."""
    total = sum(f * w for f, w in zip(features, weights, strict=True))
    return float(1.0 / (1.0 + np.exp(-np.clip(total, -30.0, 30.0))))


def box_in_image(
    box: tuple[float, float, float, float], placement: Placement
) -> tuple[float, float, float, float]:
    """Canonical pixels -> pixels of the image, cut at its edges."""
    x1, y1, x2, y2 = (edge / placement.scale for edge in box)
    right, bottom = float(placement.width), float(placement.height)
    return max(x1, 0.0), max(y1, 0.0), min(x2, right), min(y2, bottom)


def mask_in_image(soft_HW: Floats, placement: Placement) -> NDArray[np.bool_]:
    """(Y, X) pixels of the image where the object is more likely than not."""
    size = placement.width, placement.height
    right, bottom = (min(side * placement.scale, SIDE) / STRIDE for side in size)
    soft = Image.fromarray(soft_HW)
    grown = soft.resize(size, Image.Resampling.BILINEAR, box=(0.0, 0.0, right, bottom))
    mask_YX: NDArray[np.bool_] = np.asarray(grown) > 0.5
    return mask_YX


def _pooled(log_KP: Floats, weight_P: Floats) -> Floats:
    """(K,) probabilities: the weighted mean of the cells' log-probabilities, normalised again."""
    mean_K = (log_KP * weight_P).sum(axis=1) / weight_P.sum()
    return np.asarray(np.exp(_log_softmax(mean_K)), dtype=np.float32)


def _support(mine_HW: NDArray[np.bool_], box: Floats) -> float:
    """Log of the share of the claimed box that the object's cells cover, at most 0."""
    area = max(float((box[2] - box[0]) * (box[3] - box[1])) / STRIDE**2, 1.0)
    return float(np.log(min(mine_HW.sum() / area, 1.0)))


def _without_doubles(groups: Sequence[Group]) -> list[Group]:
    """Peaks on one object become one group: the earlier takes the cells of the later."""
    kept: list[Group] = []
    for group in groups:
        twin = next((i for i, k in enumerate(kept) if _iou(k.box, group.box) > SAME_OBJECT_IOU), -1)
        if twin < 0:
            kept.append(group)
        else:
            first = kept[twin]
            kept[twin] = Group(
                category=first.category,
                colour=first.colour,
                box=first.box,
                features=first.features,
                soft_HW=np.maximum(first.soft_HW, group.soft_HW),
            )
    return kept


def _iou(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    both = width * height
    either = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / either if either > 0.0 else 0.0


def _ordered(box_4: Floats) -> tuple[float, float, float, float]:
    """The box with its edges in order: an untrained output may cross them."""
    x1, y1, x2, y2 = (float(edge) for edge in box_4)
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(x, -30.0, 30.0))), dtype=np.float32)


def _log_softmax(x: Floats) -> Floats:
    shifted = x - x.max(axis=0, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=0, keepdims=True)), np.float32)


def _logit(probability: float) -> float:
    bounded = min(max(probability, 1e-4), 1.0 - 1e-4)
    return float(np.log(bounded / (1.0 - bounded)))
