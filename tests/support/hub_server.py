"""A real HTTP server on this machine that answers as the Hugging Face hub does.

Serves one repository from a folder, and the hub's own errors for others. The hub client finds it
through HF_ENDPOINT, which it reads when it is imported; `hub_clients_at` changes what it has read.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal
from urllib.parse import parse_qs

import pytest

RepositoryKind = Literal["models", "datasets"]
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

    def __init__(self, repo: str, states: Mapping[str, Path], *, kind: RepositoryKind) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repo, self.kind = repo, kind
        self.states = {commit: _contents(folder) for commit, folder in states.items()}
        self.newest = next(iter(states))
        self.fetched: list[str] = []

    def commit_at(self, revision: str) -> str:
        """The commit of a revision; branches are at the newest."""
        return revision if revision in self.states else self.newest

    def api(self, path: str, query: str, sent: bytes) -> Any:
        """The listing at an API path, or None where there is none."""
        own = f"api/{self.kind}/{self.repo}"
        what, _, rest = path.removeprefix(f"{own}/").partition("/")
        revision, _, folder = rest.partition("/")
        files = self.states[self.commit_at(revision)]
        if what == "tree":
            return _listed(files, folder, deep=parse_qs(query).get("recursive") == ["true"])
        if what == "paths-info":
            wanted = parse_qs(sent.decode()).get("paths", [])
            return [entry for entry in _listed(files, "", deep=True) if entry["path"] in wanted]
        if path.startswith(f"api/{self.kind}/"):  # also a gated repository shows what it holds
            siblings = [{"rfilename": name} for name in files]
            return {"id": self.repo, "sha": self.commit_at(revision), "siblings": siblings}
        return None


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _listed(files: Mapping[str, bytes], folder: str, *, deep: bool) -> list[dict[str, Any]]:
    """Files and folders below a folder."""
    start = f"{folder}/" if folder else ""
    below = {name: content for name, content in files.items() if name.startswith(start)}
    folders = {str(one) for name in below for one in Path(name).parents if str(one) != "."}
    entries: list[dict[str, Any]] = [
        {"type": "directory", "path": one, "oid": _tag(one.encode())}
        for one in sorted(folders)
        if one.startswith(start)
    ]
    entries += [
        {"type": "file", "path": name, "size": len(content), "oid": _tag(content)}
        for name, content in below.items()
    ]
    return [one for one in entries if deep or "/" not in one["path"].removeprefix(start)]


def _tag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: _Listener

    def do_HEAD(self) -> None:
        self._serve(with_body=False)

    def do_GET(self) -> None:
        self._serve(with_body=True)

    def do_POST(self) -> None:
        self._serve(with_body=True, sent=self.rfile.read(int(self.headers["Content-Length"])))

    def _serve(self, *, with_body: bool, sent: bytes = b"") -> None:
        path, _, query = self.path.lstrip("/").partition("?")
        error = next((ERRORS[repo] for repo in ERRORS if repo in path), None)
        listed = path.startswith("api/") and not path.endswith("/auth-check")
        if error is not None and listed and error[1] in _FILES_ONLY:
            error = None
        listing = self.server.api(path, query, sent)
        revision, _, name = path.partition(f"{self.server.repo}/resolve/")[2].partition("/")
        commit = self.server.commit_at(revision)
        files = self.server.states[commit]
        if error is not None:
            self._send(error[0], b"", {"X-Error-Code": error[1]}, with_body=with_body)
        elif listing is not None:
            self._send(200, json.dumps(listing).encode(), {}, with_body=with_body)
        elif name not in files:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"}, with_body=with_body)
        else:
            content = files[name]
            headers = {"ETag": f'"{_tag(content)}"', "X-Repo-Commit": commit}
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
def serve_hub(
    repo: str,
    folder: Path,
    *,
    kind: RepositoryKind = "models",
    commit: str = COMMIT,
    before: Mapping[str, Path] = MappingProxyType({}),
) -> Iterator[tuple[str, list[str]]]:
    """The address of a hub that holds `repo`, and the list of files that it was asked for.

    Args:
        repo: the one that is there.
        folder: its content.
        kind: of it.
        commit: that it is at.
        before: content of earlier commits.
    """
    listener = _Listener(repo, {commit: folder} | {**before, commit: folder}, kind=kind)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.server_port}", listener.fetched
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()


@contextmanager
def hub_clients_at(address: str, cache: Path) -> Iterator[None]:
    """Sends the hub's clients of this process, `datasets` among them, to a hub and to a cache.

    Args:
        address: of the hub; "" is no network at all.
        cache: folder of what they fetch.
    """
    import datasets  # type: ignore[import-untyped]
    from huggingface_hub import constants

    # Not by its length: another test of the process may have changed the endpoint alone.
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE
    template = template[template.index("/{repo_id}") :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", address)
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + template)
        patch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        patch.setattr(constants, "HF_HUB_OFFLINE", not address)
        patch.setattr(datasets.config, "HF_ENDPOINT", address)
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", not address)
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", cache / "datasets")
        patch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", False)
        yield
