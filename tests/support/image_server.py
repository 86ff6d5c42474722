"""A real HTTP server on this machine that speaks the OpenAI images API and can misbehave.

Each incoming request takes the next planned step, else what `answer` says, else plain success.
Records what it was asked.
"""

from __future__ import annotations

import base64
import contextlib
import email
import email.policy
import io
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One answer that departs from plain success."""

    status: int = 200
    error: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """Sent as it is in place of an answer of the API."""
    size: str | None = None
    """Draw this size, whatever was asked for."""
    as_url: bool | str = False
    """Answer with an address in place of the image; text is the address itself."""
    item: dict[str, Any] | None = None
    """The object in `data`."""
    delay_seconds: float = 0.0
    hang_up: bool = False
    """Close the connection without an answer."""


@dataclass(slots=True)
class ImageServer:
    """What was planned and what came in."""

    url: str = ""
    steps: deque[Step] = field(default_factory=deque)
    answer: Callable[[dict[str, Any]], Step] = lambda body: Step()
    image_steps: deque[Step] = field(default_factory=deque)
    """The same for requests for images; status and headers alone."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    image_keys: list[str | None] = field(default_factory=list)
    """Authorization headers of requests for images."""
    models: list[dict[str, Any]] = field(default_factory=list)
    """The entries of its list of models; without any it has no such list."""
    listings: int = 0
    """How often the list was read."""
    model: str | None = None
    """What successful answers say that answered."""
    busiest: int = 0
    """Most requests under way at once."""
    _under_way: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next_step(self, body: dict[str, Any], key: str | None) -> Step:
        with self._lock:
            self.bodies.append(body)
            self.keys.append(key)
            return self.steps.popleft() if self.steps else self.answer(body)

    def enter(self, change: int) -> None:
        with self._lock:
            self._under_way += change
            self.busiest = max(self.busiest, self._under_way)


def encoded_image(body: dict[str, Any], size: str | None = None) -> bytes:
    """A PNG whose colour follows the prompt and the seed."""
    width, height = (int(side) for side in (size or body.get("size") or "16x16").split("x"))
    tint = sum(body["prompt"].encode()) + 7 * int(body.get("seed", 0)) + sum(body.get("image", b""))
    file = io.BytesIO()
    Image.new("RGB", (width, height), (tint % 256, 90, 60)).save(file, "PNG")
    return file.getvalue()


def _handler(server: ImageServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            editing = self.path == "/v1/images/edits"
            body = _form(self.headers["Content-Type"], content) if editing else json.loads(content)
            step = server.next_step(body, self.headers.get("Authorization"))
            server.enter(1)
            time.sleep(step.delay_seconds)
            server.enter(-1)
            if step.hang_up:
                self.close_connection = True
                return
            if self.path not in ("/v1/images/generations", "/v1/images/edits"):
                step = Step(status=404, error={"message": "no such route"})
            content = _with_model(_content(step, body, server.url), step, server.model)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # had enough of it
                self._answer(step.status, content, step.headers)

        def do_GET(self) -> None:
            if self.path == "/v1/models":
                server.listings += 1
                listing = json.dumps({"data": server.models}).encode()
                self._answer(200 if server.models else 404, listing, {})
                return
            server.image_keys.append(self.headers.get("Authorization"))
            if server.image_steps:
                step = server.image_steps.popleft()
                self._answer(step.status, b"", step.headers)
                return
            self._answer(200, encoded_image({"prompt": "by address"}), {})

        def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as inherited
            pass

    return Handler


def _form(content_type: str, content: bytes) -> dict[str, Any]:
    """The fields of a multipart form; a file's value is its bytes."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.message_from_bytes(head + content, policy=email.policy.HTTP)
    fields: dict[str, Any] = {}
    for part in message.iter_parts():
        name = str(part.get_param("name", header="content-disposition"))
        value = part.get_payload(decode=True)
        assert isinstance(value, bytes)
        fields[name] = value if part.get_filename() else value.decode()
    return fields


def _with_model(content: bytes, step: Step, model: str | None) -> bytes:
    if model is None or step.status != 200:
        return content
    return json.dumps({**json.loads(content), "model": model}).encode()


def _content(step: Step, body: dict[str, Any], url: str) -> bytes:
    if step.body is not None:
        return step.body
    if step.error is not None:
        return json.dumps({"error": step.error}).encode()
    if step.item is not None:
        return json.dumps({"data": [step.item]}).encode()
    if step.as_url:
        address = step.as_url if isinstance(step.as_url, str) else f"{url}/images/1.png"
        return json.dumps({"data": [{"url": address}]}).encode()
    encoded = base64.b64encode(encoded_image(body, step.size)).decode()
    return json.dumps({"created": 1, "data": [{"b64_json": encoded}]}).encode()


@contextlib.contextmanager
def serve() -> Iterator[ImageServer]:
    """A server on a free port; its `url` ends in /v1."""
    state = ImageServer()
    listener = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    listener.daemon_threads = True
    state.url = f"http://127.0.0.1:{listener.server_address[1]}/v1"
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
