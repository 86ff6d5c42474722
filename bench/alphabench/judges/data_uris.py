"""Pictures as data URIs, made once while the questions about them run.

Bytes travel as they are stored unless a question asks for JPEG or another size.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import io
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from alphabench.core.files import (
    FileState,
    UnreadableFileError,
    read_with_state,
    regular_file_state,
)
from alphabench.images import (
    MAX_FILE_BYTES,
    UnreadableImageError,
    open_rgb,
    open_unchanged,
    to_rgb,
)
from alphabench.questions import ImagePart

if TYPE_CHECKING:
    from PIL.Image import Image

_KINDS: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)
"""How a file begins, whatever its name says."""
_MOST_BYTES: Final = 96 * 2**20
_IMAGES_READ_ONCE: Final = 2
"""An edited image and its source: questions about one image come one after the other."""


class UnusableImageError(Exception):
    """The file is gone, altered or no picture; the question about it fails."""


def data_uri(picture: ImagePart) -> str:
    """The picture as it is sent.

    JPEG and resizing follow Pillow's defaults (quality 75, bicubic), as official scripts do.

    Raises:
        UnusableImageError: it cannot be read, or its content is not what `sha256` says.
    """
    content = read_image_part(picture)
    kind = next((mime for start, mime in _KINDS if content.startswith(start)), None)
    if picture.encoding == "jpeg" or picture.size is not None or kind is None:
        content, kind = _encoded(content, picture)
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def read_image_part(picture: ImagePart) -> bytes:
    """The file's content.

    Raises:
        UnusableImageError: it cannot be read, or its content is not what `sha256` says.
    """
    return _read_once(
        picture.path, picture.sha256, picture.verified_state, regular_file_state(picture.path)
    )


@functools.lru_cache(maxsize=_IMAGES_READ_ONCE)
def _read_once(
    path: Path, sha256: str, verified: FileState | None, _present: FileState | None
) -> bytes:
    """The content, read once for all questions about an image while its file is unchanged.

    What is returned has the given sha256, whatever happens to the file in the meantime.
    """
    try:
        content, state = read_with_state(Path(path), max_bytes=MAX_FILE_BYTES)
    except UnreadableFileError as error:
        raise UnusableImageError(f"the picture cannot be read: {error}") from error
    if state != verified and hashlib.sha256(content).hexdigest() != sha256:
        raise UnusableImageError("the picture was altered since it was made")
    return content


def _encoded(content: bytes, picture: ImagePart) -> tuple[bytes, str]:
    target = io.BytesIO()
    try:
        image = (_as_viescore if picture.encoding == "jpeg" else _resized)(content, picture.size)
        image.save(target, format=picture.encoding.upper())
    except (UnreadableImageError, ValueError) as error:
        raise UnusableImageError(f"the picture cannot be decoded: {error}") from error
    return target.getvalue(), f"image/{picture.encoding}"


def _resized(content: bytes, size: tuple[int, int] | None) -> Image:
    image = open_rgb(content)
    return image if size is None else image.resize(size)


def _as_viescore(content: bytes, size: tuple[int, int] | None) -> Image:
    """As Step1X-Edit (570eba6) shows an image, hidden colours of transparent ones included.

    An edited image is resized first (test_gedit_score.py:34), then each is turned as its EXIF
    orientation says (viescore/mllm_tools/openai.py:71). Only 16-bit and floating-point images,
    which Pillow's own conversion makes white, are read as `open_rgb` reads them.
    """
    from PIL import ImageOps

    image = open_unchanged(content)
    if image.mode == "F" or image.mode.startswith("I"):
        image = to_rgb(image)
    if size is not None:
        image = image.convert("RGB").resize(size)
    upright: Image = ImageOps.exif_transpose(image).convert("RGB")
    return upright


class DataUriCache:
    """Data URIs of the pictures last used, for one event loop.

    One is made at a time: a large image takes hundreds of megabytes while it is decoded.
    """

    def __init__(
        self,
        *,
        most_bytes: int = _MOST_BYTES,
        most_pictures: int = 256,
        make: Callable[[ImagePart], str] = data_uri,
    ) -> None:
        self._make_uri = make
        self._alone = asyncio.Lock()
        self._most_bytes = most_bytes
        self._most_pictures = most_pictures
        self._making: dict[ImagePart, asyncio.Task[str]] = {}
        self._made: OrderedDict[ImagePart, str] = OrderedDict()
        self._bytes = 0

    async def uri(self, picture: ImagePart) -> str:
        """See `data_uri`; several questions that come at once make it once."""
        if picture in self._made:
            self._made.move_to_end(picture)
            return self._made[picture]
        making = self._making.get(picture)
        if making is None:
            making = asyncio.create_task(self._make(picture))
            self._making[picture] = making
        # Shielded: the others still wait for it when one question is given up.
        return await asyncio.shield(making)

    async def _make(self, picture: ImagePart) -> str:
        try:
            async with self._alone:
                uri = await asyncio.to_thread(self._make_uri, picture)
        finally:
            del self._making[picture]
        self._made[picture] = uri
        self._bytes += len(uri)
        while len(self._made) > 1 and (
            self._bytes > self._most_bytes or len(self._made) > self._most_pictures
        ):
            _, oldest = self._made.popitem(last=False)
            self._bytes -= len(oldest)
        return uri
