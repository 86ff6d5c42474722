"""Edits and source images of editing benchmarks: of mini splits, and copies of the authors' images.

Knows no benchmark's rules and no judge.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from alphabench.benchmarks.mini_split import DataSource, mini_bytes, mini_source
from alphabench.core.writing import replace_file, writing
from alphabench.scenes.spec import WORLD_VERSION
from alphabench.types import Sample
from alphabench.upstream import UpstreamData, pin_of

MINI_SIDE: Final = 128
"""Width and height in pixels of a rendered source image."""


def mini_edit_source(name: str) -> DataSource:
    """Of `<name>:mini`; its digest is over its lines and the world that renders their sources."""
    return mini_source(name, also=f"\0{WORLD_VERSION}\0{MINI_SIDE}")


def mini_edits(name: str, data: UpstreamData, *, group: str) -> list[Sample]:
    """The samples of `<name>:mini`, whose source images are rendered into the cache folder.

    Args:
        name: of the benchmark; its lines have `key`, `instruction` and what `edit_ops` reads.
        data: the cache.
        group: the field of a line that is a sample's group.

    Raises:
        AlphaBenchError: the cache cannot be written.
    """
    folder = data.cache_dir / "rendered" / f"{name}-mini-{mini_edit_source(name).digest[:12]}"
    rows = map(json.loads, mini_bytes(name).decode("utf-8").splitlines())
    return [
        Sample(
            id=row["key"],
            prompt=row["instruction"],
            group=row[group],
            facts=row,
            source_image=rendered_source(row, folder),
        )
        for row in rows
    ]


def rendered_source(facts: Mapping[str, Any], folder: Path) -> Path:
    """The source image of facts with a `key`; a file that exists is kept.

    Args:
        facts: see `alphabench.scenes.edit_ops`.
        folder: where images of this data lie; its name must change with the data and the world.

    Raises:
        AlphaBenchError: the cache cannot be written.
    """
    path = folder / f"{facts['key']}.png"
    if not path.exists():
        from alphabench.scenes.edit_ops import source_scene
        from alphabench.scenes.render import render

        image = render(source_scene(facts), MINI_SIDE, MINI_SIDE).image
        content = io.BytesIO()
        image.save(content, format="PNG")
        with writing(path, elsewhere="choose another cache folder with ALPHABENCH_CACHE"):
            replace_file(path, content.getvalue())
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceImages:
    """Source images of official edits: the pinned copy, else the authors' archive."""

    data: UpstreamData
    pin: str
    """The data set whose files are copies of the images."""
    folder: str
    """Of the images in the pinned repository."""
    archive: str
    """Where the authors' archive may be unpacked by hand, below the cache folder."""

    def path(self, name: str) -> Path | None:
        """Where an image lies; None for one that is only in an archive that is not here.

        Raises:
            AlphaBenchError: it was not fetched, or is not the pinned image any more.
        """
        pinned = f"{self.folder}/{name}"
        has_copy = any(file.path == pinned for file in pin_of(self.pin).files)
        archived = self.data.cache_dir / self.archive / name
        if has_copy and not (
            archived.exists() and not self.data.path_of(self.pin, pinned).exists()
        ):
            self.data.read(self.pin, pinned)  # verified
            return self.data.path_of(self.pin, pinned)
        return archived if archived.exists() else None

    def unverified(self, path: Path | None) -> bool:
        """Whether an image is from the archive."""
        return path is not None and path.is_relative_to(self.data.cache_dir / self.archive)
