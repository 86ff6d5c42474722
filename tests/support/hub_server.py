"""A real HTTP server on this machine that answers as the Hugging Face hub does.

Serves one repository from a folder, and the hub's own errors for others. The hub client finds it
through HF_ENDPOINT, which it reads when it is imported.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

COMMIT: Final = "0123456789abcdef0123456789abcdef01234567"
ERRORS: Final = {
    "some/gated": (403, "GatedRepo"),
    "some/unknown": (401, "RepoNotFound"),
    "some/other-revision": (404, "RevisionNotFound"),
    "some/other-layout": (404, "EntryNotFound"),
}
"""Repository -> status and X-Error-Code, as the hub's client tells them apart."""
_FILES_ONLY: Final = ("GatedRepo", "EntryNotFound")
"""Errors that meet who asks for a file, not who asks for the listing."""


class _Listener(ThreadingHTTPServer):
    """Knows the one repository that it serves."""

    daemon_threads = True

    def __init__(self, repo: str, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repo = repo
        self.files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        self.fetched: list[str] = []

    def api(self, path: str) -> Any:
        """The listing at an API path, or None where there is none."""
        if path.startswith(f"api/models/{self.repo}/tree/"):
            return [
                {"type": "file", "path": name, "size": len(content), "oid": _tag(content)}
                for name, content in self.files.items()
            ]
        if path.startswith("api/models/"):  # also a gated repository shows what it holds
            siblings = [{"rfilename": name} for name in self.files]
            return {"id": self.repo, "sha": COMMIT, "siblings": siblings}
        return None


def _tag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: _Listener

    def do_HEAD(self) -> None:
        self._serve(with_body=False)

    def do_GET(self) -> None:
        self._serve(with_body=True)

    def _serve(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0].lstrip("/")
        error = next((ERRORS[repo] for repo in ERRORS if repo in path), None)
        if error is not None and path.startswith("api/") and error[1] in _FILES_ONLY:
            error = None
        listing = self.server.api(path)
        name = path.partition(f"{self.server.repo}/resolve/")[2].partition("/")[2]
        if error is not None:
            self._send(error[0], b"", {"X-Error-Code": error[1]}, with_body=with_body)
        elif listing is not None:
            self._send(200, json.dumps(listing).encode(), {}, with_body=with_body)
        elif name not in self.server.files:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, with_body=with_body)
        else:
            content = self.server.files[name]
            headers = {"ETag": f'"{_tag(content)}"', "X-Repo-Commit": COMMIT}
            self._send(200, content, headers, with_body=with_body)
            if with_body:
                self.server.fetched.append(name)

    def _send(
        self, status: int, content: bytes, headers: dict[str, str], *, with_body: bool
    ) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if with_body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as inherited
        pass


@contextmanager
def serve_hub(repo: str, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of a hub that holds `repo`, and the list of files that it was asked for."""
    listener = _Listener(repo, folder)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.server_port}", listener.fetched
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
