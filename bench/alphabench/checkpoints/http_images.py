"""The image in an answer of the images API: as base64, as a data URI, or at an address.

Decides which addresses an image may be downloaded from: a host must not make this machine read
files or other machines of the user's network. Sends nothing.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, parse_json
from alphabench.remote.endpoint import LOOPBACK
from alphabench.remote.responses import TransientError, is_refusal, read_error

_FILTERED: Final[Mapping[str, bool]] = {
    "is_image_safe": False,
    "respect_moderation": False,
    "nsfw_content_detected": True,
    "has_nsfw_concepts": True,
}
"""Flags with which hosts mark a filtered image."""
_LONGEST_PROMPT: Final = 20_000
"""Characters of the note about an image."""
_DATA_URI: Final = re.compile(r"data:([^,]*),", re.IGNORECASE)
_URLSAFE: Final = str.maketrans("-_", "+/")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesAnswer:
    """A response with one image."""

    item: Mapping[str, Any]
    """The first object under `data`."""
    model: str
    """Which model says that it answered; empty where the host names none, as OpenAI does."""


def read_answer(content: bytes) -> ImagesAnswer:
    """The response's image and model.

    Raises:
        TransientError: the body is no response of the images API, or an error.
    """
    try:
        answer = parse_json(content)
    except UnreadableFileError as error:
        begin = " ".join(content[:60].decode("utf-8", "replace").split())
        raise TransientError(
            f"the answer is no JSON of the images API (it begins with {begin!r}); "
            "such an address ends in /v1 as a rule"
        ) from error
    items = answer.get("data") if isinstance(answer, dict) else None
    if isinstance(answer, dict) and not items and answer.get("error"):
        raise TransientError(f"HTTP 200 with an error: {read_error(content).message}")
    if not isinstance(items, list) or not items or not isinstance(items[0], dict):
        raise TransientError("the answer holds no image")
    model = answer.get("model") if isinstance(answer, dict) else None
    return ImagesAnswer(item=items[0], model=model if isinstance(model, str) else "")


def is_filtered(item: Mapping[str, Any]) -> bool:
    """Whether the host reports that a filter removed the image."""
    if any(item.get(flag) in (bad, [bad]) for flag, bad in _FILTERED.items()):
        return True
    if is_refusal(item.get("finish_reason")):
        return True
    fault = item.get("error")
    return bool(fault) and read_error(json.dumps({"error": fault}).encode()).declines


def revised_prompt(item: Mapping[str, Any], prompt: str) -> str | None:
    """The host's revision of the prompt, where it differs."""
    revised = item.get("revised_prompt")
    if not isinstance(revised, str) or revised.split() in ([], prompt.split()):
        return None
    return revised[:_LONGEST_PROMPT]


def bytes_in(item: Mapping[str, Any]) -> bytes | None:
    """The encoded image, if the response contains it; None if it gives an address.

    Raises:
        TransientError: the base64 is damaged.
    """
    encoded = item.get("b64_json")
    text = encoded or item.get("url")
    if not isinstance(text, str) or not text:
        raise TransientError("the answer holds no image")
    if (head := _DATA_URI.match(text)) is not None:
        body = text[head.end() :]
        if not head[1].casefold().endswith(";base64"):
            return unquote_to_bytes(body)
        return _decoded(unquote_to_bytes(body).decode("ascii", "replace"))
    return _decoded(text) if encoded else None


def _decoded(text: str) -> bytes:
    """Base64 with or without line breaks and padding, in either alphabet."""
    plain = "".join(text.split()).translate(_URLSAFE).rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise TransientError("the image's base64 is damaged") from error


def address_in(url: str, *, base: str, host: str) -> str:
    """The image's address, absolute and allowed for a download.

    Args:
        url: as the host gave it; may be relative to `base`.
        base: the address that answered.
        host: of the checkpoint.

    Raises:
        TransientError: it is no address.
        AlphaBenchError: it leads to another machine without encryption, into this machine or its
            network, or is no web address.
    """
    try:
        address = urljoin(base, url)
        parts = urlsplit(address)
        name = (parts.hostname or "").lower()
        _ = parts.port
    except ValueError as error:
        raise TransientError("the image's own address is not valid") from error
    same = name == host or (name in LOOPBACK and host in LOOPBACK)
    if parts.scheme in ("http", "https") and same:
        return address
    if parts.scheme != "https" or not name or _is_internal(name):
        what = (
            "inside this network" if _is_internal(name) else "neither encrypted nor the same host"
        )
        raise AlphaBenchError(
            f"{host!r} points to an image at {parts.scheme}://{name}, which is {what}",
            hint="ask for the image itself with --set response_format=b64_json",
        )
    return address


def _is_internal(name: str) -> bool:
    if name in LOOPBACK or name.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        return not ipaddress.ip_address(name).is_global
    except ValueError:
        return False
