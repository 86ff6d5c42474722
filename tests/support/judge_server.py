"""A real HTTP server that speaks the chat completions API and misbehaves on request.

In tests it runs in a thread; `python tests/support/judge_server.py --port 0` runs it by itself, for
killing it and for measuring. It counts every request, and by content every answer that it sent in
full.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Headers = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request."""

    number: int
    """Of all requests, from 0."""
    nth: int
    """Of the requests with this content, from 0."""
    body: dict[str, Any]
    headers: Headers

    @property
    def text(self) -> str:
        """The text of the user message."""
        content = self.body["messages"][-1]["content"]
        if isinstance(content, str):
            return content
        return "".join(part["text"] for part in content if part["type"] == "text")


@dataclass(frozen=True, kw_only=True)
class Say:
    """What is sent back."""

    status: int = 200
    body: bytes | None = None
    """None is a well-formed completion of `text`."""
    text: str = "Yes"
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Of the completion, over the usual ones."""
    message: Mapping[str, Any] = field(default_factory=dict)
    finish_reason: str = "stop"
    logprobs: list[tuple[str, float]] | None = None
    """Of the first token; None answers (Yes, 0.9) when asked for any, an empty list none."""
    headers: Headers = field(default_factory=dict)
    seconds: float = 0.0
    """Later than usual."""
    cut: int | None = None
    """Bytes of the body that are sent before the connection is reset."""
    raw: bytes | None = None
    """Sent instead of any HTTP; the connection is closed behind it."""
    packed: bool = False
    """The body is compressed with gzip."""
    twice: bool = False
    """The whole answer is sent two times."""
    is_answer: bool | None = None
    """Whether it counts as a good answer; None takes the status 200 for one."""


def error(status: int, message: str = "no", **fields: Any) -> Say:
    headers = fields.pop("headers", {})
    body = json.dumps({"error": {"message": message, **fields}}).encode()
    return Say(status=status, body=body, headers=headers)


Script = Callable[[Call], Say]
CONTROL = "Reply with one word: yes."
"""How the question begins by which a client finds out whether a host answers at all."""


class JudgeServer:
    """Serves on 127.0.0.1 until closed."""

    def __init__(
        self,
        script: Script = lambda _: Say(),
        *,
        model: str = "test-vlm",
        latency: float = 0.0,
        parallel: int | None = None,
        queue: bool = False,
        control: Script = lambda _: Say(),
        models: list[dict[str, Any]] | None = None,
    ) -> None:
        """Serve.

        Args:
            script: what each call is answered with.
            control: what the control question is answered with; it is counted apart.
            model: the name it goes by.
            latency: seconds for each answer.
            parallel: answers at once; more are refused with 429, or wait with `queue`.
            models: the entries of its list of models; None has no such list.
        """
        self.models, self.listings = models, list[Headers]()
        self.script, self.model, self.latency, self.control = script, model, latency, control
        self.n_controls = 0
        self.parallel, self.queue = parallel, queue
        self.calls: list[Call] = []
        self.keep_calls = True
        self.n_calls = 0
        self.tries: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.busy = 0
        self.most_busy = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def spec(self) -> str:
        return f"{self.url}#{self.model}"

    async def serve(self, port: int = 0) -> asyncio.Server:
        server = await asyncio.start_server(self._connection, "127.0.0.1", port, limit=2**26)
        self.slots = asyncio.Semaphore(self.parallel or 10**6)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(
            ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError
        ):
            while await self._exchange(reader, writer):
                pass
        writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:])}
        content = await reader.readexactly(int(headers.get("content-length", "0")))
        path = head[0].split()[1]
        if path == "/stats":
            stats = {"calls": self.n_calls, "answered": sum(self.answered.values()),
                     "twice": sum(n > 1 for n in self.answered.values()),
                     "most_busy": self.most_busy}  # fmt: skip
            return await self._send(writer, Say(body=json.dumps(stats).encode()), {})
        if path == "/v1/models" and self.models is not None:
            self.listings.append(headers)
            listing = {"object": "list", "data": self.models}
            return await self._send(writer, Say(body=json.dumps(listing).encode()), {})
        if path != "/v1/chat/completions":
            return await self._send(writer, error(404, f"no {path}"), {})
        key = hashlib.sha256(content).hexdigest()
        call = Call(
            number=self.n_calls, nth=self.tries[key], body=json.loads(content), headers=headers
        )
        if call.text.startswith(CONTROL):
            self.n_controls += 1
            return await self._send(writer, self.control(call), call.body)
        self.n_calls += 1
        self.tries[key] += 1
        if self.keep_calls:
            self.calls.append(call)
        sent = await self._answer(call, writer)
        if sent:
            self.answered[key] += 1
        return sent is not False

    async def _answer(self, call: Call, writer: asyncio.StreamWriter) -> bool | None:
        """True: answered in full with 200; None: with an error; False: the connection is gone."""
        if self.parallel and self.busy >= self.parallel and not self.queue:
            await self._send(writer, error(429, "too many at once"), call.body)
            return None
        self.busy += 1
        self.most_busy = max(self.most_busy, min(self.busy, self.parallel or self.busy))
        try:
            async with self.slots:
                say = self.script(call)
                wait = self.latency if say.status == 200 else 0.0
                await asyncio.sleep(wait + say.seconds)
                alive = await self._send(writer, say, call.body)
        finally:
            self.busy -= 1
        is_good = say.status == 200 if say.is_answer is None else say.is_answer
        return False if not alive else (True if is_good else None)

    async def _send(
        self, writer: asyncio.StreamWriter, say: Say, request: Mapping[str, Any]
    ) -> bool:
        if say.raw is not None:
            writer.write(say.raw)
            await writer.drain()
            return False
        body = say.body if say.body is not None else self._completion(say, request)
        body = gzip.compress(body) if say.packed else body
        length = {"Content-Length": str(len(body))}
        headers = {"Content-Type": "application/json", **length, **say.headers}
        lines = [f"HTTP/1.1 {say.status} X"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        whole = head + (body if say.cut is None else body[: say.cut])
        writer.write(whole * (2 if say.twice else 1))
        await writer.drain()
        if say.cut is not None:
            writer.transport.abort()
            return False
        return True

    def _completion(self, say: Say, request: Mapping[str, Any]) -> bytes:
        message = {"role": "assistant", "content": say.text, **say.message}
        choice: dict[str, Any] = {"index": 0, "message": message}
        choice["finish_reason"] = say.finish_reason
        top = [("Yes", -0.105), ("No", -2.303)] if say.logprobs is None else say.logprobs
        if request.get("logprobs") and top:
            listed = [{"token": token, "logprob": logprob, "bytes": None} for token, logprob in top]
            choice["logprobs"] = {"content": [{**listed[0], "top_logprobs": listed}]}
        completion = {
            "id": "c", "object": "chat.completion", "model": self.model, "choices": [choice],
            "usage": {"prompt_tokens": 100, "completion_tokens": 1}, **say.fields,
        }  # fmt: skip
        return json.dumps(completion).encode()


@contextlib.contextmanager
def serving(server: JudgeServer, *, port: int = 0) -> Iterator[JudgeServer]:
    """The server in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    listening = run(server.serve(port))
    try:
        yield server
    finally:
        run(_close(listening))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _close(listening: asyncio.Server) -> None:
    listening.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def bursts(every: int, length: int, retry_after: float | None) -> Script:
    """After every `every` answers, `length` calls in a row are refused with 429."""
    state = {"answers": 0, "refusals": 0}
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}

    def script(_: Call) -> Say:
        if state["refusals"]:
            state["refusals"] -= 1
            return error(429, "slow down", headers=headers)
        state["answers"] += 1
        if state["answers"] % every == 0:
            state["refusals"] = length
        return Say()

    return script


async def _serve_alone(options: argparse.Namespace) -> None:
    def hold(call: Call) -> Say:
        return Say(seconds=3600.0 if call.number >= options.hold_from else 0.0)

    script: Script = hold
    if options.burst_every:
        script = bursts(options.burst_every, options.burst_length, options.retry_after)
    server = JudgeServer(
        script, latency=options.latency, parallel=options.parallel, queue=options.queue
    )
    server.keep_calls = False
    listening = await server.serve(options.port)
    print(server.port, flush=True)
    async with listening:
        await listening.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--parallel", type=int, default=None)
    parser.add_argument("--queue", action="store_true")
    parser.add_argument("--hold-from", type=int, default=10**9, help="calls that never answer")
    parser.add_argument("--burst-every", type=int, default=0)
    parser.add_argument("--burst-length", type=int, default=0)
    parser.add_argument("--retry-after", type=float, default=None)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve_alone(parser.parse_args()))


if __name__ == "__main__":
    main()
