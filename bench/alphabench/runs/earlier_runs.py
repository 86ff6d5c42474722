"""How long images of a checkpoint took in earlier runs: an estimate before the first image.

Looks at run folders at most three levels deep, as `runs/geneval/NAME` and
`runs/suite/geneval/NAME` are. Knows no device: images may have been generated on another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from alphabench.core.errors import AlphaBenchError
from alphabench.runs.records import ImageRecord, Manifest
from alphabench.runs.store import RunFolder

_DEPTHS: Final = ("*", "*/*", "*/*/*")
_CHECKPOINT: Final = "checkpoint."


class ImagePace(NamedTuple):
    """What images took, and where."""

    seconds: float
    """An image; above 0."""
    folder: Path
    """The run whose images they are."""


def pace_of(records: Iterable[ImageRecord], folder: Path) -> ImagePace | None:
    """The mean over images; None without any, and where they took no time."""
    seconds = [record.seconds for record in records]
    mean = sum(seconds) / len(seconds) if seconds else 0.0
    return ImagePace(mean, folder) if mean > 0 else None


class EarlierRuns:
    """The run folders below some folders; read once, when they are first needed."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = tuple(dict.fromkeys(roots))
        self._folders: list[RunFolder] | None = None

    def pace(self, wanted: Manifest) -> ImagePace | None:
        """Of the same checkpoint with the same settings, by the run with the most images.

        A run of the same benchmark comes first: prompts of another may take another time.

        Args:
            wanted: of the run that is to be estimated.

        Returns:
            None where no such run has images.
        """
        checkpoint = _checkpoint_of(wanted.pixels)
        alike = [one for one in self._all() if _checkpoint_of(one.manifest.pixels) == checkpoint]
        for group in (
            [one for one in alike if one.manifest.benchmark == wanted.benchmark],
            [one for one in alike if one.manifest.benchmark != wanted.benchmark],
        ):
            paces = [(len(records := _records(one)), pace_of(records, one.root)) for one in group]
            known = [(n_images, pace) for n_images, pace in paces if pace is not None]
            if known:
                return max(known, key=lambda one: one[0])[1]
        return None

    def _all(self) -> list[RunFolder]:
        if self._folders is None:
            paths = {
                path.parent: None
                for root in self._roots
                for depth in _DEPTHS
                for path in sorted(root.glob(f"{depth}/manifest.json"))
            }
            found = (_opened(path) for path in paths)
            self._folders = [folder for folder in found if folder is not None]
        return self._folders


def _opened(path: Path) -> RunFolder | None:
    """None where it cannot be read: an estimate needs no folder in particular."""
    try:
        return RunFolder.open(path)
    except (AlphaBenchError, OSError):
        return None


def _records(folder: RunFolder) -> list[ImageRecord]:
    try:
        return list(folder.images().values())
    except (AlphaBenchError, OSError):
        return []


def _checkpoint_of(pixels: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in pixels.items() if key.startswith(_CHECKPOINT)}
