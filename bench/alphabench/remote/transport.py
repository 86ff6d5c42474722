"""Sends requests to one replica and receives complete responses; the HTTP is aiohttp's.

A connection carries one request at a time and is closed as soon as it delivers bytes that no
request is waiting for: otherwise a response sent twice would be taken for the next question's.
Cookies are not stored and redirections not followed. Proxies are taken from the environment
(`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`), but never for this machine. Knows nothing of
questions.
"""

from __future__ import annotations

import asyncio
import functools
import os
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import httpx
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader

from alphabench.core.errors import AlphaBenchError
from alphabench.remote.compression import ACCEPT_ENCODING, BoundedBody, UnusableBodyError
from alphabench.remote.endpoint import LOOPBACK
from alphabench.remote.responses import TransientError

_MAX_BODY_BYTES: Final = 16 * 2**20
_CONNECT_SECONDS: Final = 15.0
_IDLE_SECONDS: Final = 4.0
"""Shorter than servers hold a connection open: a request must not be sent as it closes."""


class UnreachableError(TransientError):
    """No connection could be made; the fault is not the question's."""

    def __init__(self, reason: str, *, mistake: str | None = None) -> None:
        """Record the reason.

        Args:
            reason: in one line.
            mistake: what the user should check, where waiting seldom helps.
        """
        super().__init__(reason)
        self.mistake = mistake


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A complete response."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Transport:
    """The connections to one replica; made inside the event loop that uses them."""

    def __init__(self, base: str) -> None:
        """Prepare; connects to nothing yet.

        Args:
            base: such as `https://host/v1`.

        Raises:
            AlphaBenchError: the environment names a proxy that cannot be used.
        """
        self._proxy = proxy_for(base)
        # httpx's context: SSL_CERT_FILE and SSL_CERT_DIR, or else certifi's authorities.
        context = httpx.create_ssl_context() if base.startswith("https://") else True
        self._session = aiohttp.ClientSession(
            connector=_Connector(limit=0, ssl=context, keepalive_timeout=_IDLE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
            headers={"Accept-Encoding": ACCEPT_ENCODING, "User-Agent": "alphabench"},
            auto_decompress=False,
        )

    async def post(
        self, url: str, content: bytes, headers: Mapping[str, str], *, timeout_seconds: float
    ) -> Received:
        """Send a request, and receive the response within limits of time and size.

        Raises:
            TransientError: no complete response came.
        """
        try:
            async with (
                asyncio.timeout(timeout_seconds),
                self._session.post(
                    url, data=content, headers=headers, proxy=self._proxy, allow_redirects=False
                ) as response,
            ):
                encoding = response.headers.get("Content-Encoding")
                body = BoundedBody(encoding, most_bytes=_MAX_BODY_BYTES)
                if (response.content_length or 0) > _MAX_BODY_BYTES:
                    raise UnusableBodyError(
                        f"the answer is larger than {_MAX_BODY_BYTES // 2**20} MiB"
                    )
                async for chunk in response.content.iter_any():
                    body.feed(chunk)
                received = body.finish()
        except (aiohttp.ServerTimeoutError, TimeoutError) as error:
            raise _timed_out(error, timeout_seconds) from error
        except UnusableBodyError as error:
            raise TransientError(str(error)) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _connection_error(error) from error
        return Received(status=response.status, headers=response.headers, content=received)

    async def close(self) -> None:
        await self._session.close()


class _OneResponse(ResponseHandler):
    """A connection that closes at the first byte which no request is waiting for.

    aiohttp itself checks only when a response ends, and would give later bytes to the next request.
    """

    _is_waiting = False
    _is_final = False

    def set_response_params(self, **params: Any) -> None:
        """A request begins."""
        self._is_waiting, self._is_final = True, False
        super().set_response_params(**params)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Headers were read; a status below 200 only announces further headers."""
        self._is_final = data[0].code >= 200
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        if data and not self._is_waiting:
            self.abort()
            return
        super().data_received(data)
        if self._is_final and (self._payload is None or self._payload.is_eof()):
            self._is_waiting = False


class _Connector(aiohttp.TCPConnector):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        factory: Any = functools.partial(_OneResponse, loop=self._loop)
        self._factory = factory


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for an address.

    Raises:
        AlphaBenchError: it is no HTTP proxy.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    # A proxy from the environment cannot reach this machine's own servers.
    if host in LOOPBACK or urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    chosen = proxies.get(parts.scheme) or proxies.get("all")
    if not chosen:
        return None
    address = chosen if "://" in chosen else f"http://{chosen}"
    try:
        proxy = urlsplit(address)
        usable = proxy.scheme in ("http", "https") and bool(proxy.hostname) and proxy.port != 0
    except ValueError:
        usable = False
    if not usable:
        # The message shows the scheme only: an address may hold a password.
        raise AlphaBenchError(
            f"the environment names a proxy for {host!r} that is no http:// or https:// address "
            f"(it begins with {address.partition('://')[0]!r})",
            hint=f"correct {parts.scheme.upper()}_PROXY or ALL_PROXY, or add the host to NO_PROXY",
        )
    return address


def _timed_out(error: BaseException, seconds: float) -> TransientError:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return UnreachableError(f"no connection within {_CONNECT_SECONDS:g} s")
    return TransientError(f"no answer within {seconds:g} s")


def _connection_error(error: BaseException) -> TransientError:
    """The error of a failed request, and whether a connection was made."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        why = f"the environment's proxy answers HTTP {error.status} {error.message}"
        return UnreachableError(why, mistake=_PROXY)
    if isinstance(error, aiohttp.ClientConnectorError):
        kind = next(known for known in _NO_CONNECTION if isinstance(error, known))
        why, mistake = _NO_CONNECTION[kind]
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            return UnreachableError(f"{why} ({error.certificate_error})", mistake=mistake)
        cause, number = error.os_error, error.os_error.errno or 0
        # asyncio replaces the system's text by one of its own.
        reason = os.strerror(number) if number > 0 else cause.strerror or str(cause)
        return UnreachableError(f"{why} ({reason})", mistake=mistake)
    for kind, why in _BROKEN.items():
        if isinstance(error, kind):
            return TransientError(why)
    return TransientError(f"the connection broke ({type(error).__name__}: {error})")


_PROXY: Final = "check HTTPS_PROXY or HTTP_PROXY, or add the host to NO_PROXY"
_NO_CONNECTION: Final[Mapping[type[Exception], tuple[str, str | None]]] = {
    aiohttp.ClientConnectorCertificateError: (
        "its certificate is not trusted", "name its authority's file in SSL_CERT_FILE",
    ),
    aiohttp.ClientConnectorSSLError: (
        "no TLS connection could be made", "does it speak http:// and not https://?",
    ),
    aiohttp.ClientConnectorDNSError: (
        "its name has no address", "check the spelling of the host",
    ),
    aiohttp.ClientProxyConnectionError: ("the environment's proxy cannot be reached", _PROXY),
    aiohttp.ClientConnectorError: ("no connection", None),
}  # fmt: skip
"""More specific errors come first."""
_BROKEN: Final[Mapping[type[Exception], str]] = {
    aiohttp.ServerDisconnectedError: "the connection ended without an answer",
    aiohttp.ClientPayloadError: "the answer broke off",
    aiohttp.ClientResponseError: "the answer is no HTTP",
}
