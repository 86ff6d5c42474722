"""Where a checkpoint's files are: a folder, or a hub repository at one commit.

Locates and checks them before anything is loaded. Knows no sampling setting and imports
no model library.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, read_bytes
from alphabench.weights import hub, weight_files
from alphabench.weights.digest import digest_files

_INDEX: Final = "model_index.json"
_CARD: Final = "README.md"
MAX_CARD: Final = 2**20
"""Bytes of a model card; only its header is used."""
_DENOISERS: Final = ("transformer", "unet")
"""Their weights are stored under the names of their modules."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFiles:
    """Where the files of a checkpoint are, and which of them are needed."""

    name: str
    """As the user wrote it."""
    folder: Path | None
    """None when the files are on the hub."""
    snapshot: hub.HubSnapshot | None
    needed: tuple[str, ...]
    """Relative paths of the files that decide the images."""

    def read_json(self, file: str) -> Mapping[str, Any]:
        """The object in one of the needed files; empty where there is no such file."""
        if file not in self.needed:
            return {}
        if self.folder is not None:
            return weight_files.read_checkpoint_json(self.folder / file, name=self.name)
        assert self.snapshot is not None
        return weight_files.read_checkpoint_json(self.snapshot.file(file), name=self.name)

    def fetch(self) -> Path:
        """A folder with all needed files; downloads them when they are on the hub.

        Raises:
            AlphaBenchError: they cannot be fetched, or arrived damaged.
        """
        if self.folder is not None:
            return self.folder
        assert self.snapshot is not None
        folder = self.snapshot.folder(self.needed)
        weight_files.check_files(folder, self.needed, name=self.name)
        return folder

    def card(self) -> str:
        """The model card; empty without a readable one."""
        try:
            card = self.folder / _CARD if self.folder else self._hub_card()
            return read_bytes(card, max_bytes=MAX_CARD).decode(errors="replace")
        except (UnreadableFileError, AlphaBenchError):
            return ""

    def licence(self) -> str:
        """What the model card states; `unknown` without a card, or if it states none."""
        return stated_licence(self.card())

    def _hub_card(self) -> Path:
        assert self.snapshot is not None
        return self.snapshot.file(_CARD)

    def identity(self) -> str:
        """The commit on the hub, or a digest over content."""
        if self.snapshot is not None:
            return f"hub:{self.snapshot.repo}@{self.snapshot.commit}"
        assert self.folder is not None
        return digest_files(self.folder, [self.folder / one for one in self.needed])


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFiles(CheckpointFiles):
    """A diffusers pipeline."""

    index: weight_files.PipelineIndex

    def read_config(self, component: str) -> Mapping[str, Any]:
        """config.json of a component; empty where it has none."""
        return self.read_json(f"{component}/config.json")

    def modules(self) -> dict[str, frozenset[str] | None]:
        """Component -> the names of its modules that have weights.

        None where they are unknown: not on this machine, or under other names than the modules'.
        """
        modules: dict[str, frozenset[str] | None] = dict.fromkeys(self.index.components)
        local = self.folder or (self.snapshot.cached if self.snapshot is not None else None)
        if local is None:
            return modules
        for component in _DENOISERS:
            names = [
                one
                for one in self.needed
                if one.startswith(f"{component}/") and one.endswith(".safetensors")
            ]
            headers = [weight_files.read_header(local / one, name=self.name) for one in names]
            if headers:
                modules[component] = frozenset(
                    key.rpartition(".")[0] for header in headers for key in header
                )
        return modules

    def read_scheduler(self) -> Mapping[str, Any]:
        """Configuration of the scheduler; empty where there is none."""
        return self.read_json("scheduler/scheduler_config.json")


def stated_licence(card: str) -> str:
    """The licence that a model card names in its header, or `unknown`."""
    header = card.partition("---")[2].partition("\n---")[0]
    match = re.search(r"^license(?:_name)?:[ \t]*(\S.*)$", header, re.MULTILINE)
    return match[1].strip() if match else "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointLocation:
    """A folder or a hub repository, before its needed files are known."""

    local: Path | None
    """The folder, or the cached snapshot where the hub is not reachable."""
    snapshot: hub.HubSnapshot | None
    names: frozenset[str]
    """All files, relative."""
    probe: Path
    """The small file that shows what kind of checkpoint it is."""


def locate_checkpoint(
    location: str, *, revision: str | None, probe: str, access: hub.HubAccess
) -> CheckpointLocation:
    """A checkpoint's folder or repository, and all names in it.

    Args:
        location: a folder, or a hub id `owner/name[@revision]`.
        revision: of the hub repository, if the id names none.
        probe: a small file that it holds.
        access: how to reach the hub.

    Raises:
        AlphaBenchError: not there, or a folder with a revision.
    """
    folder = Path(location).expanduser()
    if not folder.is_dir():
        snapshot = hub.open_snapshot(location, revision=revision, probe=probe, access=access)
        return CheckpointLocation(
            local=snapshot.cached,
            snapshot=snapshot,
            names=snapshot.names,
            probe=snapshot.file(probe),
        )
    if revision is not None:
        raise AlphaBenchError(
            f"{location!r} is a folder, and a folder has no revision",
            hint="leave out the option revision",
        )
    return CheckpointLocation(
        local=folder, snapshot=None, names=hub.files_under(folder), probe=folder / probe
    )


def locate_pipeline(
    location: str,
    *,
    revision: str | None,
    variant: str | None,
    consent: weight_files.Consent,
    access: hub.HubAccess,
) -> PipelineFiles:
    """Locate a pipeline and check it without loading it.

    Args:
        location: a folder, or a hub id `owner/name[@revision]`.
        revision: of the hub repository, if the id names none.
        variant: of the weights' file names, such as `fp16`.
        consent: what the user allows.
        access: how to reach the hub.

    Raises:
        AlphaBenchError: not there, incomplete, damaged, or in need of a consent that was not given.
    """
    located = locate_checkpoint(location, revision=revision, probe=_INDEX, access=access)
    index_file, names = located.probe, located.names
    index = weight_files.read_index(index_file, name=location)
    needed = weight_files.needed_files(
        names, index, variant=variant, consent=consent, name=location
    )
    if located.local is not None:
        weight_files.check_files(located.local, needed, name=location)
    return PipelineFiles(
        name=location,
        folder=located.local,
        snapshot=located.snapshot,
        index=index,
        needed=tuple(needed),
    )
