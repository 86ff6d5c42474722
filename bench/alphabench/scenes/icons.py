"""The shapes of the world, loaded once from the packaged icons (see `icons/README.md`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alphabench.images import open_unchanged

_FOLDER = Path(__file__).parent / "icons"
_SMALLEST_LEVEL = 12
"""Pixels; halving stops here."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Icon:
    """One shape in falling sizes, each half of the one before."""

    levels: tuple[Image.Image, ...]
    """RGBA, cropped to what is visible; the longest side of the first is 256 pixels."""
    shade: NDArray[np.float32]
    """(256,) luminance -> -1 (the icon's darkest) to 1 (its lightest), 0 where it is typical."""

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.levels[0].width / self.levels[0].height

    def mean_rgb(self) -> tuple[float, float, float]:
        """The icon's own colour, averaged over what is visible."""
        pixels = np.asarray(self.levels[-1], dtype=np.float64)
        weight = pixels[..., 3]
        red, green, blue = (pixels[..., :3] * weight[..., None]).sum((0, 1)) / weight.sum()
        return float(red), float(green), float(blue)


@cache
def load_icon(category: str) -> Icon:
    """The icon of a category of `CATEGORIES`."""
    full = open_unchanged(_FOLDER / f"{category.replace(' ', '_')}.png").convert("RGBA")
    full = full.crop(full.getchannel("A").getbbox())
    levels = [full]
    while max(levels[-1].size) >= 2 * _SMALLEST_LEVEL:
        levels.append(levels[-1].reduce(2))
    return Icon(levels=tuple(levels), shade=_shade_table(full))


def _shade_table(full: Image.Image) -> NDArray[np.float32]:
    """Maps luminance so that tinting keeps an icon's drawing whatever its own colours are."""
    luminance = np.asarray(full.convert("L"), dtype=np.float64)
    visible = luminance[np.asarray(full.getchannel("A")) >= 128]
    low, typical, high = np.percentile(visible, [3, 50, 97])
    # The floor keeps the faint shading of a nearly uniform icon from becoming contrast.
    steps = np.arange(256) - typical
    down, up = max(typical - low, 45.0), max(high - typical, 45.0)
    shade = np.clip(np.where(steps < 0, steps / down, steps / up), -1.0, 1.0)
    return np.asarray(shade, dtype=np.float32)
