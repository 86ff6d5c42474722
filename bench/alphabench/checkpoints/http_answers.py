"""How answers of the OpenAI images API are read: bodies, pictures, errors, refusals, waits.

Hosts differ in what they leave out and how they say no; all of that is here. Sends nothing.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

import httpx

if TYPE_CHECKING:
    from PIL.Image import Image

_REFUSALS: Final = (
    "content_policy", "content_filter", "moderation", "responsibleaipolicy", "safety",
    "sensitive_content",
)  # fmt: skip
"""Parts of the error codes and types by which hosts say that they decline a prompt or a result."""
_MAX_BYTES: Final = 64 * 2**20
"""Of one answer: a 4096x4096 image as base64 PNG fits."""


class PassingError(Exception):
    """A fault that another attempt may not meet."""

    def __init__(self, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiError:
    """The error object of the API; hosts leave out what they like."""

    message: str
    code: str | None = None
    type: str | None = None
    param: str | None = None


def read_error(content: bytes) -> ApiError:
    """The error in a body; a body of another form is the message itself."""
    text = content.decode("utf-8", "replace")
    try:
        parsed = json.loads(text)
    except ValueError:
        return ApiError(message=text)
    error = parsed.get("error", parsed) if isinstance(parsed, dict) else parsed
    if not isinstance(error, dict):
        return ApiError(message=str(error))

    def word(key: str) -> str | None:
        return str(error[key]) if error.get(key) is not None else None

    return ApiError(
        message=word("message") or text, code=word("code"), type=word("type"), param=word("param")
    )


def is_refusal(word: object) -> bool:
    """Whether an error code, error type or finish reason says that the host declines."""
    plain = str(word or "").casefold()
    return any(part in plain for part in _REFUSALS)


def retry_after_seconds(headers: httpx.Headers, now: float) -> float | None:
    """How long the host asks to wait, from either form of the header (RFC 9110, 10.2.3)."""
    text = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except ValueError:
        return None


def read_body(response: httpx.Response) -> bytes:
    """The whole body, within bounds.

    Raises:
        PassingError: it is larger than any image.
    """
    received = bytearray()
    for chunk in response.iter_bytes():
        received += chunk
        if len(received) > _MAX_BYTES:
            raise PassingError(f"the answer is larger than {_MAX_BYTES // 2**20} MiB")
    return bytes(received)


def decode_image(content: bytes) -> Image:
    """An RGB image from an encoded one.

    Raises:
        PassingError: it cannot be decoded.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(content)) as opened:
            return ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise PassingError("the image cannot be decoded") from error
