"""Softens and spoils pictures the way generators do, and grades what is left of them."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

_MARRED: Final = 0.45
"""Share of pictures that are not left as they were drawn."""
_SPOILT: Final = 0.18
"""Share of those that are spoilt beyond use."""
CLEAR_GRADE: Final = 5
"""From this grade on a picture's content is plain enough to ask about."""


def spoilt(image: Image.Image, rng: np.random.Generator) -> tuple[Image.Image, int]:
    """The picture, perhaps marred, and a grade of 1 to 10 for how well it is made."""
    if rng.random() >= _MARRED:
        return image, 10
    if rng.random() < _SPOILT:
        return marred(image, float(rng.uniform(0.7, 1.0)), rng)
    return marred(image, float(rng.uniform(0.0, 0.5)), rng)


def marred(
    image: Image.Image, strength: float, rng: np.random.Generator
) -> tuple[Image.Image, int]:
    """Marred in one or two ways; strength 0 is hardly visible, 1 leaves nothing whole."""
    ways = [_blurred, _noisy, _smeared, _warped, _coarse]
    for way in rng.permutation(len(ways))[: 1 + int(rng.random() < 0.4)]:
        image = ways[way](image, strength, rng)
    return image, max(1, round(10 - 9 * strength))


def _blurred(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    radius = 0.4 + 4.5 * strength**1.7 * rng.uniform(0.8, 1.2)
    return image.filter(ImageFilter.GaussianBlur(radius))


def _noisy(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    pixels = np.asarray(image, np.float32)
    grain = rng.standard_normal(pixels.shape, np.float32) * np.float32(3 + 85 * strength**1.7)
    return Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))


def _smeared(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Drawn out along a line of 2 to 22 pixels."""
    length = 2 + int(20 * strength**1.5)
    angle = rng.uniform(0, np.pi)
    pixels = np.asarray(image, np.float32)
    total = np.zeros_like(pixels)
    for step in range(length):
        along = step - length / 2
        dx, dy = round(along * np.cos(angle)), round(along * np.sin(angle))
        total += np.roll(pixels, (dy, dx), (0, 1))
    return Image.fromarray((total / length).astype(np.uint8))


def _warped(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Every pixel is fetched from up to 14 pixels away, neighbours from neighbouring places."""
    reach = 1.0 + 13.0 * strength**1.5
    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    y += _field(rng, (width, height)) * reach
    x += _field(rng, (width, height)) * reach
    rows = np.clip(np.rint(y), 0, height - 1).astype(np.intp)
    columns = np.clip(np.rint(x), 0, width - 1).astype(np.intp)
    return Image.fromarray(pixels[rows, columns])


def _field(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float32]:
    coarse = rng.uniform(-1, 1, size=(9, 9)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))


def _coarse(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Reduced and enlarged again."""
    side = max(5, round(image.width * (0.8 - 0.72 * strength**0.7) * rng.uniform(0.9, 1.1)))
    small = image.resize((side, side), Image.Resampling.BOX)
    return small.resize(image.size, Image.Resampling.BICUBIC)
