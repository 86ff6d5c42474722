"""A remote checkpoint behind the OpenAI images API, which generates and edits.

Sends one request for each image, several at a time. Rate limits and transient errors are retried
within limits, refusals and lasting failures of one image become its status, and an error that every
image would meet stops the run. The model of a name can change at any time, unseen by the identity.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import httpx

from alphabench.checkpoints import refuse_lora
from alphabench.checkpoints.http_edits import payload, route
from alphabench.checkpoints.http_images import (
    address_in,
    bytes_in,
    is_filtered,
    read_answer,
    revised_prompt,
)
from alphabench.checkpoints.http_options import HttpOptions, parse_size, settings_of
from alphabench.checkpoints.http_silence import SilenceNotes, warn_user
from alphabench.core.errors import AlphaBenchError, short_line
from alphabench.core.options import fill, json_value
from alphabench.remote import credentials
from alphabench.remote.answering_model import AnsweringModel
from alphabench.remote.compression import ACCEPT_ENCODING
from alphabench.remote.endpoint import LOOPBACK, Endpoint, parse_endpoint, refuse_older_azure
from alphabench.remote.model_listing import check_end, listed_model
from alphabench.remote.responses import (
    TransientError,
    decode_image,
    read_body,
    read_error,
    retry_after_seconds,
)
from alphabench.types import NOTES, REVISED_PROMPT, ImageRequest, NotGenerated

if TYPE_CHECKING:
    from PIL.Image import Image

_OWNER: Final = "an https checkpoint"
_BODY: Final = "body."
_MAX_FAILURES_BEFORE_SUCCESS: Final = 8
"""Failed images before the first success; further ones get one attempt each."""
_MAX_REDIRECTIONS: Final = 3
_DOWNLOAD_ATTEMPTS: Final = 3
"""Attempts to download an image from its address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """Clock and randomness, as arguments, so that tests are fast and deterministic."""

    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time
    """Seconds since the epoch."""
    jitter: Callable[[float, float], float] = random.uniform


def open_http(
    location: str, *, options: Mapping[str, str], lora: str | None, device: str
) -> HttpCheckpoint:
    """Open `https://host/v1#model`; sends no request yet.

    Raises:
        AlphaBenchError: a malformed address, an unknown option, or a key sent unencrypted.
    """
    del device
    refuse_lora(lora, "remote")
    refuse_older_azure(location, options)
    extra = {k.removeprefix(_BODY): v for k, v in options.items() if k.startswith(_BODY)}
    named_options = {k: v for k, v in options.items() if not k.startswith(_BODY)}
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
        options=fill(HttpOptions, named_options, owner=_OWNER),
        extra={key: json_value(value) for key, value in sorted(extra.items())},
    )
    checkpoint.check_key()
    return checkpoint


