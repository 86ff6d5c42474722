"""Remembers which image files were verified, so that an unchanged file is not read again.

A file counts as unchanged while its size, modification time and change time are those that it had
when its content was last verified. The change time is set by the operating system alone, and anew
when a folder is copied: files from elsewhere are read at least once. Knows no run folder.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from alphabench.core.files import FileState, UnreadableFileError, read_json, regular_file_state

_LOOKS: Final = re.compile(r"[0-9a-f]{64} [0-9]{1,20} -?[0-9]{1,20} -?[0-9]{1,20}")
_SETTLED_NS: Final = 2 * 10**9
"""Some file systems have time stamps of two seconds: a younger file may change unnoticed."""


class VerifiedImages:
    """Path of a file -> its digest and file state when it was last verified.

    Args:
        path: the file that stores this between processes; unreadable content is ignored.
        now_ns: the current time, in nanoseconds as in file time stamps.
    """

    def __init__(self, path: Path, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._path = path
        self._now_ns = now_ns
        self._known: dict[str, str] | None = None
        self.is_changed = False
        """Whether there is more than in the stored file."""

    def is_unchanged(self, path: str, sha256: str) -> bool:
        """Whether the file is unchanged since it had that digest."""
        state_text = _state_text(path, sha256)
        return state_text is not None and self._read().get(path) == state_text

    def state_of(self, path: str, sha256: str) -> FileState | None:
        """The state in which the file last had that digest; None where that is not known."""
        known, *numbers = self._read().get(path, " ").split(" ")
        return FileState(*map(int, numbers)) if known == sha256 else None

    def record(self, path: str, sha256: str) -> None:
        """Note that the file has this digest now."""
        if state_text := _state_text(path, sha256):
            self._read()[path] = state_text
            self.is_changed = True

    def to_json(self) -> dict[str, str]:
        """What may be stored for later processes, by paths relative to the file's folder.

        Files that are too young to be trusted are left out.
        """
        latest, start = self._now_ns() - _SETTLED_NS, len(str(self._path.parent)) + 1
        return {
            path[start:]: state_text
            for path, state_text in self._read().items()
            if max(map(int, state_text.split()[2:])) < latest
        }

    def _read(self) -> dict[str, str]:
        if self._known is None:
            try:
                content = read_json(self._path)
            except UnreadableFileError:
                content = None
            stored = content.items() if isinstance(content, dict) else ()
            root = self._path.parent
            self._known = {
                f"{root}/{name}": state_text
                for name, state_text in stored
                if _is_state_text(state_text)
            }
        return self._known


def _state_text(path: str, sha256: str) -> str | None:
    """Digest, size and times; None where it is no regular file."""
    state = regular_file_state(path)
    return None if state is None else " ".join(map(str, (sha256, *state)))


def _is_state_text(value: object) -> bool:
    return isinstance(value, str) and _LOOKS.fullmatch(value) is not None
