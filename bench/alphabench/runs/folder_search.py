"""Finds run folders below a folder, and passes over what is none or cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from alphabench.core.errors import AlphaBenchError
from alphabench.runs.store import RunFolder

_MOST_NOTES: Final = 8


def run_folders(root: Path, *, note: Callable[[str], None] = lambda _: None) -> list[RunFolder]:
    """All run folders at or below `root`, sorted by path; unreadable ones are skipped.

    Args:
        root: a run folder, or a folder above some.
        note: called with a sentence for each folder that was skipped.

    Raises:
        AlphaBenchError: there is no such folder, or it is itself a run that cannot be read and
            holds no other.
    """
    if not root.is_dir():
        raise AlphaBenchError(
            f"there is no folder {str(root)!r}", hint="`alphabench list runs` shows what there is"
        )
    folders, skipped = [], []
    for path in sorted(root.rglob("manifest.json")):
        try:
            folders.append(RunFolder.open(path.parent))
        except AlphaBenchError as error:
            skipped.append(f"skipped: {error.message}")
    if not folders and (root / "manifest.json").is_file():
        return [RunFolder.open(root)]
    for text in skipped[:_MOST_NOTES]:
        note(text)
    if (more := len(skipped) - _MOST_NOTES) > 0:
        note(f"skipped: {more} more files named manifest.json")
    return folders
