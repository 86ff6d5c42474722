"""A remote checkpoint behind the OpenAI images API, which draws and edits.

One request for each image, several at a time; rate limits and passing faults are waited out within
bounds, refusals and lasting failures of one image become its status, and what would fail for every
image stops the run. A host can change the model behind a name at any time, which no identity shows.
"""

from __future__ import annotations

import base64
import binascii
import json
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

import httpx

from alphabench import credentials
from alphabench.checkpoints import refuse_lora
from alphabench.checkpoints.http_answers import (
    PassingError,
    decode_image,
    is_refusal,
    read_body,
    read_error,
    retry_after_seconds,
)
from alphabench.checkpoints.http_edits import payload, route
from alphabench.errors import AlphaBenchError
from alphabench.options import fill
from alphabench.types import ImageRequest, NotMade

if TYPE_CHECKING:
    from PIL.Image import Image

_OWNER: Final = "an https checkpoint"
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_BODY: Final = "body."


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """Options of a remote checkpoint. Further fields of the request are written `body.NAME`."""

    size: str | None = None
    """WIDTHxHEIGHT for requests that name no size; left out, the host chooses."""
    quality: str | None = None
    """As the host names it, such as `high`."""
    response_format: Literal["b64_json", "url"] | None = None
    """Ask for one form of answer; both are understood, and some models accept no such field."""
    send_seed: bool = False
    """Send the request's seed as `seed`, which only some hosts know."""
    concurrency: int = 8
    """Requests under way at once."""
    timeout_seconds: float = 90.0
    """For one attempt."""
    attempts: int = 6
    """Tries for one image, the first included."""
    longest_wait_seconds: float = 120.0
    """A host that asks to wait longer than this is given up for this image."""
    key_without_tls: bool = False
    """Send the key over http:// to another machine, where anyone between can read it."""

    def __post_init__(self) -> None:
        if self.concurrency < 1 or self.attempts < 1:
            raise ValueError("concurrency and attempts must be 1 or more")
        if not 0 < self.timeout_seconds <= 3600 or not 0 <= self.longest_wait_seconds <= 3600:
            raise ValueError("timeout_seconds and longest_wait_seconds lie between 0 and 3600")
        if self.size is not None:
            parse_size(self.size)


def parse_size(text: str) -> tuple[int, int]:
    """`"1024x768"` -> `(1024, 768)`.

    Raises:
        ValueError: it is not two positive whole numbers with an x between.
    """
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ValueError(f"size is WIDTHxHEIGHT, not {text!r}")
    return int(width), int(height)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where the images come from."""

    base: str
    """Such as `https://host/v1`, without credentials, query or trailing slash."""
    host: str
    model: str

    @property
    def is_private(self) -> bool:
        """Whether nobody between here and there can read along."""
        return self.base.startswith("https://") or self.host in _LOOPBACK


def parse_endpoint(location: str) -> Endpoint:
    """`https://host/v1#model`, taken apart.

    Raises:
        AlphaBenchError: no host or model, or a user name or password in the address.
    """
    try:
        parts = urlsplit(location)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError as error:
        raise AlphaBenchError(
            f"the address is not valid: {error}", hint="write https://host/v1#model"
        ) from error
    if parts.username is not None or parts.password is not None:
        raise AlphaBenchError(
            f"the address of {host!r} holds a user name or password, which would be recorded",
            hint="put the key into ALPHABENCH_API_KEY",
        )
    if not host or not parts.fragment:
        what = "host" if not host else "model"
        raise AlphaBenchError(f"{location!r} names no {what}", hint="write https://host/v1#model")
    name = f"[{host}]" if ":" in host else host
    address = name if port is None else f"{name}:{port}"
    path = parts.path.rstrip("/")
    for suffix in ("/images/generations", "/images/edits"):
        path = path.removesuffix(suffix)
    return Endpoint(base=f"{parts.scheme}://{address}{path}", host=host, model=parts.fragment)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """Time and chance, as arguments, so that tests neither wait nor gamble."""

    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time
    """Seconds since the epoch."""
    jitter: Callable[[float, float], float] = random.uniform


def open_http(
    location: str, *, options: Mapping[str, str], lora: str | None, device: str
) -> HttpCheckpoint:
    """Open `https://host/v1#model`; asks nothing of the host yet.

    Raises:
        AlphaBenchError: a malformed address, an unknown option, or a key that others could read.
    """
    del device
    refuse_lora(lora, "remote")
    extra = {k.removeprefix(_BODY): v for k, v in options.items() if k.startswith(_BODY)}
    own = {k: v for k, v in options.items() if not k.startswith(_BODY)}
    reserved = sorted(
        extra.keys() & {"model", "prompt", "n", "size", "seed", "response_format", "image"}
    )
    if reserved:
        raise AlphaBenchError(
            f"the field {reserved[0]!r} is set by alphabench and cannot be {_BODY}{reserved[0]}",
            hint="use the option of that name, or leave it out",
        )
    checkpoint = HttpCheckpoint(
        endpoint=parse_endpoint(location),
        options=fill(HttpOptions, own, owner=_OWNER),
        extra={key: _json_value(value) for key, value in sorted(extra.items())},
    )
    checkpoint.check_key()
    return checkpoint


def _json_value(text: str) -> Any:
    """`4` is a number and `true` a boolean, as the host would have it; anything else is text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


