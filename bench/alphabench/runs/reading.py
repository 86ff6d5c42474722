"""Reads the files of an untrusted run folder and reports what is wrong with them.

Paths are confined to the folder; a malformed row is one sentence with file, line and key. Knows no
file name and no kind of record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, confined, open_regular, parse_json, read_json
from alphabench.runs.serialization import MalformedError, record_from_json

T = TypeVar("T")
_LONGEST_LINE: Final = 64 * 2**20
_LARGEST_IMAGE: Final = 2**30


def inside(root: Path, name: str) -> Path:
    """A path of the run, which no link may lead out of it.

    Raises:
        AlphaBenchError: one does.
    """
    try:
        return confined(root, name)
    except UnreadableFileError as error:
        raise AlphaBenchError(
            f"the run folder {str(root)!r} is refused: {error}",
            hint="replace the link by the file or folder it points to, or start a new run",
        ) from error


def file_sha256(path: Path) -> str | None:
    """sha256 of a file, in hexadecimal; None where it is no regular file or cannot be read."""
    try:
        with open_regular(path, max_bytes=_LARGEST_IMAGE) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except UnreadableFileError:
        return None


def read_records(path: Path, kind: type[T]) -> Iterator[T]:
    """The complete lines of a file; none if it is absent. Blank lines are ignored.

    Raises:
        AlphaBenchError: a complete line is no JSON object, or no such record.
    """
    if not path.exists():
        return
    number = 0
    try:
        with open_regular(path, max_bytes=None) as file:
            while line := file.readline(_LONGEST_LINE):
                number += 1
                if not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
                    return  # torn by a crash
                if line.strip():
                    yield record_from_json(kind, parse_json(line))
    except (UnreadableFileError, MalformedError) as error:
        where = f"line {number} of {str(path)!r}" if number else repr(str(path))
        raise AlphaBenchError(
            f"{where} {error_clause(error)}",
            hint="use the version of alphabench that wrote it; or delete that line and give the "
            "same command again, which recreates it",
        ) from error


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        AlphaBenchError: it cannot be read, or is no object.
    """
    try:
        content = read_json(path)
    except UnreadableFileError as error:
        raise unusable_file(path, error) from error
    if not isinstance(content, dict):
        raise unusable_file(path, MalformedError("is damaged (it is no JSON object)"))
    return content


def read_record(path: Path, kind: type[T], *, under: str | None = None) -> T:
    """A record from the JSON object in a file, or from that object as its value `under` a key.

    Raises:
        AlphaBenchError: it cannot be read, or is no such record.
    """
    content = read_object(path)
    try:
        return record_from_json(kind, content if under is None else {under: content})
    except MalformedError as error:
        raise unusable_file(path, error) from error


def unusable_file(path: Path, error: UnreadableFileError | MalformedError) -> AlphaBenchError:
    """The error for a file of the run that cannot be used."""
    return AlphaBenchError(
        f"{str(path)!r} {error_clause(error)}",
        hint="use the version of alphabench that wrote it, restore it, or start a new run with "
        "--out",
    )


def error_clause(error: UnreadableFileError | MalformedError) -> str:
    """A clause that follows the name of the file or line."""
    return str(error) if isinstance(error, MalformedError) else f"is damaged ({error})"
