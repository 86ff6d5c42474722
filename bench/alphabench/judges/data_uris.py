"""Images as data URIs, encoded once while the questions about them run.

The stored bytes are sent unless a question requires JPEG or another size. Knows no judge.
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
"""How a file begins, whatever its suffix."""
_MAX_CACHE_BYTES: Final = 96 * 2**20
_IMAGES_READ_ONCE: Final = 2
"""An edited image and its source: questions about one image come one after the other."""


class UnusableImageError(Exception):
    """The file is missing, altered or no image; the question about it fails."""


def data_uri(part: ImagePart) -> str:
    """The image as it is sent.

    JPEG and resizing follow Pillow's defaults (quality 75, bicubic), as official scripts do, where
    the part states no quality.

    Raises:
        UnusableImageError: it cannot be read, or its content is not what `sha256` says.
    """
    content = read_image_part(part)
    kind = next((mime for start, mime in _KINDS if content.startswith(start)), None)
    if part.encoding == "jpeg" or part.size or part.within or kind is None:
        content, kind = _encoded(content, part)
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def read_image_part(part: ImagePart) -> bytes:
    """The file's content.

    Raises:
        UnusableImageError: it cannot be read, or its content is not what `sha256` says.
    """
    return _read_once(part.path, part.sha256, part.verified_state, regular_file_state(part.path))


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
        raise UnusableImageError(f"the image cannot be read: {error}") from error
    if state != verified and hashlib.sha256(content).hexdigest() != sha256:
        raise UnusableImageError("the image was altered since it was generated")
    return content


def _encoded(content: bytes, part: ImagePart) -> tuple[bytes, str]:
    target = io.BytesIO()
    try:
        if part.within is not None:
            _as_thumbnail(content, part.within).save(target, format="JPEG")
            return target.getvalue(), "image/jpeg"
        if part.quality is not None:
            open_rgb(content).save(target, format="JPEG", quality=part.quality)
            return target.getvalue(), "image/jpeg"
        image = (_as_viescore if part.encoding == "jpeg" else _resized)(content, part.size)
        image.save(target, format=part.encoding.upper())
    except (UnreadableImageError, ValueError) as error:
        raise UnusableImageError(f"the image cannot be decoded: {error}") from error
    return target.getvalue(), f"image/{part.encoding}"


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


def _as_thumbnail(content: bytes, side: int) -> Image:
    """As RISEBench (5f22651, utils.py:84) shows an image; only kinds that it cannot are converted.

    Its transparent pixels show their hidden colours, and no EXIF orientation is applied.
    """
    image = open_unchanged(content)
    if image.mode in ("RGBA", "P"):
        image = image.convert("RGB")
    elif image.mode not in ("RGB", "L", "CMYK"):
        image = to_rgb(image)
    image.thumbnail((side, side))
    return image


class DataUriCache:
    """Data URIs of the images used last, for one event loop.

    Images are encoded one at a time: decoding a large one takes hundreds of megabytes.
    """

    def __init__(
        self,
        *,
        max_bytes: int = _MAX_CACHE_BYTES,
        max_images: int = 256,
        make: Callable[[ImagePart], str] = data_uri,
    ) -> None:
        self._encode = make
        self._one_at_a_time = asyncio.Lock()
        self._max_bytes = max_bytes
        self._max_images = max_images
        self._encoding: dict[ImagePart, asyncio.Task[str]] = {}
        self._uris: OrderedDict[ImagePart, str] = OrderedDict()
        self._bytes = 0

    async def uri(self, part: ImagePart) -> str:
        """See `data_uri`; concurrent requests for one image encode it once."""
        if part in self._uris:
            self._uris.move_to_end(part)
            return self._uris[part]
        encoding = self._encoding.get(part)
        if encoding is None:
            encoding = asyncio.create_task(self._encode_one(part))
            self._encoding[part] = encoding
        # Shielded: the others still wait for it when one question is given up.
        return await asyncio.shield(encoding)

    async def _encode_one(self, part: ImagePart) -> str:
        try:
            async with self._one_at_a_time:
                uri = await asyncio.to_thread(self._encode, part)
        finally:
            del self._encoding[part]
        self._uris[part] = uri
        self._bytes += len(uri)
        while len(self._uris) > 1 and (
            self._bytes > self._max_bytes or len(self._uris) > self._max_images
        ):
            _, oldest = self._uris.popitem(last=False)
            self._bytes -= len(oldest)
        return uri
