"""Reads files and JSON from untrusted sources; confines paths that data names to a folder.

Before anything is read, the path is checked to be a regular file of acceptable size. Text is UTF-8
with or without a byte order mark. Malformed content raises `UnreadableFileError`, never a
`RecursionError`, and cannot exhaust the memory. Knows no file format of ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

DEFAULT_MAX_BYTES: Final = 256 * 2**20
"""Larger than any text file that a benchmark, a checkpoint or a run has."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_ESCAPED_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


class FileState(NamedTuple):
    """What a write to a file changes; the time of change is set by the operating system alone."""

    size: int
    """Bytes."""
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileState:
        """The state that `os.stat` found."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class UnreadableFileError(Exception):
    """The file or text cannot be used; the message is one clause that says why."""


def read_bytes(path: Path, *, max_bytes: int = DEFAULT_MAX_BYTES) -> bytes:
    """The content of a regular file.

    Args:
        path: links are followed; use `confined` first where the path comes from data.
        max_bytes: checked before anything is read.

    Raises:
        UnreadableFileError: missing, not a regular file (a pipe or a device would block or never
            end), larger than `max_bytes`, or not readable.
    """
    return read_with_state(path, max_bytes=max_bytes)[0]


def read_with_state(path: Path, *, max_bytes: int) -> tuple[bytes, FileState]:
    """As `read_bytes`, with the state of the file after its content was read."""
    with open_regular(path, max_bytes=max_bytes) as file:
        # One byte more than allowed shows that the file grew, or lies about its size.
        content = file.read(max_bytes + 1)
        state = FileState.of(os.fstat(file.fileno()))
    if len(content) > max_bytes:
        raise UnreadableFileError(f"it is larger than {max_bytes} bytes")
    return content, state


def regular_file_state(path: str | Path) -> FileState | None:
    """The state of a regular file; None for anything else, a link among them."""
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return None
    return FileState.of(status) if stat.S_ISREG(status.st_mode) else None


@contextlib.contextmanager
def open_regular(path: Path, *, max_bytes: int | None = DEFAULT_MAX_BYTES) -> Iterator[BinaryIO]:
    """Opens a regular file for reading piece by piece; None for `max_bytes` sets no limit.

    Raises:
        UnreadableFileError: as `read_bytes`, also for what fails while it is read.
    """
    try:
        # Without O_NONBLOCK a named pipe would block in open() itself.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:  # ValueError: a path that no system can have
        raise UnreadableFileError(getattr(error, "strerror", None) or str(error)) from error
    try:
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableFileError("it is not a regular file")
            if max_bytes is not None and status.st_size > max_bytes:
                raise UnreadableFileError(f"its {status.st_size} bytes are over {max_bytes}")
            yield file
    except OSError as error:
        raise UnreadableFileError(error.strerror or str(error)) from error


def read_text(path: Path, *, max_bytes: int = DEFAULT_MAX_BYTES) -> str:
    """The UTF-8 text of a regular file, without a byte order mark.

    Raises:
        UnreadableFileError: as `read_bytes`, or it is not UTF-8.
    """
    return decode_text(read_bytes(path, max_bytes=max_bytes))


def decode_text(content: bytes) -> str:
    """UTF-8 text, without a byte order mark.

    Raises:
        UnreadableFileError: it is not UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableFileError(f"it is not UTF-8 ({error.reason})") from error


def read_json(path: Path, *, max_bytes: int = DEFAULT_MAX_BYTES) -> Any:
    """The JSON value in a regular file.

    Raises:
        UnreadableFileError: as `read_text` and `parse_json`.
    """
    return parse_json(read_text(path, max_bytes=max_bytes))


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text; halves of surrogate pairs in strings become U+FFFD.

    Accepts `NaN` and `Infinity` as Python's json does: check numbers with `math.isfinite`.

    Raises:
        UnreadableFileError: it is no JSON, or nested too deeply to be read.
    """
    if isinstance(text, bytes):
        text = decode_text(text)
    try:
        value = json.loads(text.removeprefix("\ufeff"))
        return _well_formed(value) if _ESCAPED_SURROGATE.search(text) else value
    except RecursionError as error:
        raise UnreadableFileError("its JSON is nested too deeply") from error
    except ValueError as error:
        raise UnreadableFileError(f"it is no JSON ({error})") from error


def well_formed(text: str) -> str:
    """Text that can be written as UTF-8: halves of surrogate pairs become U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)


def _well_formed(value: Any) -> Any:
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, list):
        return [_well_formed(item) for item in value]
    if isinstance(value, dict):
        return {well_formed(key): _well_formed(item) for key, item in value.items()}
    return value


def confined(root: Path, relative: str, *, links_within: Path | None = None) -> Path:
    """The path below `root` that data names, with links resolved only to check it.

    Args:
        root: the folder that the data may name paths in.
        relative: a path from an untrusted file.
        links_within: a wider folder that links may lead into, such as the hub cache repository
            whose snapshot `root` is; by default links must stay below `root`.

    Returns:
        `root / relative`, which need not exist.

    Raises:
        UnreadableFileError: it is absolute, leaves `root` through `..`, or a link leads out of it.
    """
    path = Path(relative)
    if path.is_absolute() or ".." in path.parts or "\0" in relative or not relative:
        raise UnreadableFileError(f"{relative!r} leads out of its folder")
    try:
        bounds = [folder.resolve() for folder in (root, links_within) if folder is not None]
        target = (root / path).resolve()
    except (OSError, RuntimeError) as error:  # links in a circle
        raise UnreadableFileError(f"{relative!r} cannot be followed ({error})") from error
    if not any(target.is_relative_to(bound) for bound in bounds):
        raise UnreadableFileError(f"{relative!r} is a link that leads out of its folder")
    return root / path
