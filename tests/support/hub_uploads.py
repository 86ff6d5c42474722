"""A real HTTP server on this machine that takes uploads as the Hugging Face hub does.

It speaks what the hub's client needs to make a repository and to upload a folder: regular files in
the commit, large ones by Git LFS. The client's other way, Xet, is switched off for it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import pytest

TOKEN: Final = "hf_abcdefghijklmnopqrstuvwxyz123456"
"""The only one that is accepted."""
OWNER: Final = "me"
"""Whom the token belongs to, and the only one it may write for."""
COMMIT: Final = "0123456789abcdef0123456789abcdef01234567"
_LARGE: Final = (".safetensors", ".png")


@dataclass
class Uploads:
    """What the hub holds, and how it was spoken to."""

    address: str = ""
    private: dict[str, bool] = field(default_factory=dict)
    """By repository."""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Of each repository, as they were committed."""
    messages: list[str] = field(default_factory=list)
    """Of the commits."""
    requests: list[str] = field(default_factory=list)
    failing: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Part of a path -> the status and message that it is answered with."""
    large: dict[str, bytes] = field(default_factory=dict)
    """Content by sha256, before it is committed."""


class _Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.uploads = Uploads(address=f"http://127.0.0.1:{self.server_port}")


class _Handler(BaseHTTPRequestHandler):
    server: _Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(b"")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    do_PUT = do_POST

    def _answer(self, content: bytes) -> None:
        path, uploads = self.path.partition("?")[0], self.server.uploads
        uploads.requests.append(f"{self.command} {path}")
        failure = next((one for part, one in uploads.failing.items() if part in path), None)
        if path.startswith("/large/"):  # where the hub sends the client: without its token
            uploads.large[path.rpartition("/")[2]] = content
            self._send(200, {})
        elif self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._send(401, {"error": "Invalid credentials in Authorization header"})
        elif failure is not None:
            self._send(failure[0], {"error": failure[1]})
        else:
            self._serve(path, content)

    def _serve(self, path: str, content: bytes) -> None:
        uploads = self.server.uploads
        if path == "/api/repos/create":
            self._create(json.loads(content))
        elif path == "/api/validate-yaml":
            self._send(200, {"errors": [], "warnings": []})
        elif match := re.fullmatch(r"/(.+)\.git/info/lfs/objects/batch", path):
            objects = [self._place(one) for one in json.loads(content)["objects"]]
            self._send(200, {"transfer": "basic", "objects": objects})
        elif match := re.fullmatch(r"/api/models/(.+)/preupload/main", path):
            names = [one["path"] for one in json.loads(content)["files"]]
            self._send(200, {"files": [self._mode(name) for name in names]})
        elif match := re.fullmatch(r"/api/models/(.+)/commit/main", path):
            self._commit(match[1], [json.loads(line) for line in content.splitlines()])
        elif match := re.fullmatch(r"/(.+)/resolve/main/(.+)", path):
            self._resolve(uploads.files.get(match[1]), match[2])
        elif (repo := path.removeprefix("/api/models/")) in uploads.private:
            self._send(200, {"id": repo, "private": uploads.private[repo], "sha": COMMIT})
        else:
            self._send(404, {"error": "Repository not found"}, code="RepoNotFound")

    def _resolve(self, files: dict[str, bytes] | None, name: str) -> None:
        if files is None:
            self._send(404, {"error": "Repository not found"}, code="RepoNotFound")
        elif name not in files:
            self._send(404, {"error": "Entry not found"}, code="EntryNotFound")
        else:
            content = files[name]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else content)

    def _create(self, wanted: dict[str, Any]) -> None:
        uploads, repo = self.server.uploads, f"{wanted['organization']}/{wanted['name']}"
        url = {"url": f"{uploads.address}/{repo}"}
        if repo in uploads.private:
            self._send(409, {**url, "error": "You already created this model repo"})
        elif wanted["organization"] != OWNER:
            said = f"You don't have the rights to create a model under {wanted['organization']}"
            self._send(403, {"error": said})
        else:
            uploads.private[repo] = wanted["visibility"] == "private"
            self._send(200, url)

    def _place(self, one: dict[str, Any]) -> dict[str, Any]:
        href = f"{self.server.uploads.address}/large/{one['oid']}"
        return {**one, "actions": {"upload": {"href": href, "header": {}}}}

    def _mode(self, name: str) -> dict[str, Any]:
        mode = "lfs" if name.endswith(_LARGE) else "regular"
        return {"path": name, "uploadMode": mode, "shouldIgnore": False}

    def _commit(self, repo: str, lines: list[dict[str, Any]]) -> None:
        uploads = self.server.uploads
        files = uploads.files.setdefault(repo, {})
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                uploads.messages.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = uploads.large[value["oid"]]
        url = f"{uploads.address}/{repo}/commit/{COMMIT}"
        self._send(200, {"success": True, "commitUrl": url, "commitOid": COMMIT})

    def _send(self, status: int, answer: dict[str, Any], *, code: str | None = None) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if code is not None:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as inherited
        pass


@contextmanager
def serve_uploads() -> Iterator[Uploads]:
    """A hub without repositories, and the client of this process sent to it with its token."""
    from huggingface_hub import constants

    hub = _Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(constants, "ENDPOINT", hub.uploads.address)
            template = f"{hub.uploads.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
            patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
            patch.setattr(constants, "HF_HUB_OFFLINE", False)
            patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
            patch.setattr(constants, "HF_TOKEN_PATH", "/nowhere/token")
            patch.setenv("HF_TOKEN", TOKEN)
            yield hub.uploads
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
