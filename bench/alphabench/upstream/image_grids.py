"""Files that hold four images, two by two, row by row. Knows no benchmark."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from alphabench.core.errors import AlphaBenchError
from alphabench.upstream.layouts import (
    FolderOptions,
    Listing,
    choose_model,
    files_inside,
    is_image_file,
    listing_of,
)

if TYPE_CHECKING:
    from PIL.Image import Image


def quarters(grid: Image) -> list[Image]:
    """The four images; an odd row or column of pixels at the end is left over."""
    width, height = grid.width // 2, grid.height // 2
    corners = [(x, y) for y in (0, height) for x in (0, width)]
    return [grid.crop((x, y, x + width, y + height)) for x, y in corners]


def find_grids(groups: Sequence[str]) -> Callable[[Path, FolderOptions], Listing]:
    """A `Layout.find` of `GROUP/MODEL/000.webp`, by `GROUP/000`: the number opens a file's name.

    Args:
        groups: the folders.
    """

    def find(root: Path, options: FolderOptions) -> Listing:
        folders = [folder for group in groups for folder in sorted(root.glob(f"{group}/*/"))]
        model = choose_model(root, (folder.name for folder in folders), options.model)
        found = (
            (f"{folder.parent.name}/{file.name[:3]}", index, file)
            for folder in folders
            if folder.name == model
            for file in files_inside(folder)
            if is_image_file(file) and file.name[:3].isdecimal()
            for index in range(options.cells)
        )
        return listing_of(root, found)

    return find


def grid_cells(grid: Image, _: str, options: FolderOptions) -> list[Image]:
    """A `Layout.split`: the quarters of a file, or with `cells=1` the file itself."""
    return [grid] if options.cells == 1 else quarters(grid)


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
