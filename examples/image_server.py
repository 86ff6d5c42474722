r"""An HTTP server with the OpenAI images API around any function of a prompt. Needs only Python.

    cd examples
    python image_server.py checkpoint_object:generate --port 8001
    alphabench run geneval:mini --ckpt http://127.0.0.1:8001/v1#collage --set send_seed=true \
        --evaluator nano --limit 12

Run the second command in another terminal. A model that several machines share, or that needs other
packages than AlphaBench, is best behind such a server.

docs/extending/checkpoint.md walks through this file.
"""

from __future__ import annotations

import argparse
import base64
import importlib
import io
import json
import random
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MOST_BYTES = 2**20
Generate = Callable[..., Any]
"""Called with a prompt and a seed; returns a Pillow image."""


class ImageApi(ThreadingHTTPServer):
    """Serves one function; requests wait for one another, as most models need."""

    def __init__(self, address: tuple[str, int], generate: Generate, model: str) -> None:
        super().__init__(address, Handler)
        self.generate, self.model = generate, model
        self.one_at_a_time = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """`POST /v1/images/generations` and `GET /v1/models`."""

    server: ImageApi
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """The served model."""
        if self.path.rstrip("/") == "/v1/models":
            self.answer(200, {"object": "list", "data": [{"id": self.server.model}]})
        else:
            self.answer(404, error(f"there is no {self.path}"))

    def do_POST(self) -> None:
        """One image for a prompt."""
        length = int(self.headers.get("Content-Length", 0))
        if self.path != "/v1/images/generations" or not 0 < length <= MOST_BYTES:
            self.answer(404, error(f"there is no {self.path}, or its body is too long"))
            return
        try:
            body = json.loads(self.rfile.read(length))
            prompt, seed = str(body["prompt"]), body.get("seed")
            if body.get("model", self.server.model) != self.server.model:
                self.answer(404, error(f"the model is {self.server.model!r}"))
                return
            seed = random.getrandbits(31) if seed is None else int(seed)
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            self.answer(400, error(f"the request cannot be read: {problem!r}"))
            return
        try:
            with self.server.one_at_a_time:
                image = self.server.generate(prompt, seed)
        except Exception as problem:  # noqa: BLE001 - the client gets the reason
            self.answer(500, error(f"{type(problem).__name__}: {problem}"))
            return
        if not hasattr(image, "save"):  # the function declined: alphabench.NotGenerated
            code = "content_policy_violation"
            self.answer(400, error(getattr(image, "reason", "no image"), code=code))
            return
        file = io.BytesIO()
        image.save(file, format="PNG")
        item = {"b64_json": base64.b64encode(file.getvalue()).decode()}
        self.answer(200, {"created": int(time.time()), "data": [item]})

    def answer(self, status: int, content: dict[str, Any]) -> None:
        """Send JSON."""
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """No line for each request."""


def error(message: str, code: str | None = None) -> dict[str, Any]:
    """An error as the API has it; the code tells a refusal from a failure."""
    return {"error": {"message": message, "code": code, "type": "invalid_request_error"}}


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="Serve a function of a prompt and a seed.")
    parser.add_argument("function", metavar="MODULE:FUNCTION")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8001, help="0 takes a free one")
    parser.add_argument("--model", default="collage", help="the name that clients give")
    chosen = parser.parse_args()
    sys.path.insert(0, str(Path.cwd()))
    module, _, name = chosen.function.partition(":")
    generate = getattr(importlib.import_module(module), name)
    with ImageApi((chosen.host, chosen.port), generate, chosen.model) as server:
        print(f"serving http://{chosen.host}:{server.server_port}/v1#{chosen.model}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("stopped")


if __name__ == "__main__":
    main()
