"""mmdet's preprocessing of an image, for its releases 2 and 3.

Promises OpenCV's pixels without OpenCV: bytes are resized in the fixed-point arithmetic of its
bilinear interpolation, to the last bit. Knows no network. What the two releases do differs:

- mmdet 2.x (which GenEval used) resizes bytes and pads them with grey 128, then normalises;
- mmdet 3.x resizes floats, normalises, and pads with 0, which is the mean colour.

Both bring the short side to 800 unless the long one would pass 1333, keep the proportions, and pad
right and below to a multiple of 32. An image whose sides are multiples of 32 then gets no padding.

Shapes: H W of the image, h w after resizing, P Q after padding, C channels (red, green, blue).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Release = Literal["2", "3"]

SHORT_SIDE: Final = 800
LONG_SIDE: Final = 1333
DIVISOR: Final = 32
_GREY: Final = 128
_MEAN: Final = (123.675, 116.28, 103.53)
_STD: Final = (58.395, 57.12, 57.375)
_ONE: Final = 2048
"""1.0 in OpenCV's fixed point (INTER_RESIZE_COEF_SCALE)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Size of the resized image; the defaults are those of mmdet's configuration."""

    short_side: int = SHORT_SIDE
    long_side: int = LONG_SIDE


class Prepared(NamedTuple):
    """An image as the network gets it."""

    pixels_CPQ: Tensor
    content: tuple[int, int]
    """(h, w) of the image without padding."""


def prepare(rgb_HWC: NDArray[np.uint8], *, release: Release, scale: Scale) -> Prepared:
    """Resize, normalise and pad one image as the named release of mmdet does."""
    height, width = rgb_HWC.shape[:2]
    h, w = content_size(height, width, scale)
    bottom, right = -h % DIVISOR, -w % DIVISOR
    if release == "2":
        bytes_hwC = resize_bytes(rgb_HWC, h, w)
        padded_PQC = np.pad(
            bytes_hwC, ((0, bottom), (0, right), (0, 0)), constant_values=_GREY
        ).astype(np.float32)
        return Prepared(_normalised(padded_PQC), (h, w))
    pixels_Chw = _normalised(resize_floats(rgb_HWC.astype(np.float32), h, w))
    return Prepared(torch.nn.functional.pad(pixels_Chw, (0, right, 0, bottom)), (h, w))


def content_size(height: int, width: int, scale: Scale) -> tuple[int, int]:
    """(h, w) after mmcv's `imrescale`: one factor for both sides, rounded half up.

    Raises:
        ValueError: the image is so narrow that a side becomes 0.
    """
    factor = min(
        scale.long_side / max(height, width),
        scale.short_side / min(height, width),
    )
    h, w = int(height * factor + 0.5), int(width * factor + 0.5)
    if h < 1 or w < 1:
        raise ValueError(f"an image of {width} x {height} has no height or width left at {w} x {h}")
    return h, w


def resize_bytes(image_HWC: NDArray[np.uint8], h: int, w: int) -> NDArray[np.uint8]:
    """OpenCV's bilinear `resize` of bytes, bit for bit.

    Weights are multiples of 1/2048; rows are summed as (S >> 4) * b >> 16 each, then + 2 >> 2.
    Exactly half the size is the rounded mean of four pixels, for which OpenCV has a path of its
    own.
    """
    height, width = image_HWC.shape[:2]
    if (h, w) == (height, width):
        return image_HWC
    if (2 * h, 2 * w) == (height, width):
        four = image_HWC.reshape(h, 2, w, 2, -1).astype(np.int32).sum(axis=(1, 3))
        halved_hwC: NDArray[np.uint8] = ((four + 2) >> 2).astype(np.uint8)
        return halved_hwC
    low_w, high_w, part_w = _neighbours(width, w, dtype=np.float32)
    low_h, high_h, part_h = _neighbours(height, h, dtype=np.float32, at_edge=True)
    right_w, down_h = (np.rint(part * _ONE).astype(np.int32) for part in (part_w, part_h))
    left_w, up_h = (
        np.rint((np.float32(1) - part) * _ONE).astype(np.int32) for part in (part_w, part_h)
    )
    wide_HwC = image_HWC[:, low_w].astype(np.int32) * left_w[:, None]
    wide_HwC += image_HWC[:, high_w].astype(np.int32) * right_w[:, None]
    wide_HwC >>= 4
    upper_hwC = (wide_HwC[low_h] * up_h[:, None, None]) >> 16
    upper_hwC += (wide_HwC[high_h] * down_h[:, None, None]) >> 16
    resized_hwC: NDArray[np.uint8] = ((upper_hwC + 2) >> 2).astype(np.uint8)
    return resized_hwC


def resize_floats(image_HWC: NDArray[np.float32], h: int, w: int) -> NDArray[np.float32]:
    """OpenCV's bilinear `resize` of floats, up to the rounding of single precision.

    As its builds for x86 do it, which find places in double precision; others use single, which
    moves a value by up to 0.02 of 255.
    """
    height, width = image_HWC.shape[:2]
    if (h, w) == (height, width):
        return image_HWC
    low_w, high_w, part_w = _neighbours(width, w, dtype=np.float64)
    low_h, high_h, part_h = _neighbours(height, h, dtype=np.float64)
    right_w1, down_h11 = part_w[:, None], part_h[:, None, None]
    one = np.float32(1)
    wide_HwC = image_HWC[:, low_w] * (one - right_w1) + image_HWC[:, high_w] * right_w1
    resized_hwC: NDArray[np.float32] = wide_HwC[low_h] * (one - down_h11)
    resized_hwC += wide_HwC[high_h] * down_h11
    return resized_hwC


def _neighbours(
    size: int, wanted: int, *, dtype: type[np.floating[Any]], at_edge: bool = False
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For each new place: the two old ones around it, and the second one's weight.

    Args:
        size: of the old axis.
        wanted: of the new one.
        dtype: in which places are computed.
        at_edge: keep a weight between the edge and itself, as OpenCV does along columns; in fixed
            point that rounds otherwise than the edge alone.
    """
    place = ((np.arange(wanted) + 0.5) * (size / wanted) - 0.5).astype(dtype)
    low = np.floor(place).astype(np.intp)
    part = (place - low.astype(dtype)).astype(np.float32)
    if not at_edge:
        part = np.where((low < 0) | (low >= size - 1), np.float32(0), part)
    return low.clip(0, size - 1), (low + 1).clip(0, size - 1), part


def _normalised(image_PQC: NDArray[np.float32]) -> Tensor:
    """(C, P, Q), each channel less ImageNet's mean and over its deviation."""
    mean, std = np.array(_MEAN, dtype=np.float32), np.array(_STD, dtype=np.float32)
    return torch.from_numpy((image_PQC - mean) / std).permute(2, 0, 1).contiguous()
