"""Downloads, from a real server on this machine that misbehaves on request."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.upstream import UpstreamData, pin_of
from alphabench.upstream.sources import DownloadRetries, address_of, download, open_client

CONTENT_PATH = "/djghosh13/geneval/prompts/evaluation_metadata.jsonl"


@dataclass
class Mirror:
    """What the server answers, request by request; the last answer stays."""

    url: str = ""
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    promised_bytes: int | None = None
    """Announced in the header instead of the true length: the answer is cut short."""
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    state = Mirror()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            status, body = state.answers[min(len(state.asked), len(state.answers)) - 1]
            self.send_response(status)
            self.send_header("Content-Length", str(state.promised_bytes or len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def content(shared: Path) -> bytes:
    return (shared / "upstream" / CONTENT_PATH.lstrip("/")).read_bytes()


@pytest.fixture
def data(tmp_path: Path) -> UpstreamData:
    return UpstreamData(cache_dir=tmp_path / "cache")


def retries(waits: list[float] | None = None, **others: float) -> DownloadRetries:
    sleep = (lambda _: None) if waits is None else waits.append
    return DownloadRetries(sleep=sleep, timeout_seconds=others.get("timeout_seconds", 5.0))


def nothing_below(data: UpstreamData) -> bool:
    return not [each for each in data.cache_dir.rglob("*") if each.is_file()]


def test_a_mirror_serves_the_layout_of_the_folder(
    mirror: Mirror, content: bytes, data: UpstreamData
) -> None:
    mirror.answers = [(200, content)]
    report = data.fetch("geneval", source=f"{mirror.url}/", retries=retries())
    assert [file.outcome for file in report.files] == ["fetched"]
    assert mirror.asked == [CONTENT_PATH]
    assert data.read("geneval", "prompts/evaluation_metadata.jsonl") == content


def test_the_default_source_is_the_repository_at_the_pinned_commit() -> None:
    pin = pin_of("geneval")
    assert address_of(pin, pin.files[0]) == (
        "https://raw.githubusercontent.com/djghosh13/geneval/"
        "af4902f24d3ca90ebbb446dd9891a59e0f82725f/prompts/evaluation_metadata.jsonl"
    )


@pytest.mark.parametrize("status", [500, 503, 429])
def test_requests_to_a_busy_server_are_repeated_after_growing_waits(
    mirror: Mirror, content: bytes, data: UpstreamData, status: int
) -> None:
    mirror.answers = [(status, b""), (status, b""), (200, content)]
    waits: list[float] = []
    data.fetch("geneval", source=mirror.url, retries=retries(waits))
    assert waits == [1.0, 2.0]
    assert data.missing("geneval") == []


def test_a_server_that_stays_broken_is_given_up(mirror: Mirror, data: UpstreamData) -> None:
    mirror.answers = [(500, b"")]
    with pytest.raises(AlphaBenchError, match="the server answers 500"):
        data.fetch("geneval", source=mirror.url, retries=retries())
    assert len(mirror.asked) == 4
    assert nothing_below(data)


def test_a_missing_file_is_requested_only_once(mirror: Mirror, data: UpstreamData) -> None:
    mirror.answers = [(404, b"no")]
    with pytest.raises(AlphaBenchError, match="the server answers 404") as caught:
        data.fetch("geneval", source=mirror.url, retries=retries())
    assert len(mirror.asked) == 1
    assert "--from" in caught.value.hint


def test_a_connection_that_breaks_off_is_tried_again_and_never_believed(
    mirror: Mirror, content: bytes, data: UpstreamData
) -> None:
    mirror.answers = [(200, content[:1000])]
    mirror.promised_bytes = len(content)
    with pytest.raises(AlphaBenchError, match="could not be downloaded"):
        data.fetch("geneval", source=mirror.url, retries=retries())
    assert len(mirror.asked) == 4
    assert nothing_below(data)


@pytest.mark.parametrize("change", [b"cut", b"longer"])
def test_a_file_of_another_digest_is_refused(
    mirror: Mirror, content: bytes, data: UpstreamData, change: bytes
) -> None:
    mirror.answers = [(200, content[:500] if change == b"cut" else content + b"x" * 100_000)]
    with pytest.raises(AlphaBenchError, match=r"is refused|larger than") as caught:
        data.fetch("geneval", source=mirror.url, retries=retries())
    assert mirror.url in caught.value.message
    assert nothing_below(data)


def test_no_more_is_read_than_the_pinned_size_and_one_byte(mirror: Mirror) -> None:
    pin = pin_of("geneval")
    mirror.answers = [(200, b"x" * 1_000_000)]
    with open_client(retries()) as client, pytest.raises(AlphaBenchError, match="larger than"):
        download(f"{mirror.url}/x", pin.files[0], client=client, retries=retries())


def test_a_server_that_drips_is_given_up(mirror: Mirror) -> None:
    mirror.answers = [(200, b"x" * 1000)]
    hours = itertools.count(step=3600.0)
    slow = DownloadRetries(clock=lambda: next(hours))
    with open_client(slow) as client, pytest.raises(AlphaBenchError, match="is given up"):
        download(f"{mirror.url}/x", pin_of("geneval").files[0], client=client, retries=slow)
    assert len(mirror.asked) == 1


def test_a_password_in_a_mirror_s_address_is_not_shown(mirror: Mirror, data: UpstreamData) -> None:
    mirror.answers = [(200, b"another file")]
    for address in ("//user:sk-1@", "//sk-1@"):
        url = mirror.url.replace("//", address)
        for source in (
            url,
            f"{url}/x?key=sk-1",
            "http://user:sk-1/2@[",
            "http://u:sk-1@127.0.0.1:9",
        ):
            with pytest.raises(AlphaBenchError) as caught:
                data.fetch("geneval", source=source, retries=retries())
            assert "sk-1" not in str(caught.value)
            assert "127.0.0.1" in str(caught.value) or "[" in source


def test_a_pipe_in_the_folder_that_data_is_taken_from_is_refused(
    tmp_path: Path, data: UpstreamData
) -> None:
    pipe = tmp_path / CONTENT_PATH.lstrip("/")
    pipe.parent.mkdir(parents=True)
    os.mkfifo(pipe)
    with pytest.raises(AlphaBenchError, match="not a regular file"):
        data.fetch("geneval", source=tmp_path)


def test_no_server_is_a_sentence_with_the_way_without_one(
    mirror: Mirror, data: UpstreamData
) -> None:
    mirror.answers = [(200, b"")]
    with pytest.raises(AlphaBenchError, match="could not be downloaded") as caught:
        data.fetch("geneval", source="http://127.0.0.1:9", retries=retries())
    assert "--from" in caught.value.hint


def test_an_address_that_is_none_is_a_sentence(data: UpstreamData) -> None:
    with pytest.raises(AlphaBenchError, match="could not be downloaded"):
        data.fetch("geneval", source="http://[", retries=retries())


def test_a_cached_file_is_not_requested(mirror: Mirror, content: bytes, data: UpstreamData) -> None:
    mirror.answers = [(200, content)]
    data.fetch("geneval", source=mirror.url, retries=retries())
    data.fetch("geneval", source=mirror.url, retries=retries())
    assert len(mirror.asked) == 1
