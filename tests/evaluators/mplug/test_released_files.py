"""Fetching mPLUG's files: from a folder, from a server that breaks off, and never another's."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from alphabench.core.errors import AlphaBenchError
from alphabench.evaluators.mplug.released_files import (
    DATASET,
    FILES,
    REPOSITORY,
    fetch_mplug,
    mplug_folder,
)
from alphabench.upstream.sources import DownloadRetries

QUICK = DownloadRetries(tries=3, wait_seconds=0.0, timeout_seconds=5.0, sleep=lambda _: None)
CONTENT = {
    "config.yaml": b"task: visual-question-answering\n",
    "config_bert.json": b"{}",
    "vocab.txt": b"a\n",
    "pytorch_model.bin": bytes(range(256)) * 40,
}


@pytest.fixture
def released(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror" / REPOSITORY
    folder.mkdir(parents=True)
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
    return folder


@contextmanager
def serving(root: Path, *, breaks: bool = False) -> Iterator[str]:
    """Serves files; with `breaks`, a first answer stops in the middle and later ones go on."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = root / self.path.lstrip("/")
            if not path.is_file():
                self.send_error(404)
                return
            content = path.read_bytes()
            first = int(self.headers.get("Range", "bytes=0-")[6:-1])
            broken = breaks and self.path not in asked
            asked.append(self.path)
            self.send_response(206 if first else 200)
            self.send_header("Content-Length", str(len(content) - first))
            self.end_headers()
            self.wfile.write(content[first : len(content) // 2] if broken else content[first:])

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def fetched(cache: Path) -> dict[str, bytes]:
    return {name: (mplug_folder(cache) / name).read_bytes() for name in FILES}


@pytest.mark.parametrize("above", [0, 2])
def test_a_folder_or_the_one_above_it_will_do(released: Path, tmp_path: Path, above: int) -> None:
    source = [released, *released.parents][above]
    assert fetch_mplug(tmp_path / "cache", str(source)) == sum(map(len, CONTENT.values()))
    assert fetched(tmp_path / "cache") == CONTENT
    notes = json.loads((mplug_folder(tmp_path / "cache") / "origin.json").read_text())
    assert notes["vocab.txt"]["size_bytes"] == 2


@pytest.mark.parametrize("breaks", [False, True])
def test_a_broken_download_goes_on_where_it_stopped(
    released: Path, tmp_path: Path, *, breaks: bool
) -> None:
    with serving(released.parents[1], breaks=breaks) as address:
        fetch_mplug(tmp_path / "cache", address, retries=QUICK)
    assert fetched(tmp_path / "cache") == CONTENT


def test_what_is_there_is_not_fetched_again(released: Path, tmp_path: Path) -> None:
    fetch_mplug(tmp_path / "cache", str(released))
    for name in FILES:
        (released / name).unlink()
    fetch_mplug(tmp_path / "cache", str(released))
    assert fetched(tmp_path / "cache") == CONTENT


def test_another_file_under_a_known_name_is_refused(released: Path, tmp_path: Path) -> None:
    fetch_mplug(tmp_path / "cache", str(released))
    (mplug_folder(tmp_path / "cache") / "vocab.txt").unlink()
    (released / "vocab.txt").unlink()
    (released / "vocab.txt").write_bytes(b"b\n")
    with pytest.raises(AlphaBenchError, match="is not the file that was fetched here before"):
        fetch_mplug(tmp_path / "cache", str(released))


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_was_damaged_in_the_cache_is_refused_and_the_note_stays(
    released: Path, tmp_path: Path, name: str
) -> None:
    fetch_mplug(tmp_path / "cache", str(released))
    folder = mplug_folder(tmp_path / "cache")
    note = (folder / "origin.json").read_bytes()
    (folder / name).unlink()
    (folder / name).write_bytes(b"damaged")
    with pytest.raises(AlphaBenchError, match=f"'{name}' is not the file .* here before"):
        fetch_mplug(tmp_path / "cache", str(released))
    assert (folder / "origin.json").read_bytes() == note
    assert (folder / name).read_bytes() == b"damaged"


def test_a_fetch_that_broke_off_noted_what_it_had_brought(released: Path, tmp_path: Path) -> None:
    (released / "pytorch_model.bin").unlink()
    with pytest.raises(AlphaBenchError, match="there is no file"):
        fetch_mplug(tmp_path / "cache", str(released))
    (mplug_folder(tmp_path / "cache") / "vocab.txt").write_bytes(b"damaged")
    (released / "pytorch_model.bin").write_bytes(CONTENT["pytorch_model.bin"])
    with pytest.raises(AlphaBenchError, match=r"'vocab\.txt' is not the file"):
        fetch_mplug(tmp_path / "cache", str(released))


def test_a_note_that_cannot_be_read_is_not_replaced(released: Path, tmp_path: Path) -> None:
    fetch_mplug(tmp_path / "cache", str(released))
    note = mplug_folder(tmp_path / "cache") / "origin.json"
    note.write_text("{")
    with pytest.raises(AlphaBenchError, match="cannot be read"):
        fetch_mplug(tmp_path / "cache", str(released))
    assert note.read_text() == "{"


def test_a_missing_file_says_how_to_bring_it(released: Path, tmp_path: Path) -> None:
    (released / "pytorch_model.bin").unlink()
    with pytest.raises(AlphaBenchError, match="there is no file") as caught:
        fetch_mplug(tmp_path / "cache", str(released))
    assert "--from FOLDER" in caught.value.hint
    with (
        serving(released.parents[1]) as address,
        pytest.raises(AlphaBenchError, match="the server answers 404"),
    ):
        fetch_mplug(tmp_path / "cache", address, retries=QUICK)


def test_a_model_of_another_task_is_refused(released: Path, tmp_path: Path) -> None:
    (released / "config.yaml").write_text("task: image-captioning\n")
    with pytest.raises(AlphaBenchError, match="has task 'image-captioning'"):
        fetch_mplug(tmp_path / "cache", str(released))


def test_fetching_says_what_came(released: Path, tmp_path: Path) -> None:
    words = DATASET.fetch(tmp_path / "cache", str(released))
    assert words.startswith("4 files (10")
