"""Writes files and folders so that a crash or a full disk loses nothing that was finished.

There are two kinds of file. One is replaced: a draft beside it is written, synced and renamed, so
that a reader finds the old content or the new. The other grows by complete lines, which are on disk
once the call returns. Whatever follows a file's last newline is a line that a crash tore: readers
pass over it and the next append cuts it off. Text is written as UTF-8, unpaired surrogates as
U+FFFD. Knows no file of ours.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import well_formed
from alphabench.core.locking import FileLocking, is_running, lock_file

_DRAFT: Final = re.compile(r".+\.(\d{1,10})\.tmp")
"""The name of a file that is being written, with the process that writes it."""
_BLOCK_BYTES: Final = 2**16
_OUT_OF_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)
_TOO_MANY_OPEN: Final = (errno.EMFILE, errno.ENFILE)
_CONNECTION: Final = (
    errno.EIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.ENODEV,
    errno.ENXIO,
    errno.ENOTCONN,
    errno.EHOSTDOWN,
)
_UNSYNCABLE: Final = (
    errno.EINVAL,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EBADF,
    errno.EACCES,
    errno.EPERM,
)
"""What file systems answer that cannot sync a folder, or do not let one be opened for it."""


class UnwritableError(AlphaBenchError):
    """The operating system does not let a file be written."""


@contextlib.contextmanager
def writing(
    path: Path,
    *,
    elsewhere: str,
    again: str = "give the same command again; what was done is saved",
    library_errors: tuple[type[Exception], ...] = (),
) -> Iterator[None]:
    """Turns any error of the operating system while `path` is written into one sentence.

    Args:
        path: the file or folder that the user knows.
        elsewhere: how the user names another one, for the hint.
        again: how the user continues once the cause is gone, for the hint.
        library_errors: what a library raises in the place of an OSError.

    Raises:
        UnwritableError: in the place of an OSError.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        hint = _hint(error.errno, elsewhere=elsewhere, again=again)
        raise UnwritableError(f"{str(path)!r} cannot be written ({reason})", hint=hint) from error
    except library_errors as error:
        hint = f"check its disk and its permissions, then {again}"
        raise UnwritableError(f"{str(path)!r} cannot be written ({error})", hint=hint) from error


def _hint(number: int | None, *, elsewhere: str, again: str) -> str:
    if number in _OUT_OF_SPACE:
        return f"free some space and {again}"
    if number == errno.EFBIG:
        return f"raise the limit of file sizes (`ulimit -f`) and {again}; or {elsewhere}"
    if number in _TOO_MANY_OPEN:
        return f"raise the limit of open files (`ulimit -n`) or end other programs, then {again}"
    if number in _CONNECTION:
        return f"check the disk or the connection to it, then {again}; or {elsewhere}"
    return elsewhere


def replace_file(path: Path, content: str | bytes | Iterable[str]) -> None:
    """Writes the complete file or nothing; durable once it returns. Parent folders are created.

    Args:
        path: of the file.
        content: text in one piece or several, or bytes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.unlink(missing_ok=True)
    try:
        with draft.open("xb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                for text in (content,) if isinstance(content, str) else content:
                    file.write(well_formed(text).encode())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    _sync_entries(path.parent)


def link_or_copy(source: Path, path: Path) -> None:
    """Gives a finished file a second name, in the place of whatever had it; durable then.

    A hard link, which needs no space; a copy where there can be none (another file system). Parent
    folders are created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.unlink(missing_ok=True)
    try:
        draft.hardlink_to(source)
    except OSError:
        replace_file(path, source.read_bytes())
        return
    try:
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)  # a link onto itself is not renamed
    _sync_entries(path.parent)


def move_into_place(draft: Path, path: Path) -> None:
    """Renames a finished file that some other code wrote, such as a download; durable then."""
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(path)
    _sync_entries(path.parent)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A draft folder that becomes `path` once the block has ended without an error.

    A folder that was there is removed last. What fails leaves no draft, which would take up the
    space that may have been missing.

    Yields:
        The draft, beside `path`: empty.
    """
    draft = path.with_name(f"draft-{os.getpid()}")
    before = path.with_name(f"draft-{os.getpid()}-replaced")
    for left in (draft, before):
        shutil.rmtree(left, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        yield draft
        sync_tree(draft)
        if path.exists():
            path.rename(before)
        try:
            draft.rename(path)
        except OSError:
            if before.exists():
                before.rename(path)
            raise
        _sync_entries(path.parent)
    finally:
        for left in (draft, before):
            shutil.rmtree(left, ignore_errors=True)


def sync_tree(folder: Path) -> None:
    """Every file and folder below `folder`, and itself, is on disk once this returns."""
    for path in folder.rglob("*"):
        if path.is_dir():
            _sync_entries(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    _sync_entries(folder)


def _sync_entries(folder: Path) -> None:
    """What was renamed, created or removed in the folder itself is on disk."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno in _UNSYNCABLE:
            return
        raise
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSYNCABLE:
            raise
    finally:
        os.close(descriptor)


def remove_drafts(folder: Path) -> None:
    """Removes what processes that ended were writing anywhere below `folder`; follows no link."""
    for parent, _, names in os.walk(folder):
        for name in names:
            match = _DRAFT.fullmatch(name)
            if match and (int(match[1]) == os.getpid() or not is_running(int(match[1]))):
                with contextlib.suppress(FileNotFoundError):  # another process removed it too
                    Path(parent, name).unlink()


def append_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds a line of JSON for each row; see `appending`."""
    text = "".join(map(line_of, rows))
    with appending(path) as append:
        append(well_formed(text).encode())


def line_of(row: Mapping[str, Any]) -> str:
    """A line of a file that grows by lines."""
    return json.dumps(row, ensure_ascii=False) + "\n"


@contextlib.contextmanager
def appending(
    path: Path, *, locking: FileLocking | None = None
) -> Iterator[Callable[[bytes], None]]:
    """Opens a file of lines for appending; a line that a crash tore is cut off first.

    Parent folders are created.

    Args:
        path: of the file.
        locking: whether other processes may append too, and what to do about it: None where the
            caller holds a lock of its own.

    Yields:
        A function that takes complete lines, and returns once they are on disk.

    Raises:
        HeldError: another process holds the file, and `locking` is "refuse".
        OSError: the file cannot be written, or its file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without O_NONBLOCK a named pipe in the file's place would block for ever.
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o666), "rb+") as file:
        if locking is not None:
            lock_file(file, locking)
        is_new = os.fstat(file.fileno()).st_size == 0
        _cut_torn_line(file)

        def append(lines: bytes) -> None:
            nonlocal is_new
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
            if is_new:
                _sync_entries(path.parent)
                is_new = False

        yield append


def _cut_torn_line(file: BinaryIO) -> None:
    end = file.seek(0, os.SEEK_END)
    position = end
    while position > 0:
        start = max(0, position - _BLOCK_BYTES)
        file.seek(start)
        newline = file.read(position - start).rfind(b"\n")
        if newline >= 0:
            position = start + newline + 1
            break
        position = start
    if position < end:
        file.truncate(position)
    file.seek(0, os.SEEK_END)


def complete_lines(content: bytes) -> list[bytes]:
    """The lines of a file that grows by lines, without newlines and without a torn last one."""
    return content.split(b"\n")[:-1]
