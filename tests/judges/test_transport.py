"""The lean transport reads what servers send, and says so when it is no HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import gzip

import httpx
import pytest

from alphabench.judges.transport import PlainTransport

OK = b"HTTP/1.1 200 OK\r\n"


def talk(
    answer: bytes, *, count: int = 1, keep: bool = False
) -> tuple[list[httpx.Response], int, list[bytes]]:
    """The responses to `count` requests, the number of connections, and what was received.

    The server hangs up after each answer unless it is to `keep` the connection.
    """
    received: list[bytes] = []
    served: list[asyncio.Task[object]] = []
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        task = asyncio.current_task()
        assert task is not None
        served.append(task)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                received.append(head + await reader.readexactly(len(b"body")))
                writer.write(answer)
                await writer.drain()
                if not keep:
                    break
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def run() -> list[httpx.Response]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/x"
        async with server, httpx.AsyncClient(transport=PlainTransport()) as client:
            try:
                return [await client.post(f"{url}?n={n}", content=b"body") for n in range(count)]
            finally:
                await client.aclose()
                await asyncio.gather(*served)

    return asyncio.run(run()), connections, received


def test_requests_are_whole_and_share_one_connection() -> None:
    responses, connections, received = talk(
        OK + b"Content-Length: 2\r\nX-A: b\r\n\r\nhi", count=3, keep=True
    )
    assert [r.text for r in responses] == ["hi"] * 3
    assert responses[0].headers["x-a"] == "b"
    assert connections == 1
    assert received[1].startswith(b"POST /v1/x?n=1 HTTP/1.1\r\n")
    assert received[1].endswith(b"\r\n\r\nbody")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", "abcde"),
        (OK + b"Connection: close\r\n\r\nto the end", "to the end"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\nx", "x"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nRetry-After: 3\r\n\r\nlate", "late"),
        (b"HTTP/1.1 204\r\nContent-Length: 0\r\n\r\n", ""),
    ],
    ids=["chunks", "to the end", "after 100", "an error", "nothing"],
)
def test_bodies_of_every_form_are_read(answer: bytes, text: str) -> None:
    (response,), _, _ = talk(answer)
    assert response.text == text


def test_a_compressed_body_is_undone() -> None:
    body = gzip.compress(b"plain words")
    head = b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    (response,), _, _ = talk(OK + head + body)
    assert response.text == "plain words"


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"\x00\xff\r\n\r\n", b"HTTP/1.1 okay\r\n\r\n", b"SSH-2.0 200 x\r\n\r\n",
        OK + b"Content-Length: 9\r\nConnection: close\r\n\r\nshort",
        OK + b"Content-Length: many\r\n\r\n", OK + b"Content-Length: 99999999999\r\n\r\n",
        OK + b"Content-Length: -5\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n",
        OK + b"X: " + b"a" * 200_000,
    ],
    ids=["nothing", "bytes", "no status", "no HTTP", "cut", "no length", "huge", "negative",
         "no chunk", "endless head"],
)  # fmt: skip
def test_what_is_no_http_is_a_transport_error(answer: bytes) -> None:
    with pytest.raises(httpx.TransportError):
        talk(answer)


def test_a_closed_port_is_a_transport_error() -> None:
    async def ask() -> None:
        async with httpx.AsyncClient(transport=PlainTransport()) as client:
            await client.post("http://127.0.0.1:1/x", content=b"")

    with pytest.raises(httpx.ConnectError):
        asyncio.run(ask())


def test_a_connection_that_the_server_closed_is_opened_anew() -> None:
    responses, connections, _ = talk(
        OK + b"Content-Length: 2\r\nConnection: close\r\n\r\nhi", count=3
    )
    assert [r.text for r in responses] == ["hi"] * 3
    assert connections == 3
