"""How images get into a page: whole in its text, as thumbnails, or by a path to where they lie.

A page of a few hundred images holds them, so that it can be sent alone. A longer one refers to the
files of its run folder, and the browser loads each as it comes into view. Only files inside their
folder are read. Knows nothing of verdicts.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

from alphabench.core.files import UnreadableFileError, confined, read_bytes
from alphabench.images import MAX_FILE_BYTES, UnreadableImageError, open_rgb

MOST_EMBEDDED: Final = 500
"""A page of at most this many images holds them all."""
THUMBNAIL_PIXELS: Final = 384
"""The longer side of a thumbnail; the large view loads the stored file where it is there."""
SOURCE_PIXELS: Final = 512
"""The same for the source image of an edit, which lies outside the run folder."""
_SMALL_BYTES: Final = 48 * 1024
"""A PNG file of at most this size is embedded as it is: nothing need be decoded."""
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_MOST_THREADS: Final = 8


class StoredImage(NamedTuple):
    """Names an image file of a run."""

    root: Path
    """The folder that the file must lie in."""
    path: str
    """Relative to `root`, with slashes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownImage:
    """An image as a page has it."""

    source: str
    """A data URI or a relative URL; empty where the file cannot be read."""
    file: str
    """Relative URL of the stored file."""
    size: tuple[int, int] | None = None
    """Width and height of the stored image, where `source` is a thumbnail."""


def shown_images(
    images: Sequence[StoredImage], page_folder: Path, *, most_embedded: int
) -> list[ShownImage]:
    """Each image as a page in `page_folder` shows it.

    Args:
        images: in any order.
        page_folder: the folder of the page, from which relative URLs start.
        most_embedded: the number of images up to which all are embedded.
    """
    if len(images) > most_embedded:
        return [_referred(image, page_folder) for image in images]
    with _threads() as pool:
        sources = list(pool.map(_embedded, images))
    return [
        ShownImage(source=source, size=size, file=_url(image, page_folder))
        for image, (source, size) in zip(images, sources, strict=True)
    ]


def embedded_files(paths: Sequence[Path]) -> list[str]:
    """Data URIs of images anywhere on this machine, such as the source images of edits.

    Returns:
        The URIs; empty where a file cannot be read as an image.
    """
    with _threads() as pool:
        return [source for source, _ in pool.map(_embedded_source, paths)]


def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=min(_MOST_THREADS, os.cpu_count() or 1))


def _referred(image: StoredImage, page_folder: Path) -> ShownImage:
    url = _url(image, page_folder)
    return ShownImage(source=url, file=url)


def _url(image: StoredImage, page_folder: Path) -> str:
    if image.root == page_folder:
        return f"./{quote(image.path)}"
    try:
        folder = os.path.relpath(image.root.absolute(), page_folder.absolute())
    except ValueError:  # on another drive
        return f"{image.root.absolute().as_uri()}/{quote(image.path)}"
    return f"./{quote(Path(folder).as_posix())}/{quote(image.path)}"


def _embedded(image: StoredImage) -> tuple[str, tuple[int, int] | None]:
    """A data URI, empty for a file that cannot be read; and the size where it is a thumbnail."""
    try:
        path = confined(image.root, image.path)
    except UnreadableFileError:
        return "", None
    return _embedded_file(path, THUMBNAIL_PIXELS)


def _embedded_source(path: Path) -> tuple[str, tuple[int, int] | None]:
    return _embedded_file(path, SOURCE_PIXELS)


def _embedded_file(path: Path, pixels: int) -> tuple[str, tuple[int, int] | None]:
    try:
        content = read_bytes(path, max_bytes=MAX_FILE_BYTES)
        if len(content) <= _SMALL_BYTES and content.startswith(_PNG):
            return _data_uri("png", content), None
        return _thumbnail(content, pixels)
    except (UnreadableFileError, UnreadableImageError):
        return "", None


def _thumbnail(content: bytes, pixels: int) -> tuple[str, tuple[int, int]]:
    """WEBP, at most so many pixels a side."""
    image = open_rgb(content)
    size = image.size
    image.thumbnail((pixels, pixels))
    packed = io.BytesIO()
    image.save(packed, format="WEBP", quality=82, method=2)
    return _data_uri("webp", packed.getvalue()), size


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