@dataclass(kw_only=True, eq=False)
class HttpCheckpoint:
    """A remote model; the connection opens at the first `generate`."""

    endpoint: Endpoint
    options: HttpOptions
    extra: Mapping[str, Any] = field(default_factory=dict)
    find_key: Callable[[str], str | None] = field(default=credentials.api_key, repr=False)
    """Host -> key; called for each attempt, and the key is not kept."""
    pacing: Pacing = field(default_factory=Pacing, repr=False)

    @property
    def batch_size(self) -> int:
        return self.options.concurrency

    @property
    def identity(self) -> Mapping[str, str]:
        scheme, _, place = self.endpoint.base.partition("://")
        del scheme
        identity = {
            "kind": "http",
            "endpoint": place,
            "model": self.endpoint.model,
            "weights": "whatever the host serves under this name",
            "size": self.options.size or "chosen by the host",
            "seed": "sent" if self.options.send_seed else "not sent",
        }
        if self.options.quality is not None:
            identity["quality"] = self.options.quality
        return identity | {f"{_BODY}{k}": json.dumps(v) for k, v in self.extra.items()}

    def check_key(self) -> None:
        """Refuse a key that cannot be sent, or that others could read on its way.

        Raises:
            AlphaBenchError: no header can carry it; or plain http leads to another machine.
        """
        key = self.find_key(self.endpoint.host)
        if key is not None and not (key.isascii() and key.isprintable()):
            raise AlphaBenchError(
                f"the API key for {self.endpoint.host!r} holds characters that no header can carry",
                hint="copy it again, without quotes or line breaks",
            )
        protected = self.endpoint.is_private or self.options.key_without_tls
        if not protected and key is not None:
            raise AlphaBenchError(
                f"the API key would travel unencrypted to {self.endpoint.host!r}",
                hint="use https://, unset the key, or add --set key_without_tls=true",
            )

    def generate(self, requests: Sequence[ImageRequest]) -> list[Image | NotMade]:
        stop = threading.Event()
        timeout = httpx.Timeout(self.options.timeout_seconds, connect=20.0)
        # A proxy of the environment knows nothing of this machine's own servers.
        proxied = self.endpoint.host not in _LOOPBACK
        with (
            httpx.Client(timeout=timeout, trust_env=proxied) as client,
            ThreadPoolExecutor(max_workers=self.options.concurrency) as pool,
        ):
            calls = [pool.submit(self._make_or_stop, client, request, stop) for request in requests]
            return [call.result() for call in calls]

    def _make_or_stop(
        self, client: httpx.Client, request: ImageRequest, stop: threading.Event
    ) -> Image | NotMade:
        """One image; after the first error that every image would meet, nothing more is sent."""
        try:
            return self._make(client, request, stop)
        except AlphaBenchError:
            stop.set()
            raise

    def _make(
        self, client: httpx.Client, request: ImageRequest, stop: threading.Event
    ) -> Image | NotMade:
        fault = "it was not tried"
        for attempt in range(self.options.attempts):
            if stop.is_set():
                return NotMade(status="failed", reason="the run was stopped")
            try:
                return self._try_once(client, request)
            except PassingError as passing:
                fault = str(passing)
                wait = self._wait_seconds(attempt, passing.retry_after)
            except httpx.HTTPError as error:
                fault = self._clean(f"{type(error).__name__}: {error}")
                wait = self._wait_seconds(attempt, None)
            if wait > self.options.longest_wait_seconds:
                return NotMade(
                    status="failed", reason=f"{fault}; the host asks to wait {wait:.0f} s"
                )
            if attempt + 1 < self.options.attempts:
                self.pacing.sleep(wait)
        return NotMade(status="failed", reason=f"{fault} (after {self.options.attempts} attempts)")

    def _wait_seconds(self, attempt: int, retry_after: float | None) -> float:
        """Exponential with full jitter, from 1 s up to 60 s; never less than the host asks for."""
        backoff = self.pacing.jitter(0.5, 1.0) * min(60.0, 2.0**attempt)
        if retry_after is None:
            return min(backoff, self.options.longest_wait_seconds)
        # Spread over a second, or all waiting requests would come back at once.
        return retry_after + self.pacing.jitter(0.0, 1.0)

    def _try_once(self, client: httpx.Client, request: ImageRequest) -> Image | NotMade:
        content = self._send(client, request)
        if isinstance(content, NotMade):
            return content
        try:
            first = json.loads(content)["data"][0]
            if not isinstance(first, dict):
                raise TypeError("data[0] is no object")
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise PassingError("the answer is not the JSON of the images API") from error
        if is_refusal(first.get("finish_reason")):
            return NotMade(status="refused", reason="the host filtered the image")
        image = decode_image(self._picture_bytes(client, first))
        size = self._size(request)
        if size is not None and image.size != parse_size(size):
            return NotMade(
                status="failed",
                reason=f"asked for {size} pixels and got {image.width}x{image.height}",
            )
        return image

    def _size(self, request: ImageRequest) -> str | None:
        if request.width is not None and request.height is not None:
            return f"{request.width}x{request.height}"
        return self.options.size

    def _send(self, client: httpx.Client, request: ImageRequest) -> bytes | NotMade:
        optional = {
            "size": self._size(request),
            "quality": self.options.quality,
            "response_format": self.options.response_format,
            "seed": request.seed if self.options.send_seed else None,
        }
        body = {
            "model": self.endpoint.model,
            "prompt": request.sample.prompt,
            "n": 1,
            **{key: value for key, value in optional.items() if value is not None},
            **self.extra,
        }
        key = self.find_key(self.endpoint.host)
        headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
        url = f"{self.endpoint.base}/{route(request)}"
        with client.stream("POST", url, headers=headers, **payload(request, body)) as response:
            content = read_body(response)
            if response.status_code == 200:
                return content
            return self._explain(response.status_code, response.headers, content)

    def _explain(self, status: int, headers: httpx.Headers, content: bytes) -> NotMade:
        """What an answer other than 200 means: a status for this image, a retry, or the end.

        Raises:
            AlphaBenchError: every image would meet the same.
            PassingError: worth another attempt.
        """
        error = read_error(content)
        reason = self._clean(f"HTTP {status}: {error.message}")
        model, host = self.endpoint.model, self.endpoint.host
        if 400 <= status < 500 and status != 429 and error.declines:
            return NotMade(status="refused", reason=reason)
        if error.code in ("insufficient_quota", "billing_hard_limit_reached") or status == 402:
            raise AlphaBenchError(
                f"{host!r} reports that the account is out of credit ({reason})",
                hint="add credit, then run the same command again: it resumes",
            )
        if status in (401, 403):
            raise AlphaBenchError(
                f"{host!r} does not accept the key ({reason})",
                hint="set ALPHABENCH_API_KEY (or OPENAI_API_KEY for OpenAI's own hosts)",
            )
        if status == 404:
            raise AlphaBenchError(
                f"{host!r} knows no images endpoint or no model {model!r} there ({reason})",
                hint="check the address and the model after #",
            )
        if status in (408, 409, 425, 429) or status >= 500:
            raise PassingError(reason, retry_after=retry_after_seconds(headers, self.pacing.now()))
        if 300 <= status < 400:
            raise AlphaBenchError(
                f"{host!r} answers with a redirection, which is not followed with a key",
                hint="give the address that it leads to",
            )
        if error.param is not None and error.param != "prompt":
            raise AlphaBenchError(
                f"{host!r} does not accept the field {error.param!r} ({reason})",
                hint="change or leave out that option",
            )
        return NotMade(status="failed", reason=reason)

    def _picture_bytes(self, client: httpx.Client, item: Mapping[str, Any]) -> bytes:
        encoded, url = item.get("b64_json"), item.get("url")
        if isinstance(encoded, str):
            try:
                return base64.b64decode(encoded.partition("base64,")[2] or encoded, validate=True)
            except binascii.Error as error:
                raise PassingError("the image's base64 is damaged") from error
        if not isinstance(url, str):
            raise PassingError("the answer holds no image")
        parts = urlsplit(url)
        if parts.scheme != "https" and not (
            parts.scheme == "http" and parts.hostname == self.endpoint.host
        ):
            raise AlphaBenchError(
                f"{self.endpoint.host!r} points to an image at {parts.scheme}://{parts.hostname}, "
                "which is neither encrypted nor the same host",
                hint="ask for the image itself with --set response_format=b64_json",
            )
        # No key here: the picture lies on storage that is open to whoever has the link.
        try:
            with client.stream("GET", url) as response:
                content = read_body(response)
        except httpx.InvalidURL as error:
            raise PassingError("the image's own address is not valid") from error
        if response.status_code != 200:
            raise PassingError(f"the image's own address answers HTTP {response.status_code}")
        return content

    def _clean(self, text: str) -> str:
        """One short line, without the key should a host or library have repeated it."""
        key = self.find_key(self.endpoint.host)
        if key is not None:
            text = text.replace(key, "[key]")
        return " ".join(text.split())[:300]
