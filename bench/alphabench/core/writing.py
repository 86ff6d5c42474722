"""Writes files so that a crash or a full disk loses nothing; what the system refuses is a sentence.

A file is replaced whole by rename, or grows by whole lines that are on disk once this returns. Text
is written as UTF-8, halves of surrogate pairs as U+FFFD. Knows no file of ours.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import well_formed
from alphabench.core.locking import is_running

_DRAFT: Final = re.compile(r".+\.(\d{1,10})\.tmp")
"""The name of a file that is being written, with the process that writes it."""
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TOO_MANY_OPEN: Final = (errno.EMFILE, errno.ENFILE)
_TRY_AGAIN: Final = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENODEV, errno.ENXIO)


class UnwritableError(AlphaBenchError):
    """The system does not let a file be written."""


@contextlib.contextmanager
def writing(place: Path, *, elsewhere: str) -> Iterator[None]:
    """Whatever the system refuses while `place` is written becomes one sentence.

    Args:
        place: the file or folder that the user knows.
        elsewhere: how the user names another, for the hint.

    Raises:
        UnwritableError: in the place of an OSError.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:  # of a library, not of the system
            raise
        raise _refusal(place, error, elsewhere) from error


def _refusal(place: Path, error: OSError, elsewhere: str) -> UnwritableError:
    reason = error.strerror or os.strerror(error.errno or 0)
    if error.errno in _NO_ROOM:
        return UnwritableError(
            f"there is no room left to write {str(place)!r} ({reason})",
            hint="free some space and give the same command again; what was done is kept",
        )
    if error.errno in _TOO_MANY_OPEN:
        return UnwritableError(
            f"{str(place)!r} cannot be written ({reason})",
            hint="raise the limit (`ulimit -n`) or end other programs, then give the same command "
            "again; what was done is kept",
        )
    if error.errno in _TRY_AGAIN:
        return UnwritableError(
            f"{str(place)!r} cannot be written ({reason})",
            hint="check the disk or the connection to it, then give the same command again; what "
            f"was done is kept; or {elsewhere}",
        )
    return UnwritableError(f"{str(place)!r} cannot be written ({reason})", hint=elsewhere)


def replace_file(path: Path, content: str | bytes | Iterable[str]) -> None:
    """All of the file or nothing; durable once it returns. Folders above it are made.

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


def remove_drafts(folder: Path) -> None:
    """Removes what processes that ended were writing anywhere below `folder`; follows no link."""
    for place, _, names in os.walk(folder):
        for name in names:
            match = _DRAFT.fullmatch(name)
            if match and (int(match[1]) == os.getpid() or not is_running(int(match[1]))):
                with contextlib.suppress(FileNotFoundError):  # another process removed it too
                    Path(place, name).unlink()


def append_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Durable once it returns; a line that an earlier crash tore is cut off first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    # Without O_NONBLOCK a named pipe in the file's place would block for ever.
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o666), "rb+") as file:
        _cut_torn_line(file)
        file.write(well_formed(text).encode())
        file.flush()
        os.fsync(file.fileno())


def _cut_torn_line(file: BinaryIO) -> None:
    end = file.seek(0, os.SEEK_END)
    if end == 0:
        return
    file.seek(end - 1)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    whole = file.read().rpartition(b"\n")
    file.truncate(len(whole[0]) + len(whole[1]))
    file.seek(0, os.SEEK_END)
