"""Batches of the nano detector's training: images roughened the way generators roughen them.

Blur, enlargement from few pixels, noise, exposure, saturation, small cut-outs and mirroring; none
of them changes a colour's name. A batch is a pure function of its shard rows and the generator.

Shapes: B images, S canonical side, N object slots, H W cells.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from alphabench.nano.detector_network import SIDE, squares_to_pixels
from tools.nano_detector.losses import Labels
from tools.nano_detector.pool import Shard

PARTS = 4
"""A batch is cut into so many parts; each is blurred in one way."""


def plain_batch(rows: Shard) -> tuple[Tensor, Labels]:
    """Pixels in [-1, 1] and labels, nothing changed."""
    category_BN = rows.category_RN.astype(np.int64)
    colour_BN = rows.colour_RN.astype(np.int64)
    labels = Labels(
        owner_BHW=torch.from_numpy(rows.owner_RHW.astype(np.int64)),
        box_BN4=torch.from_numpy(rows.box_RN4),
        category_BN=torch.from_numpy(np.where(category_BN == 255, -1, category_BN)),
        colour_BN=torch.from_numpy(np.where(colour_BN == 255, -1, colour_BN)),
    )
    return squares_to_pixels(rows.picture_RSS3), labels


def rough_batch(rows: Shard, rng: np.random.Generator) -> tuple[Tensor, Labels]:
    """The batch as it is trained on: every image changed in some ways, a fifth hardly."""
    flip_B = rng.random(len(rows.picture_RSS3)) < 0.5
    pixels_B3SS, labels = plain_batch(_mirrored(rows, flip_B))
    parts = [_softened(part, rng) for part in pixels_B3SS.chunk(PARTS)]
    pixels_B3SS = _exposed(torch.cat(parts), rng)
    _cut_out(pixels_B3SS, rng)
    noise = torch.from_numpy(rng.standard_normal(pixels_B3SS.shape, dtype=np.float32))
    strength_B = rng.choice([0.0, 1.0], size=len(noise)) * rng.uniform(0.0, 0.12, len(noise))
    pixels_B3SS += noise * _per_picture(strength_B)
    return pixels_B3SS.clamp_(-1.0, 1.0), labels


def _mirrored(rows: Shard, flip_B: np.ndarray) -> Shard:
    image, owner, box = rows.picture_RSS3.copy(), rows.owner_RHW.copy(), rows.box_RN4.copy()
    image[flip_B] = image[flip_B, :, ::-1]
    owner[flip_B] = owner[flip_B, :, ::-1]
    box[flip_B] = np.stack(
        [
            SIDE - box[flip_B, :, 2],
            box[flip_B, :, 1],
            SIDE - box[flip_B, :, 0],
            box[flip_B, :, 3],
        ],
        axis=-1,
    )
    return rows._replace(picture_RSS3=image, owner_RHW=owner, box_RN4=box)


def _softened(pixels_B3SS: Tensor, rng: np.random.Generator) -> Tensor:
    """As it is, or from fewer pixels, or through a Gaussian."""
    kind = rng.random()
    if kind < 0.35:
        return pixels_B3SS
    if kind < 0.7:
        few = int(rng.integers(36, 100))
        small = functional.interpolate(pixels_B3SS, size=(few, few), mode="area")
        mode = "bilinear" if rng.random() < 0.7 else "bicubic"
        return functional.interpolate(small, size=(SIDE, SIDE), mode=mode)
    sigma = float(rng.uniform(0.5, 2.2))
    reach = math.ceil(2.5 * sigma)
    steps = torch.arange(-reach, reach + 1, dtype=torch.float32)
    bell = torch.exp(-(steps**2) / (2 * sigma**2))
    bell = (bell / bell.sum()).expand(3, 1, -1)
    padded = functional.pad(pixels_B3SS, (reach,) * 4, mode="replicate")
    rows = functional.conv2d(padded, bell[:, :, None, :], groups=3)
    return functional.conv2d(rows, bell[:, :, :, None], groups=3)


def _exposed(pixels_B3SS: Tensor, rng: np.random.Generator) -> Tensor:
    """Slight contrast, brightness, saturation and white balance, for each image anew."""
    count = len(pixels_B3SS)
    grey_B1SS = pixels_B3SS.mean(dim=1, keepdim=True)
    saturation = _per_picture(rng.uniform(0.8, 1.12, count))
    contrast = _per_picture(rng.uniform(0.85, 1.12, count))
    brightness = _per_picture(rng.uniform(-0.08, 0.08, count))
    balance_B311 = torch.from_numpy(rng.uniform(-0.04, 0.04, (count, 3, 1, 1)).astype(np.float32))
    coloured_B3SS = grey_B1SS + (pixels_B3SS - grey_B1SS) * saturation
    return coloured_B3SS * contrast + brightness + balance_B311


def _cut_out(pixels_B3SS: Tensor, rng: np.random.Generator) -> None:
    """A small square of one colour into a quarter of the images, in place."""
    for row in np.nonzero(rng.random(len(pixels_B3SS)) < 0.25)[0]:
        side = int(rng.integers(3, 11))
        x, y = rng.integers(0, SIDE - side, size=2)
        colour = torch.from_numpy(rng.uniform(-1.0, 1.0, (3, 1, 1)).astype(np.float32))
        pixels_B3SS[row, :, y : y + side, x : x + side] = colour


def _per_picture(value_B: np.ndarray) -> Tensor:
    return torch.from_numpy(value_B.astype(np.float32))[:, None, None, None]
