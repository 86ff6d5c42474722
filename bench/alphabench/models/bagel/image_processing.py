"""Image preprocessing: the size rule, pixels in [-1, 1], patches of the vision encoder, uint8 out.

Sizes and rounding follow the reference's inference transforms; knows no weights.

Shapes: Y X pixels; T patches, row after row; C features of a patch (row, column, channel).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeRule:
    """How large an image may be, in pixels."""

    longest: int
    shortest: int
    """Of the short side, unless that makes the long one too long."""
    stride: int
    """Both sides become multiples of it."""
    most_pixels: int = 14 * 14 * 9 * 1024
    """Area above which an image is shrunk once more; only unusual rules reach it."""

    def size(self, width: int, height: int, *, images: int = 1) -> tuple[int, int]:
        """Width and height after resizing, where `images` of them share the largest area."""
        scale = min(self.longest / max(width, height), 1.0)
        scale = max(scale, self.shortest / min(width, height))
        sides = self._scaled((width, height), scale)
        area, most = sides[0] * sides[1], self.most_pixels / images
        if area > most:
            # The reference uses this ratio of areas for the sides, and so shrinks too much.
            sides = self._scaled(sides, most / area)
        if max(sides) > self.longest:
            sides = self._scaled(sides, self.longest / max(sides))
        return sides

    def resized(self, image: Image.Image) -> Image.Image:
        """The image in that size, by bicubic interpolation."""
        size = self.size(*image.size)
        return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)

    def _scaled(self, sides: tuple[int, int], scale: float) -> tuple[int, int]:
        width, height = (
            max(self.stride, round(round(side * scale) / self.stride) * self.stride)
            for side in sides
        )
        return width, height


LATENT_SIZES: Final = SizeRule(longest=1024, shortest=512, stride=16)
"""The released model's, for images to edit; also applied before `PATCH_SIZES`."""
PATCH_SIZES: Final = SizeRule(longest=980, shortest=224, stride=14)
"""The released model's, for images to understand."""


def image_to_pixels(image: Image.Image) -> Tensor:
    """An RGB image as [3, Y, X] in [-1, 1], float32."""
    values = torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1).float()
    return (values / 255.0 - 0.5) / 0.5


def to_patches(pixels_3YX: Tensor, side: int) -> Tensor:
    """Patches [T, C] of `side` x `side` pixels; both sides of the image are multiples of it."""
    channels, height, width = pixels_3YX.shape
    cut = pixels_3YX.reshape(channels, height // side, side, width // side, side)
    return cut.permute(1, 3, 2, 4, 0).reshape(-1, side * side * channels)


def pixels_to_levels(pixels_B3YX: Tensor) -> Tensor:
    """Decoded images as uint8 [B, Y, X, 3], where they are; 255 values are cut off, not rounded."""
    values_B3YX = (pixels_B3YX.float() * 0.5 + 0.5).clamp(0, 1) * 255
    return values_B3YX.permute(0, 2, 3, 1).to(torch.uint8)
