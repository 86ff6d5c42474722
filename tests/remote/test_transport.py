"""What servers and proxies send is read whole, within bounds, and by the request that it is for."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import re
from collections.abc import Awaitable, Callable

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.remote.responses import TransientError
from alphabench.remote.transport import Received, Transport, UnreachableError, proxy_for

OK = b"HTTP/1.1 200 OK\r\n"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def exchange(
    serve: Handler, *, count: int = 1, sent: asyncio.Event | None = None, seconds: float = 5.0
) -> tuple[list[Received], int]:
    """The answers to the bodies b"0", b"1", ... in turn, and the number of connections.

    After the answer to 3 it is waited until the server has `sent` what it sends besides.
    """
    served: list[asyncio.Task[object]] = []

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.append(task)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def run() -> list[Received]:
        server = await asyncio.start_server(guarded, "127.0.0.1", 0)
        base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        transport = Transport(base)
        received = []
        async with server:
            try:
                for number in range(count):
                    content = str(number).encode()
                    received.append(
                        await transport.post(f"{base}/x", content, {}, timeout_seconds=seconds)
                    )
                    if sent is not None and number == 3:
                        await sent.wait()
                        await asyncio.sleep(0.02)  # it has arrived: this is for the loop to see it
            finally:
                await transport.close()
                await asyncio.gather(*served)
        return received

    return asyncio.run(run()), len(served)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    assert length is not None
    return await reader.readexactly(int(length[1]))


def always(answer: bytes, *, hang_up: bool = True) -> Handler:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            writer.write(answer)
            await writer.drain()
            if hang_up:
                return

    return serve


def whole(body: bytes) -> bytes:
    return OK + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def test_requests_share_one_connection() -> None:
    received, connections = exchange(always(whole(b"hi"), hang_up=False), count=3)
    assert [one.content for one in received] == [b"hi"] * 3
    assert connections == 1


def echo_twice(
    extra: Callable[[bytes], bytes], sent: asyncio.Event, *, seconds: float | None
) -> Handler:
    """Repeats the body; behind the answer to 3 comes something more, `seconds` later."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            body = await read_request(reader)
            more = extra(whole(body)) if body == b"3" else b""
            if more and seconds is not None:
                writer.write(whole(body))
                await writer.drain()
                await asyncio.sleep(seconds)
                writer.write(more)
            else:
                writer.write(whole(body) + more)
            await writer.drain()
            if more:
                sent.set()

    return serve


@pytest.mark.parametrize("seconds", [None, 0.0, 0.02], ids=["in one piece", "at once", "later"])
@pytest.mark.parametrize(
    "extra",
    [lambda answer: answer, lambda answer: answer * 3, lambda answer: answer[:-1]],
    ids=["twice", "four times", "cut"],
)
def test_bytes_without_a_request_are_never_the_next_response(
    extra: Callable[[bytes], bytes], seconds: float | None
) -> None:
    sent = asyncio.Event()
    received, connections = exchange(echo_twice(extra, sent, seconds=seconds), count=6, sent=sent)
    assert [one.content for one in received] == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert connections == 2


@pytest.mark.parametrize("more", [b"\r", b"H", b"HTTP/1.1 2", b"\x00\xff\r\n\r\n"])
def test_a_single_byte_that_comes_later_ends_the_connection(more: bytes) -> None:
    sent = asyncio.Event()
    serve = echo_twice(lambda _: more, sent, seconds=0.02)
    received, connections = exchange(serve, count=6, sent=sent)
    assert [one.content for one in received] == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert connections == 2


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", b"abcde"),
        (OK + b"Connection: close\r\n\r\n" + b"to the end" * 9000, b"to the end" * 9000),
        (b"HTTP/1.0 200 OK\r\n\r\nto the end", b"to the end"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + whole(b"x"), b"x"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nRetry-After: 3\r\n\r\nlate", b"late"),
        (b"HTTP/1.1 204 No\r\n\r\n", b""),
        (b"HTTP/1.1 307 There\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n", b""),
        (OK + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n" + gzip.compress(b"x"), b"x"),
    ],
    ids=["chunks", "to the end", "HTTP/1.0", "after 100", "an error", "nothing", "a redirection",
         "gzip"],
)  # fmt: skip
def test_bodies_of_every_form_are_read_completely(answer: bytes, body: bytes) -> None:
    (received,), _ = exchange(always(answer))
    assert received.content == body


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"\x00\xff\r\n\r\n", b"HTTP/1.1 okay\r\n\r\n", b"SSH-2.0 200 x\r\n\r\n",
        OK + b"Content-Length: 9\r\nConnection: close\r\n\r\nshort",
        OK + b"Content-Length: many\r\n\r\n", OK + b"Content-Length: 99999999999\r\n\r\nx",
        OK + b"Content-Length: -5\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n",
        OK + b"X: " + b"a" * 200_000 + b"\r\nContent-Length: 0\r\n\r\n",
        OK + b"Content-Length: 17000000\r\n\r\n" + b"x" * 17_000_000,
        OK + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n"
        + gzip.compress(b" " * 17_000_000),
        OK + b"Content-Encoding: br\r\nContent-Length: 1\r\n\r\nx",
    ],
    ids=["nothing", "bytes", "no status", "no HTTP", "cut", "no length", "cut and huge", "negative",
         "no chunk", "long head", "large", "large when unpacked", "not asked for"],
)  # fmt: skip
def test_an_incomplete_response_is_a_transient_error(answer: bytes) -> None:
    with pytest.raises(TransientError) as fault:
        exchange(always(answer))
    assert not isinstance(fault.value, UnreachableError)
    assert len(str(fault.value)) < 300


def test_a_server_that_never_answers_is_given_up_in_time() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    with pytest.raises(TransientError, match=r"no answer within 0\.1 s"):
        exchange(silent, seconds=0.1)


@pytest.mark.parametrize(
    ("base", "why", "has_mistake"),
    [
        ("http://127.0.0.1:1/v1", "no connection", False),
        ("https://127.0.0.1:1/v1", "no connection", False),
        ("http://nowhere.invalid/v1", "its name has no address", True),
    ],
)
def test_a_host_that_cannot_be_reached_says_nothing_about_the_question(
    base: str, why: str, has_mistake: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    async def ask() -> None:
        transport = Transport(base)
        try:
            await transport.post(f"{base}/x", b"", {}, timeout_seconds=20.0)
        finally:
            await transport.close()

    with pytest.raises(UnreachableError, match=why) as fault:
        asyncio.run(ask())
    assert (fault.value.mistake is not None) == has_mistake


def test_a_proxy_comes_from_the_environment_and_never_for_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "proxy.lan:3128")
    assert proxy_for("https://judge.example/v1") == "http://proxy.lan:3128"
    assert proxy_for("http://judge.example/v1") is None
    assert proxy_for("https://127.0.0.1:8000/v1") is None
    monkeypatch.setenv("no_proxy", "judge.example")
    assert proxy_for("https://judge.example/v1") is None


@pytest.mark.parametrize("proxy", ["socks5://u:secret@p:1", "http://", "http://p:99999", "://"])
def test_a_proxy_that_cannot_be_used_is_refused_without_its_password(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(AlphaBenchError, match="HTTPS_PROXY") as refused:
        proxy_for("https://judge.example/v1")
    assert "secret" not in str(refused.value)
