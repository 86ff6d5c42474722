"""Pictures as data URIs, made once while the questions about them run.

Bytes travel as they are stored unless a question asks for JPEG or another size.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
from collections import OrderedDict
from pathlib import Path
from typing import Final

from alphabench.judges.question import Picture

_KINDS: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)
"""How a file begins, whatever its name says."""
_MOST_BYTES: Final = 96 * 2**20


class UnusablePictureError(Exception):
    """The file is gone, altered or no picture; the question about it fails."""


def data_uri(picture: Picture) -> str:
    """The picture as it is sent.

    JPEG and resizing follow Pillow's defaults (quality 75, bicubic), as official scripts do.

    Raises:
        UnusablePictureError: it cannot be read, or its content is not what `sha256` says.
    """
    try:
        content = Path(picture.path).read_bytes()
    except OSError as error:
        raise UnusablePictureError(f"the picture cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != picture.sha256:
        raise UnusablePictureError("the picture was altered since it was made")
    kind = next((mime for start, mime in _KINDS if content.startswith(start)), None)
    if picture.encoding == "jpeg" or picture.size is not None or kind is None:
        content, kind = _encoded(content, picture)
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _encoded(content: bytes, picture: Picture) -> tuple[bytes, str]:
    from PIL import Image

    target = io.BytesIO()
    try:
        with Image.open(io.BytesIO(content)) as opened:
            image = opened.convert("RGB")
        if picture.size is not None:
            image = image.resize(picture.size)
        image.save(target, format=picture.encoding.upper())
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnusablePictureError(f"the picture cannot be decoded: {error}") from error
    return target.getvalue(), f"image/{picture.encoding}"


class PictureCache:
    """Data URIs of the pictures last used, for one event loop."""

    def __init__(self, *, most_bytes: int = _MOST_BYTES, most_pictures: int = 256) -> None:
        self._most_bytes = most_bytes
        self._most_pictures = most_pictures
        self._making: dict[Picture, asyncio.Task[str]] = {}
        self._made: OrderedDict[Picture, str] = OrderedDict()
        self._bytes = 0

    async def uri(self, picture: Picture) -> str:
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

    async def _make(self, picture: Picture) -> str:
        try:
            uri = await asyncio.to_thread(data_uri, picture)
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
