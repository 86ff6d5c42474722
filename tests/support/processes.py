"""Which processes are alive that a test has started, however far down; Linux only."""

from __future__ import annotations

import time
from pathlib import Path

PROC = Path("/proc")


def marked(mark: str) -> dict[int, str]:
    """Number -> command of each living process that has `mark` in its environment."""
    found = {}
    for folder in PROC.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            alive = (folder / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
            if alive and mark.encode() in (folder / "environ").read_bytes():
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found[int(folder.name)] = words.strip()
        except OSError:  # it ended meanwhile
            continue
    return found


def left_of(mark: str, *, seconds: float = 5.0) -> dict[int, str]:
    """Those that are still alive so much later; waits no longer than it must."""
    deadline = time.monotonic() + seconds
    while (found := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found
