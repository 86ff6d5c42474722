"""Files survive a crash at any byte, and whatever the system refuses is one sentence."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from alphabench.core.locking import HeldError
from alphabench.core.writing import (
    UnwritableError,
    append_rows,
    appending,
    complete_lines,
    link_or_copy,
    remove_drafts,
    replace_file,
    replacing_folder,
    writing,
)

ERRORS = [
    errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ENAMETOOLONG,
    errno.ENOTCONN, errno.EBUSY, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EPERM, errno.EACCES,
    errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT, errno.ETXTBSY, errno.ELOOP, errno.ENOMEM,
]  # fmt: skip


def folder_of_two(path: Path) -> None:
    with replacing_folder(path) as draft:
        (draft / "a").write_text("a")
        (draft / "b").mkdir()


WRITERS = {
    "replace": lambda path: replace_file(path, "new"),
    "append": lambda path: append_rows(path, [{"n": 2}]),
    "folder": folder_of_two,
}


@pytest.mark.parametrize("call", ["open", "fsync", "replace or rename"])
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("number", ERRORS, ids=lambda number: errno.errorcode[number])
def test_any_error_of_the_system_is_a_sentence_and_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str, call: str, number: int
) -> None:
    path = tmp_path / "target"
    if writer == "folder":
        path.mkdir()
        (path / "old").write_text("old")
    else:
        path.write_bytes(b'{"n": 1}\n')
    calls = []

    def refuse(*arguments: object, **_: object) -> int:
        calls.append(arguments)
        raise OSError(number, os.strerror(number))

    outcome = ""
    with monkeypatch.context() as patch:
        for name in {"replace or rename": ["replace", "rename"]}.get(call, [call]):
            patch.setattr(os, name, refuse)
        try:
            with writing(path, elsewhere="name another folder with --out"):
                WRITERS[writer](path)
        except UnwritableError as error:
            outcome = str(error)
    if outcome:
        assert outcome.startswith(f"{str(path)!r} cannot be written ({os.strerror(number)}); ")
        assert not outcome.endswith("; ")
    else:
        # The writer makes no such call, or only one that syncs a folder, which not all can do.
        assert not calls or (call in ("open", "fsync") and number in (errno.EPERM, errno.EACCES))
    content = (
        {one.name: one.read_text() for one in path.iterdir() if one.is_file()}
        if (writer == "folder")
        else path.read_bytes().splitlines(keepends=True)[:1]
    )
    assert content in ({"old": "old"}, {"a": "a"}, [b'{"n": 1}\n'], [b"new"])
    if not (writer == "folder" and call == "open"):  # nothing can be removed there either
        assert [one.name for one in tmp_path.iterdir()] == ["target"]


def test_an_error_without_a_number_is_a_sentence_too(tmp_path: Path) -> None:
    with (
        pytest.raises(UnwritableError, match="encoder error"),
        writing(tmp_path, elsewhere="x"),
    ):
        raise OSError("encoder error -2")


def test_a_librarys_own_error_names_how_to_continue(tmp_path: Path) -> None:
    with (
        pytest.raises(UnwritableError, match=r"full.*; check .* then continue with --resume"),
        writing(
            tmp_path, elsewhere="x", again="continue with --resume", library_errors=(KeyError,)
        ),
    ):
        raise KeyError("full")


@pytest.mark.parametrize("cut", range(0, 120, 5))
def test_a_line_that_a_crash_tore_is_cut_off_before_the_next(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "new folder" / "rows.jsonl"
    append_rows(path, [{"n": n, "text": "é\ud800" * 2} for n in range(4)])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - cut])
    before = complete_lines(path.read_bytes())
    append_rows(path, [{"n": "new"}])
    assert path.read_bytes().endswith(b"\n")
    assert complete_lines(path.read_bytes()) == [*before, b'{"n": "new"}']
    assert all(json.loads(line) for line in complete_lines(path.read_bytes()))


def test_a_torn_line_longer_than_one_block_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_bytes(b"first\n" + b"x" * 200_000)
    with appending(path) as append:
        append(b"second\n")
    assert path.read_bytes() == b"first\nsecond\n"


def append_numbers(path: Path, start: int) -> None:
    for number in range(start, start + 50):
        with appending(path, locking="wait") as append:
            append(f"{number}\n".encode())


def test_processes_that_wait_for_each_other_lose_no_line(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [
        context.Process(target=append_numbers, args=(tmp_path / "rows", start))
        for start in (0, 50, 100)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    lines = complete_lines((tmp_path / "rows").read_bytes())
    assert sorted(map(int, lines)) == list(range(150))


def test_a_second_writer_that_does_not_wait_is_refused(tmp_path: Path) -> None:
    with (
        appending(tmp_path / "rows", locking="refuse"),
        pytest.raises(HeldError),
        appending(tmp_path / "rows", locking="refuse"),
    ):
        pass


def test_a_folder_is_complete_or_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    folder_of_two(path)
    with pytest.raises(FileNotFoundError), replacing_folder(path) as draft:
        (draft / "half" / "x").write_text("x")
    assert sorted(one.name for one in path.iterdir()) == ["a", "b"]
    with replacing_folder(path) as draft:
        (draft / "c").write_text("x")
    assert [one.name for one in path.iterdir()] == ["c"]
    assert [one.name for one in tmp_path.iterdir()] == ["checkpoint"]


def test_drafts_of_processes_that_ended_are_removed(tmp_path: Path) -> None:
    alive = tmp_path / f".a.{os.getppid()}.tmp"
    names = [".a.999999999.tmp", f".b.{os.getpid()}.tmp", "a.tmp", "b.7"]
    for path in (alive, *(tmp_path / name for name in names)):
        path.write_text("x")
    remove_drafts(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([alive.name, "a.tmp", "b.7"])


@pytest.mark.parametrize("content", ["text é\ud800", b"\xff", iter(["a", "b"])])
def test_a_file_is_replaced_by_text_bytes_or_pieces(tmp_path: Path, content: object) -> None:
    expected = {"str": "text é\ufffd".encode(), "bytes": b"\xff"}.get(type(content).__name__, b"ab")
    replace: Callable[..., None] = replace_file
    for _ in range(2 if isinstance(content, str | bytes) else 1):
        replace(tmp_path / "new" / "file", content)
    assert (tmp_path / "new" / "file").read_bytes() == expected


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_gets_a_second_name_in_the_place_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    source, path = tmp_path / "source", tmp_path / "folder" / "name"
    source.write_bytes(b"new")
    if not has_links:

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EXDEV, "Invalid cross-device link")

        monkeypatch.setattr(os, "link", refuse)
    link_or_copy(source, path)
    replace_file(path, b"old")
    assert source.read_bytes() == b"new"  # it was replaced, not written through the link
    link_or_copy(source, path)
    link_or_copy(source, path)
    assert path.read_bytes() == b"new"
    assert path.samefile(source) == has_links
    assert [one.name for one in path.parent.iterdir()] == ["name"]
