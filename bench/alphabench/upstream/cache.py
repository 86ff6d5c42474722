"""The cache of official data: files are verified when they are stored and whenever they are read.

Layout: `<cache>/upstream/<owner>/<repository>/<commit>/<path>`. Prints nothing, and knows no
benchmark.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, read_bytes
from alphabench.core.writing import remove_drafts, replace_file, writing
from alphabench.remote.credentials import without_secrets
from alphabench.upstream.pinned import Pin, PinnedFile, pin_of
from alphabench.upstream.sources import (
    DEFAULT_RETRIES,
    DownloadRetries,
    address_of,
    download,
    open_client,
    read_from_folder,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedFile:
    """The outcome for one file."""

    path: Path
    """In the cache."""
    size_bytes: int
    outcome: Literal["cached", "fetched", "replaced"]
    """cached: the cache had it. replaced: the cache had another file in its location."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchReport:
    """What `UpstreamData.fetch` did; every listed file is in the cache and verified."""

    pin: Pin
    files: tuple[FetchedFile, ...]

    def __str__(self) -> str:
        """A summary in one line."""
        counts = Counter(file.outcome for file in self.files)
        size = sum(file.size_bytes for file in self.files)
        done = ", ".join(f"{n} {outcome}" for outcome, n in sorted(counts.items()))
        files = "1 file" if len(self.files) == 1 else f"{len(self.files)} files"
        return f"{files} verified ({size:,} bytes; {done})"


def default_cache_dir() -> Path:
    """ALPHABENCH_CACHE, or the platform's folder for this user's cached files."""
    if chosen := os.environ.get("ALPHABENCH_CACHE"):
        return Path(chosen)
    return platformdirs.user_cache_path("alphabench")


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamData:
    """Official data under one cache folder; creating it accesses no file."""

    cache_dir: Path

    def path_of(self, name: str, path: str) -> Path:
        """The location of a pinned file, whether it was fetched or not.

        Raises:
            AlphaBenchError: no such data set, or a link leads out of the cache.
        """
        pin = pin_of(name)
        return self._location(pin, pin.file(path))

    def missing(self, name: str) -> list[str]:
        """The pinned paths of a data set that are not in the cache, or not as pinned."""
        pin = pin_of(name)
        return [file.path for file in pin.files if not self._holds(pin, file)]

    def fetch(
        self,
        name: str,
        *,
        source: Path | str | None = None,
        retries: DownloadRetries = DEFAULT_RETRIES,
    ) -> FetchReport:
        """Complete one data set in the cache.

        Args:
            name: one of `pinned_names()`.
            source: None downloads from the upstream repository at the pinned commit; an
                `http(s)://` address is a mirror; anything else a folder. Mirror and folder are
                laid out as `<owner>/<repository>/<path>`.
            retries: for downloads.

        Raises:
            AlphaBenchError: a file cannot be obtained, is not the pinned one, or cannot be
                written. Files that were finished before stay.
        """
        return self.fetch_pin(pin_of(name), source=source, retries=retries)

    def fetch_pin(
        self,
        pin: Pin,
        *,
        source: Path | str | None = None,
        retries: DownloadRetries = DEFAULT_RETRIES,
    ) -> FetchReport:
        """`fetch` for a data set whose pin is not part of this package."""
        remove_drafts(self.cache_dir / "upstream" / pin.repository / pin.commit)
        with ExitStack() as resources:
            obtain = _open_source(pin, source, retries, resources)
            return FetchReport(
                pin=pin, files=tuple(self._complete(pin, file, obtain) for file in pin.files)
            )

    def read(self, name: str, path: str) -> bytes:
        """The content of one pinned file, verified.

        Raises:
            AlphaBenchError: it was not fetched, or is not the pinned file any more.
        """
        pin = pin_of(name)
        file = pin.file(path)
        location = self._location(pin, file)
        if not location.exists():
            raise AlphaBenchError(
                f"the official data {name!r} is not on this machine (licence: {pin.licence})",
                hint=f"run `alphabench fetch {name}`, or use {pin.stand_in}, which needs none",
            )
        try:
            content = read_bytes(location)
        except UnreadableFileError as error:
            raise AlphaBenchError(
                f"{str(location)!r} cannot be read ({error})",
                hint=f"fix its permissions, or delete it and run `alphabench fetch {name}`",
            ) from error
        if mismatch := file.mismatch(content):
            raise AlphaBenchError(
                f"{str(location)!r} is not the official file: it {mismatch}",
                hint=f"run `alphabench fetch {name}`, which replaces it",
            )
        return content

    def _location(self, pin: Pin, file: PinnedFile) -> Path:
        root = self.cache_dir / "upstream"
        location = root / pin.repository / pin.commit / file.path
        if not location.resolve().is_relative_to(root.resolve()):
            raise AlphaBenchError(
                f"{str(location)!r} leads out of the cache folder",
                hint="remove the link, or choose another cache folder",
            )
        return location

    def _holds(self, pin: Pin, file: PinnedFile) -> bool:
        try:
            return file.mismatch(read_bytes(self._location(pin, file))) is None
        except UnreadableFileError:
            return False

    def _complete(
        self, pin: Pin, file: PinnedFile, obtain: Callable[[PinnedFile], tuple[str, bytes]]
    ) -> FetchedFile:
        location = self._location(pin, file)
        was_there = location.exists()
        if self._holds(pin, file):
            return FetchedFile(path=location, size_bytes=location.stat().st_size, outcome="cached")
        origin, content = obtain(file)
        if mismatch := file.mismatch(content):
            raise AlphaBenchError(
                f"{origin!r} is refused: it {mismatch}",
                hint=f"get {pin.repository} at commit {pin.commit} from another source",
            )
        with writing(location, elsewhere="choose another cache folder with ALPHABENCH_CACHE"):
            replace_file(location, content)
        return FetchedFile(
            path=location, size_bytes=len(content), outcome="replaced" if was_there else "fetched"
        )


def _open_source(
    pin: Pin, source: Path | str | None, retries: DownloadRetries, resources: ExitStack
) -> Callable[[PinnedFile], tuple[str, bytes]]:
    """Returns a function: pinned file -> its origin and its unverified bytes."""
    if source is None or str(source).startswith(("https://", "http://")):
        mirror = None if source is None else str(source)
        client = resources.enter_context(open_client(retries))

        def from_server(file: PinnedFile) -> tuple[str, bytes]:
            address = address_of(pin, file, mirror=mirror)
            return without_secrets(address), download(address, file, client=client, retries=retries)

        return from_server
    folder = Path(source)
    if not folder.is_dir():
        raise AlphaBenchError(
            f"there is no folder {str(folder)!r}",
            hint="--from takes a folder that holds <owner>/<repository>/<path>, or a mirror's URL",
        )
    return lambda file: (
        str(folder / pin.repository / file.path),
        read_from_folder(folder, pin, file),
    )