@dataclass(kw_only=True, eq=False)
class HttpCheckpoint:
    """A remote model; the connection opens at the first `generate`."""

    endpoint: Endpoint
    options: HttpOptions
    extra: Mapping[str, Any] = field(default_factory=dict)
    find_key: Callable[[str], str | None] = field(default=credentials.api_key, repr=False)
    """Host -> key; called for each attempt; the key is not stored."""
    pacing: Pacing = field(default_factory=Pacing, repr=False)
    _has_succeeded: bool = field(default=False, init=False, repr=False)
    """The host has returned an image: model, key and fields are accepted."""
    _abandoned: list[str] = field(default_factory=list, init=False, repr=False)
    """Images that met only transient errors."""
    _stop_error: AlphaBenchError | None = field(default=None, init=False, repr=False)
    _silence: SilenceNotes = field(init=False, repr=False)
    _answering: AnsweringModel = field(init=False, repr=False)
    _is_known_to_serve: bool = field(default=False, init=False, repr=False)
    """The model's end was looked up, once in a process."""

    def __post_init__(self) -> None:
        self._answering = AnsweringModel(
            expected=self.options.served_as or self.endpoint.model,
            part="checkpoint",
            option="--set served_as=",
        )
        self._silence = SilenceNotes(address=self.address, attempts=self.options.attempts)

    @property
    def address(self) -> str:
        """As `--ckpt` takes it."""
        return f"{self.endpoint.base}#{self.endpoint.model}"

    @property
    def batch_size(self) -> int:
        return self.options.concurrency

    @property
    def identity(self) -> Mapping[str, str]:
        scheme, _, address = self.endpoint.base.partition("://")
        del scheme
        identity = {
            "kind": "http",
            "endpoint": address,
            "model": self.endpoint.model,
            "weights": "whatever the host serves under this name",
            "size": self.options.size or "chosen by the host",
            "seed": "sent" if self.options.send_seed else "not sent",
        }
        if self.options.quality is not None:
            identity["quality"] = self.options.quality
        if self.options.other_size == "keep":
            identity["other_size"] = "keep"
        for key in ("served_as", "after_shutdown"):
            if (value := getattr(self.options, key)) is not None:
                identity[key] = value
        return identity | {f"{_BODY}{k}": json.dumps(v) for k, v in self.extra.items()}

    @property
    def settings(self) -> Mapping[str, str]:
        """See `ShowsSettings`."""
        return settings_of(self.options) | {
            f"{_BODY}{k}": json.dumps(v) for k, v in self.extra.items()
        }

    @property
    def default_settings(self) -> Mapping[str, str]:
        """See `ShowsSettings`."""
        return settings_of(HttpOptions())

    def check_key(self) -> None:
        """Refuse a key that cannot be sent, or would be sent unencrypted.

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

    def check_retirement(self, *, asks_host: bool = True) -> None:
        """See `CanBeRetired`; the host is asked once in a process."""
        if self._is_known_to_serve:
            return
        today = datetime.fromtimestamp(self.pacing.now(), UTC).date()
        listed = None
        if asks_host:
            key = self.find_key(self.endpoint.host)
            listed = listed_model(self.endpoint, key=key, today=today)
        check_end(
            self.endpoint,
            listed,
            today=today,
            part="checkpoint",
            is_allowed=self.options.after_shutdown == "allow",
            note=warn_user,
        )
        self._is_known_to_serve = asks_host

    def generate(self, requests: Sequence[ImageRequest]) -> list[Image | NotGenerated]:
        """See `Generator`.

        Raises:
            AlphaBenchError: an error that every image would meet. If other requests succeeded
                before, they are returned, and the next call raises it.
        """
        stop_error = self._stop_error
        if stop_error is not None:
            raise stop_error
        self.check_retirement()
        timeout = httpx.Timeout(self.options.timeout_seconds, connect=20.0)
        # A proxy of the environment cannot reach servers on this machine.
        proxied = self.endpoint.host not in LOOPBACK
        # One image first: it shows whether the host returns the requested size.
        alone = 0 if self._has_succeeded or self._size(requests[0]) is None else 1
        with (
            httpx.Client(
                timeout=timeout, trust_env=proxied, headers={"Accept-Encoding": ACCEPT_ENCODING}
            ) as client,
            ThreadPoolExecutor(max_workers=self.options.concurrency) as pool,
        ):
            results = [self._generate_or_stop(client, request) for request in requests[:alone]]
            calls = [
                pool.submit(self._generate_or_stop, client, request) for request in requests[alone:]
            ]
            results += [call.result() for call in calls]
        if self._stop_error is not None and all(isinstance(one, NotGenerated) for one in results):
            raise self._stop_error
        return results

    def _generate_or_stop(
        self, client: httpx.Client, request: ImageRequest
    ) -> Image | NotGenerated:
        """One image; after an error that every image would meet, nothing more is sent."""
        try:
            return self._generate_one(client, request)
        except AlphaBenchError as error:
            self._stop_error = self._stop_error or error
            return NotGenerated(status="failed", reason=error.message)

    def _generate_one(self, client: httpx.Client, request: ImageRequest) -> Image | NotGenerated:
        fault = "no attempt was made"
        # A host that has failed that often without a success gets one attempt an image.
        gives_up = not self._has_succeeded and len(self._abandoned) >= _MAX_FAILURES_BEFORE_SUCCESS
        attempts = 1 if gives_up else self.options.attempts
        for attempt in range(attempts):
            if self._stop_error is not None:
                return NotGenerated(status="failed", reason="the run was stopped")
            try:
                outcome = self._try_once(client, request)
            except TransientError as passing:
                fault = self._clean(str(passing))
                wait = self._wait_seconds(attempt, passing.retry_after)
            except httpx.HTTPError as error:
                fault = self._clean(f"{type(error).__name__}: {error}")
                wait = self._wait_seconds(attempt, None)
            else:
                self._has_succeeded = self._has_succeeded or not isinstance(outcome, NotGenerated)
                self._silence.answered(self.pacing.now())
                return outcome
            self._silence.failed(short_line(fault), self.pacing.now())
            if wait > self.options.longest_wait_seconds:
                return NotGenerated(
                    status="failed", reason=f"{fault}; the host asks to wait {wait:.0f} s"
                )
            if attempt + 1 < attempts:
                self.pacing.sleep(wait)
        self._abandoned.append(request.id)
        return NotGenerated(status="failed", reason=f"{fault} (attempts: {attempts})")

    def _wait_seconds(self, attempt: int, retry_after: float | None) -> float:
        """Exponential backoff with jitter, from 1 s to 60 s; at least what the host asks for."""
        backoff = self.pacing.jitter(0.5, 1.0) * min(60.0, 2.0**attempt)
        if retry_after is None:
            return min(backoff, self.options.longest_wait_seconds)
        # Spread over a second, so that waiting requests do not return at once.
        return retry_after + self.pacing.jitter(0.0, 1.0)

    def _try_once(self, client: httpx.Client, request: ImageRequest) -> Image | NotGenerated:
        content = self._send(client, request)
        if isinstance(content, NotGenerated):
            return content
        if b'"error"' in content and (error := read_error(content)).is_stated and error.declines:
            return NotGenerated(status="refused", reason=self._clean(error.message))
        answer = read_answer(content)
        del content
        self._answering.check(self._clean(answer.model))
        item = answer.item
        if is_filtered(item):
            return NotGenerated(status="refused", reason="the host filtered the image")
        image = decode_image(self._encoded_image(client, item))
        size = self._size(request)
        if size is not None and image.size != parse_size(size):
            not_generated = self._other_size(size, image)
            if not_generated is not None:
                return not_generated
        if (revised := revised_prompt(item, request.sample.prompt)) is not None:
            image.info[NOTES] = {REVISED_PROMPT: revised}
        return image

    def _other_size(self, requested: str, image: Image) -> NotGenerated | None:
        """The outcome for an image of another size than requested; None where it is accepted.

        Raises:
            AlphaBenchError: it is the host's first image, and the others will have the same size.
        """
        if self.options.other_size == "keep":
            return None
        reason = f"asked for {requested} pixels and got {image.width}x{image.height}"
        if self._has_succeeded:
            return NotGenerated(status="failed", reason=reason)
        raise AlphaBenchError(
            f"{self.endpoint.host!r} was {reason}",
            hint=f"ask for a size that it makes (--set size={image.width}x{image.height}), or take "
            "whatever it makes with --set other_size=keep",
        )

    def _size(self, request: ImageRequest) -> str | None:
        if request.width is not None and request.height is not None:
            return f"{request.width}x{request.height}"
        return self.options.size

    def _send(self, client: httpx.Client, request: ImageRequest) -> bytes | NotGenerated:
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
        headers = credentials.headers(self.endpoint.host, key)
        url = f"{self.endpoint.base}/{route(request)}"
        with client.stream("POST", url, headers=headers, **payload(request, body)) as response:
            content = read_body(response, seconds=self.options.timeout_seconds)
            if response.status_code == 200:
                return content
            return self._explain(response.status_code, response.headers, content)

    def _explain(self, status: int, headers: httpx.Headers, content: bytes) -> NotGenerated:
        """Interprets a response other than 200: a status for this image, a retry, or a stop.

        Raises:
            AlphaBenchError: every image would meet the same error.
            TransientError: worth another attempt.
        """
        error = read_error(content)
        reason = self._clean(f"HTTP {status}: {error.message}")
        model, host = self.endpoint.model, self.endpoint.host
        if 400 <= status < 500 and status != 429 and error.declines:
            return NotGenerated(status="refused", reason=reason)
        if error.code in ("insufficient_quota", "billing_hard_limit_reached") or status == 402:
            raise AlphaBenchError(
                f"{host!r} reports that the account is out of credit ({reason})",
                hint="add credit, then run the same command again: it resumes",
            )
        if status == 401 or (status == 403 and not self._has_succeeded):
            raise AlphaBenchError(
                f"{host!r} does not accept the key ({reason})",
                hint="set ALPHABENCH_API_KEY (or OPENAI_API_KEY for OpenAI's hosts)",
            )
        if status in (404, 405):
            raise AlphaBenchError(
                f"{host!r} knows no images endpoint or no model {model!r} there ({reason})",
                hint="check the address, which ends in /v1 as a rule, and the model after #",
            )
        if status in (408, 409, 425, 429) or status >= 500:
            raise TransientError(
                reason, retry_after=retry_after_seconds(headers, self.pacing.now())
            )
        if 300 <= status < 400:
            raise AlphaBenchError(
                f"{host!r} answers with a redirection, which is not followed with a key",
                hint="give the address that it leads to",
            )
        if not self._has_succeeded:
            self._refuse_field(error.param, reason)
        return NotGenerated(status="failed", reason=reason)

    def _refuse_field(self, param: str | None, reason: str) -> None:
        """Stop where the host rejects a setting; errors about prompt or image concern one image.

        Raises:
            AlphaBenchError: the field is a setting.
        """
        name = re.split(r"[.\[]", param or "")[0]
        if name in self.extra:
            hint = f"change or leave out --set {_BODY}{name}"
        elif name == "size":
            hint = "name a size that the host makes, such as --set size=1024x1024"
        elif name in ("quality", "response_format"):
            hint = f"change or leave out --set {name}"
        elif name == "seed":
            hint = "leave out --set send_seed"
        elif name in ("model", "n"):
            hint = "check the model after #"
        else:
            return
        raise AlphaBenchError(
            f"{self.endpoint.host!r} does not accept the field {name!r} ({reason})", hint=hint
        )

    def _encoded_image(self, client: httpx.Client, item: Mapping[str, Any]) -> bytes:
        if (content := bytes_in(item)) is not None:
            return content
        base, host = f"{self.endpoint.base}/", self.endpoint.host
        url = address_in(item["url"], base=base, host=host)
        for attempt in range(_DOWNLOAD_ATTEMPTS):
            # Downloading again is free; generating again is not.
            try:
                return self._fetched(client, url)
            except (TransientError, httpx.HTTPError) as error:
                fault = self._clean(f"the image's own address fails: {error}")
            if attempt + 1 < _DOWNLOAD_ATTEMPTS:
                self.pacing.sleep(self._wait_seconds(attempt, None))
        raise TransientError(fault)

    def _fetched(self, client: httpx.Client, url: str) -> bytes:
        for _ in range(_MAX_REDIRECTIONS + 1):
            # No key here: the storage is public to holders of the link.
            try:
                with client.stream("GET", url) as response:
                    content = read_body(response, seconds=self.options.timeout_seconds)
            except httpx.InvalidURL as error:
                raise TransientError("the image's own address is not valid") from error
            if response.status_code == 200:
                return content
            if not response.has_redirect_location:
                break
            url = address_in(response.headers["Location"], base=url, host=self.endpoint.host)
        raise TransientError(f"HTTP {response.status_code}")

    def _clean(self, text: str) -> str:
        """One printable line, without the key should a host or library have repeated it."""
        key = self.find_key(self.endpoint.host)
        if key is not None:
            text = text.replace(key, "[key]")
        return short_line(text)
