"""Edits and source images of editing benchmarks: of mini splits, and copies of the authors' images.

Knows no benchmark's rules and no judge.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from alphabench.benchmarks.mini_split import DataSource, mini_bytes, mini_source
from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, read_json
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


def read_items(file: Path, *, hint: str) -> list[dict[str, Any]]:
    """The items in a JSON file that nothing pins, such as one of an archive unpacked by hand.

    Raises:
        AlphaBenchError: they are not there, or are no list of objects; with the hint.
    """
    try:
        items = read_json(file)
    except UnreadableFileError as error:
        raise AlphaBenchError(f"{str(file)!r} cannot be read: {error}", hint=hint) from error
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise AlphaBenchError(f"{str(file)!r} is no list of items", hint=hint)
    return items


def archived_source(data: UpstreamData, path: str, pinned: DataSource) -> DataSource:
    """The source of such items, as pinned ones state it, with the digest of what is there."""
    file = data.cache_dir / path
    digest = hashlib.sha256(file.read_bytes() if file.is_file() else b"").hexdigest()
    return replace(pinned, source=f"{pinned.source}, the authors' archive", digest=digest)


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

    def needed(self, name: str) -> Path:
        """See `path`.

        Raises:
            AlphaBenchError: also where it is only in an archive that is not here.
        """
        if (path := self.path(name)) is None:
            raise AlphaBenchError(
                f"the source image {name!r} is not in {str(self.data.cache_dir / self.archive)!r}",
                hint="unpack the authors' archive there, as the benchmark's page says",
            )
        return path

    def unverified(self, path: Path | None) -> bool:
        """Whether an image is from the archive."""
        return path is not None and path.is_relative_to(self.data.cache_dir / self.archive)
