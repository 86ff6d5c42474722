"""A lean httpx transport: one kept-alive connection to a server without TLS.

For judges on one's own machines, which answer faster than httpx's own transport can ask. Speaks
HTTP/1.1 with whole bodies; no proxies, no redirects, no HTTP/2.
"""

from __future__ import annotations

import asyncio
from typing import Final

import httpx

_LONGEST_HEAD: Final = 2**16
_LONGEST_BODY: Final = 64 * 2**20
_BROKEN: Final = (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError)
"""What asyncio and parsing raise on answers that end early or are no HTTP."""

_Headers = list[tuple[bytes, bytes]]


class PlainTransport(httpx.AsyncBaseTransport):
    """One request at a time."""

    def __init__(self) -> None:
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send and receive as a whole.

        Raises:
            httpx.TransportError: the connection failed, or the answer is no HTTP.
        """
        whole = False
        try:
            reader, writer = await self._connection(request.url)
            writer.write(_as_bytes(request))
            await writer.drain()
            response, keep = await _read_response(reader)
            whole = keep
        except _BROKEN as error:
            raise httpx.RemoteProtocolError(f"the answer broke off: {error}") from error
        except OSError as error:
            raise httpx.ReadError(str(error) or type(error).__name__) from error
        finally:
            if not whole:
                await self.aclose()
        return response

    async def _connection(
        self, url: httpx.URL
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None or self._reader.at_eof():
            await self.aclose()
            try:
                self._reader, self._writer = await asyncio.open_connection(
                    url.host, url.port or 80, limit=_LONGEST_HEAD
                )
            except OSError as error:
                raise httpx.ConnectError(str(error)) from error
        return self._reader, self._writer

    async def aclose(self) -> None:
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            # Not waited for: what is left of a broken connection is of no interest.
            writer.transport.abort()


def _as_bytes(request: httpx.Request) -> bytes:
    lines = [b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%s: %s" % pair for pair in request.headers.raw]
    return b"\r\n".join([*lines, b"", request.content])


async def _read_response(reader: asyncio.StreamReader) -> tuple[httpx.Response, bool]:
    """The answer, and whether the connection can be used again."""
    status, headers = await _read_head(reader)
    while status < 200:
        status, headers = await _read_head(reader)
    fields = {name.lower(): value.strip().lower() for name, value in headers}
    keep = fields.get(b"connection") != b"close"
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        body = await _read_chunks(reader)
    elif b"content-length" in fields:
        body = await reader.readexactly(_bounded(int(fields[b"content-length"])))
    elif status in (204, 304):
        body = b""
    else:
        keep, body = False, await reader.read(_LONGEST_BODY)
    # As a stream, so that httpx undoes a compression that the headers name.
    stream = httpx.ByteStream(body)
    return httpx.Response(status, headers=headers, stream=stream), keep


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, _Headers]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
    version, status, *_ = first.split(b" ")
    if not version.startswith(b"HTTP/1."):
        raise ValueError("no HTTP/1 status line")
    pairs = (line.partition(b":") for line in lines)
    return int(status), [(name.strip(), value.strip()) for name, _, value in pairs]


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        body += await reader.readexactly(_bounded(len(body) + size) - len(body))
        await reader.readexactly(2)
    while (await reader.readuntil(b"\r\n")) != b"\r\n":
        pass  # trailers
    return bytes(body)


def _bounded(size: int) -> int:
    if not 0 <= size <= _LONGEST_BODY:
        raise ValueError(f"a body of {size} bytes")
    return size
