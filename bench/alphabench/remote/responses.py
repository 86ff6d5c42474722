"""Reads responses of OpenAI-compatible APIs: bodies, images, errors, refusals, waiting times.

Hosts differ in what they leave out and in how they refuse; all of that is handled here. Sends
nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import httpx

from alphabench.core.files import UnreadableFileError, parse_json, well_formed
from alphabench.images import UnreadableImageError, open_rgb
from alphabench.remote.compression import BoundedBody, UnusableBodyError

if TYPE_CHECKING:
    from PIL.Image import Image

_REFUSALS: Final = (
    "contentpolicy", "contentfilter", "contentsafety", "contentmoderat", "moderation", "moderated",
    "responsibleai", "safety", "unsafe", "sensitive", "prohibitedcontent", "blocklist", "spii",
    "recitation", "datainspection", "guardrail", "nsfw", "refusal", "policyviolation",
    "usagepolic", "invalidprompt", "flagged", "harmcategory",
)  # fmt: skip
"""Parts of the codes, types and finish reasons with which hosts refuse a prompt or result (OpenAI,
Azure, Gemini, Anthropic, Bedrock, DashScope, Volcengine, Zhipu, OpenRouter, LiteLLM), letters only.
"""
_REFUSING_SENTENCES: Final = (
    "contentpolicyviolation", "contentmanagementpolicy", "contentmoderation", "safetysystem",
    "wasflagged", "beenflagged", "requiresmoderation", "usagepolic", "nsfw", "sensitivecontent",
    "inappropriatecontent", "newsensitive", "敏感内容", "不安全", "违规",
)  # fmt: skip
"""The same in messages, for gateways that report it nowhere else; other errors contain none."""
_MAX_BYTES: Final = 64 * 2**20
"""Of one response: a 4096x4096 image as base64 PNG fits."""
_MAX_PIXELS: Final = 4096 * 4096
"""Several responses are decoded at once."""


class TransientError(Exception):
    """An error that another attempt may not meet."""

    def __init__(self, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiError:
    """The error object of the API; every host leaves out some of its fields."""

    message: str
    code: str | None = None
    type: str | None = None
    param: str | None = None
    """The field that the host objects to."""
    inner: tuple[str, ...] = ()
    """Codes and keys that a gateway quotes from the service it calls."""
    is_stated: bool = False
    """The body has an object `error`; otherwise the other fields are guessed."""

    @property
    def declines(self) -> bool:
        """Whether any of its fields says that a filter refuses the request."""
        return any(map(is_refusal, (self.code, self.type, *self.inner))) or _contains_any(
            _REFUSING_SENTENCES, self.message
        )


def read_error(content: bytes) -> ApiError:
    """The error in a body; a body of another form becomes the message."""
    text = well_formed(content.decode("utf-8", "replace"))
    try:
        parsed = parse_json(text)
    except UnreadableFileError:
        return ApiError(message=text)
    is_stated = isinstance(parsed, dict) and isinstance(parsed.get("error"), dict)
    error = parsed.get("error", parsed) if isinstance(parsed, dict) else parsed
    if isinstance(error, dict) and "message" not in error and isinstance(error.get("detail"), list):
        return _read_details(error["detail"], text)
    if not isinstance(error, dict):
        return ApiError(message=str(error))

    def text_of(key: str) -> str | None:
        # LiteLLM writes Python's None as text.
        value = error.get(key)
        return None if value in (None, "", "None", "null") else str(value)

    return ApiError(
        message=text_of("message") or text_of("detail") or text,
        code=text_of("code"),
        type=text_of("type"),
        param=text_of("param"),
        inner=tuple(_inner_codes(error)),
        is_stated=is_stated,
    )


def _read_details(details: list[Any], text: str) -> ApiError:
    """FastAPI's form: `{"detail": [{"loc": ["body", "size"], "msg": "Field required"}]}`."""
    first = details[0] if details and isinstance(details[0], dict) else {}
    field = [str(part) for part in first.get("loc") or () if part != "body"]
    message = f"{'.'.join(field)}: {first.get('msg')}" if field else text
    return ApiError(message=message, type=str(first.get("type")), param=field[0] if field else None)


def _inner_codes(error: Mapping[str, Any]) -> Iterator[str]:
    """Azure quotes an `innererror`, OpenRouter lists what it flagged under `metadata`."""
    inner, metadata = error.get("innererror"), error.get("metadata")
    if isinstance(inner, dict):
        yield str(inner.get("code"))
    if isinstance(metadata, dict):
        yield from (key for key in ("flagged_input", "moderation") if metadata.get(key))
        if metadata.get("reasons"):
            yield "moderation"


def is_refusal(word: object) -> bool:
    """Whether an error code, error type or finish reason says that the host refuses."""
    return _contains_any(_REFUSALS, str(word or ""))


def _contains_any(parts: Sequence[str], text: str) -> bool:
    letters = "".join(letter for letter in text.casefold() if letter.isalnum())
    return any(part in letters for part in parts)


def retry_after_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """How long the host requests to wait, from either form of the header (RFC 9110, 10.2.3)."""
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return None if math.isnan(seconds) else max(0.0, seconds)


def read_body(
    response: httpx.Response, *, seconds: float, now: Callable[[], float] = time.monotonic
) -> bytes:
    """The complete body, within limits of size and time.

    Args:
        response: whose headers were received.
        seconds: for the complete body; httpx limits only the wait for each piece of it.
        now: the time, in seconds.

    Raises:
        TransientError: decompressed it is larger than any image, or it is damaged.
    """
    try:
        body = BoundedBody(response.headers.get("content-encoding"), most_bytes=_MAX_BYTES)
        until = now() + seconds
        for chunk in response.iter_raw():
            body.feed(chunk)
            if now() > until:
                raise TransientError(f"the answer did not end within {seconds:g} s")
        return body.finish()
    except UnusableBodyError as error:
        raise TransientError(str(error)) from error


def decode_image(content: bytes) -> Image:
    """An RGB image from an encoded one.

    Raises:
        TransientError: it cannot be decoded.
    """
    try:
        return open_rgb(content, max_pixels=_MAX_PIXELS)
    except UnreadableImageError as error:
        raise TransientError(f"the image cannot be decoded: {error}") from error
