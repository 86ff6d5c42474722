"""Turns trained weights into the packaged file: folds, calibrates on held-out images, writes.

The score of a detection is calibrated to be the probability that it is right (its category is, and
its box overlaps the truth's by more than half), so that thresholds made for other detectors fit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from alphabench.core.writing import replace_file
from alphabench.detections.objects import Thresholds
from alphabench.nano.decoding import FEATURES, Group, ImageMaps, calibrated, find_groups
from alphabench.nano.detector_network import FORMAT, DetectorNet, folded, squares_to_pixels
from tools.nano_detector.pool import Shard

RIDGE = 1e-3
"""Of the logistic regression, per weight: keeps it finite on separable data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """One image: what was found, and what is true."""

    groups: list[Group]
    truth: list[tuple[int, int, tuple[float, ...]]]
    """(category, colour, box) of each object."""

    def right(self) -> list[bool]:
        """For each group, whether it is an object not found before, of the right category."""
        free = list(self.truth)
        verdicts = []
        for group in self.groups:
            match = next(
                (t for t in free if t[0] == group.category and _iou(t[2], group.box) > 0.5), None
            )
            verdicts.append(match is not None)
            if match is not None:
                free.remove(match)
        return verdicts


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Of a detector on one set of images; shares from 0 to 1."""

    recall: float
    precision: float
    colour: float
    """Objects found whose colour is right, `natural` included."""
    exact: float
    """Images in which every object, and nothing else, was found."""


def examine(net: DetectorNet, shard: Shard) -> list[Examined]:
    """Runs an evaluated network over a shard."""
    examined = []
    for row in range(len(shard.picture_RSS3)):
        pixels = squares_to_pixels(shard.picture_RSS3[row : row + 1])
        with torch.inference_mode():
            maps = net(pixels.to(memory_format=torch.channels_last))
        image = ImageMaps(maps.centre_B1HW[0, 0].numpy(), *(field[0].numpy() for field in maps[1:]))
        truth = [
            (int(category), int(colour), tuple(float(edge) for edge in box))
            for category, colour, box in zip(
                shard.category_RN[row], shard.colour_RN[row], shard.box_RN4[row], strict=True
            )
            if category != 255
        ]
        examined.append(Examined(groups=find_groups(image), truth=truth))
    return examined


def fit_calibration(examined: Sequence[Examined]) -> tuple[float, ...]:
    """Logistic regression of rightness on the features by Newton's method."""
    feature_PF = np.array([g.features for e in examined for g in e.groups])
    right_P = np.array([r for e in examined for r in e.right()], dtype=np.float64)
    weight_F = np.zeros(len(FEATURES))
    for _ in range(30):
        p_P = 1.0 / (1.0 + np.exp(-np.clip(feature_PF @ weight_F, -30, 30)))
        slope_F = feature_PF.T @ (p_P - right_P) + RIDGE * len(p_P) * weight_F
        bend_FF = (feature_PF.T * (p_P * (1 - p_P))) @ feature_PF
        bend_FF += RIDGE * len(p_P) * np.eye(len(weight_F))
        weight_F -= np.linalg.solve(bend_FF, slope_F)
    return tuple(float(w) for w in weight_F)


def quality(examined: Sequence[Examined], weights: Sequence[float], threshold: float) -> Quality:
    """With the detections whose calibrated score exceeds `threshold`."""
    found = true = right = coloured = exact = 0
    for image in examined:
        kept = [g for g in image.groups if calibrated(g.features, weights) > threshold]
        kept_picture = Examined(groups=kept, truth=image.truth)
        rights = kept_picture.right()
        found, true = found + len(kept), true + len(image.truth)
        right += sum(rights)
        coloured += _coloured(kept_picture)
        exact += all(rights) and len(kept) == len(image.truth)
    return Quality(
        recall=right / max(true, 1),
        precision=right / max(found, 1),
        colour=coloured / max(right, 1),
        exact=exact / max(len(examined), 1),
    )


def weights_file(net: DetectorNet, entries: Mapping[str, str]) -> bytes:
    """The bytes of a safetensors file: folded weights in half precision, and what they mean."""
    state = {
        name: tensor.half().contiguous(memory_format=torch.contiguous_format)
        for name, tensor in folded(net).items()
    }
    header = {"format": FORMAT, "design": net.design.to_json(), **entries}
    return save(state, metadata=header)


def export_detector(net: DetectorNet, held_out: Shard, path: Path) -> Quality:
    """Calibrates `net` (evaluation mode) on half of `held_out` and writes the weights file.

    Returns:
        How good it is on the other half.
    """
    half = len(held_out.picture_RSS3) // 2
    fitted = examine(net, held_out.rows(slice(half)))
    weights = fit_calibration(fitted)
    entries = {"calibration": json.dumps(dict(zip(FEATURES, weights, strict=True)))}
    replace_file(path, weights_file(net, entries))
    unseen = examine(net, held_out.rows(slice(half, None)))
    return quality(unseen, weights, Thresholds().score)


def _coloured(image: Examined) -> int:
    """How many right groups have the right colour."""
    free = list(image.truth)
    count = 0
    for group in image.groups:
        match = next(
            (t for t in free if t[0] == group.category and _iou(t[2], group.box) > 0.5), None
        )
        if match is not None:
            free.remove(match)
            count += match[1] == group.colour
    return count


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    both = width * height
    either = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / either if either > 0.0 else 0.0
