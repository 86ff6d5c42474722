"""Pins of official data: repository, commit, paths, digests and licence of each data set.

Read from `pins/<name>.json`; adding a data set is adding such a file. Knows no network and no
cache.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath

from alphabench.core.errors import unknown_name


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedFile:
    """One file of an upstream repository."""

    path: str
    """Inside the repository, with slashes."""
    git_blob: str
    """Git's object id, in hexadecimal."""
    sha256: str | None = None
    size_bytes: int | None = None

    def __post_init__(self) -> None:
        path = PurePosixPath(self.path)
        if path.is_absolute() or not path.parts or ".." in path.parts or "\\" in self.path:
            raise ValueError(f"{self.path!r} is no path inside a repository")

    @property
    def digest(self) -> str:
        """sha256 where it is known, else git's id with its kind before it."""
        return self.sha256 or f"git:{self.git_blob}"

    def mismatch(self, content: bytes) -> str | None:
        """Describes how `content` differs from the pinned file; None if it does not."""
        if self.size_bytes is not None and len(content) != self.size_bytes:
            return f"has {len(content)} bytes instead of {self.size_bytes}"
        if self.sha256 is not None and hashlib.sha256(content).hexdigest() != self.sha256:
            return "has another sha256 than the pinned one"
        header = b"blob %d\0" % len(content)
        if hashlib.sha1(header + content, usedforsecurity=False).hexdigest() != self.git_blob:
            return "is another git blob than the pinned one"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One data set at one commit."""

    name: str
    repository: str
    """Owner and name on GitHub."""
    commit: str
    licence: str
    """SPDX identifier, or a description where there is none."""
    stand_in: str
    """The split that needs no download."""
    files: tuple[PinnedFile, ...]

    def file(self, path: str) -> PinnedFile:
        """The pinned file at `path`; KeyError when there is none."""
        return {file.path: file for file in self.files}[path]


def pinned_names() -> list[str]:
    """The names of all data sets that can be fetched."""
    entries = (entry.name for entry in _folder().iterdir())
    return sorted(name.removesuffix(".json") for name in entries if name.endswith(".json"))


def pin_of(name: str) -> Pin:
    """The pin of one data set.

    Raises:
        AlphaBenchError: no such data set; the error names the nearest.
    """
    if name not in pinned_names():
        raise unknown_name("upstream data set", name, pinned_names())
    return _load(name)


@functools.cache  # DPG-Bench's thousand files are read one by one, each through its pin
def _load(name: str) -> Pin:
    facts = json.loads((_folder() / f"{name}.json").read_text(encoding="utf-8"))
    files = tuple(PinnedFile(**file) for file in facts.pop("files"))
    return Pin(name=name, files=files, **facts)


def pins_of(benchmark: str) -> list[Pin]:
    """The data that a benchmark, `name[@version][:split]`, needs; also accepts a data set's name.

    A data set is named after its benchmark (`wise`), and after its version or split where these
    have separate data (`wise-legacy`, `geneval-long`). Then come images to be edited,
    `<data>-images`, and upstream's judge templates, `<data>-judge`. Empty for a split that needs
    none.

    Raises:
        AlphaBenchError: there is no data under that name.
    """
    known = pinned_names()
    name, _, split = benchmark.partition(":")
    name, _, version = name.partition("@")
    if any(pin_of(one).stand_in == f"{name}:{split}" for one in known):
        return []
    own = [f"{name}-{part}" for part in (version, split) if part]
    for data in (*own, name):
        if found := [one for one in (data, f"{data}-images", f"{data}-judge") if one in known]:
            return [pin_of(one) for one in found]
    return [pin_of(name)]


def licence_of(name: str) -> str:
    """The licence of a data set, known before anything is downloaded."""
    return pin_of(name).licence


def _folder() -> Traversable:
    return resources.files("alphabench.upstream") / "pins"
