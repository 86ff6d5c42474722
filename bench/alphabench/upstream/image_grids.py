"""Files that hold four images, two by two, row by row. Knows no benchmark."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from alphabench.core.errors import AlphaBenchError

if TYPE_CHECKING:
    from PIL.Image import Image


def quarters(grid: Image) -> list[Image]:
    """The four images; an odd row or column of pixels at the end is left over."""
    width, height = grid.width // 2, grid.height // 2
    corners = [(x, y) for y in (0, height) for x in (0, width)]
    return [grid.crop((x, y, x + width, y + height)) for x, y in corners]


def grid_bytes(images: Mapping[int, Image], *, name: str) -> bytes:
    """A lossless WebP file of one to four images by position, black where there is none.

    Args:
        images: RGB.
        name: of what they show, for the error.

    Raises:
        AlphaBenchError: they have several sizes.
    """
    from PIL import Image as Pillow

    if len(sizes := {image.size for image in images.values()}) != 1:
        raise AlphaBenchError(
            f"the images of {name!r} have {len(sizes)} sizes, and upstream's grids hold one",
            hint="generate them in one size: --size",
        )
    ((width, height),) = sizes
    grid = Pillow.new("RGB", (2 * width, 2 * height))
    for place, image in images.items():
        grid.paste(image, (place % 2 * width, place // 2 * height))
    target = io.BytesIO()
    grid.save(target, format="WEBP", lossless=True)
    return target.getvalue()
