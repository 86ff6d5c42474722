"""Which images were seen to be as they were made, so that an unchanged file is not read again.

A file counts as unchanged while its size, its time of modification and its time of change are those
that it had when its content was last verified. The last one is set by the system alone, and anew
when a folder is copied: what comes from elsewhere is read at least once. Knows no run folder.
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
"""Some file systems tell time in steps of two seconds: a younger file may change unseen."""


class VerifiedImages:
    """Path of a file -> what it looked like when its digest was last known.

    Args:
        path: where that is kept. What cannot be read there is as good as nothing.
        now_ns: the system's time, as files have it.
    """

    def __init__(self, path: Path, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._path = path
        self._now_ns = now_ns
        self._known: dict[str, str] | None = None
        self.is_newer = False
        """Than what is kept."""

    def holds(self, path: str, sha256: str) -> bool:
        """Whether the file is unchanged since it had that digest."""
        looks = _looks(path, sha256)
        return looks is not None and self._read().get(path) == looks

    def state_of(self, path: str, sha256: str) -> FileState | None:
        """The state in which the file last had that digest; None where that is not known."""
        known, *numbers = self._read().get(path, " ").split(" ")
        return FileState(*map(int, numbers)) if known == sha256 else None

    def keep(self, path: str, sha256: str) -> None:
        """The file has this digest now."""
        if looks := _looks(path, sha256):
            self._read()[path] = looks
            self.is_newer = True

    def settled(self) -> dict[str, str]:
        """What may be kept for later processes, by paths below the file's own folder.

        Young files are left out.
        """
        latest, start = self._now_ns() - _SETTLED_NS, len(str(self._path.parent)) + 1
        return {
            path[start:]: looks
            for path, looks in self._read().items()
            if max(map(int, looks.split()[2:])) < latest
        }

    def _read(self) -> dict[str, str]:
        if self._known is None:
            try:
                content = read_json(self._path)
            except UnreadableFileError:
                content = None
            kept = content.items() if isinstance(content, dict) else ()
            root = self._path.parent
            self._known = {f"{root}/{name}": looks for name, looks in kept if _is_looks(looks)}
        return self._known


def _looks(path: str, sha256: str) -> str | None:
    """Digest, size and times; None where it is no regular file."""
    state = regular_file_state(path)
    return None if state is None else " ".join(map(str, (sha256, *state)))


def _is_looks(value: object) -> bool:
    return isinstance(value, str) and _LOOKS.fullmatch(value) is not None
