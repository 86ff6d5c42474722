"""Pictures already made, as a checkpoint: each request is answered from a file.

Reads upstream's own layouts and a flat one. Refuses gaps, damaged files and pictures made for other
prompts before anything is scored; never looks outside its folder. Edited pictures are taken as they
are. Knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from alphabench.checkpoints import refuse_lora
from alphabench.core.errors import AlphaBenchError
from alphabench.core.files import UnreadableFileError, confined, parse_json, read_text
from alphabench.core.options import fill
from alphabench.images import UnreadableImageError, check, open_rgb
from alphabench.types import ImageRequest, NotGenerated, Sample
from alphabench.upstream.layouts import (
    FolderOptions,
    Layout,
    Listing,
    hub_repository,
    layout_named,
    layouts,
    layouts_that_fit,
)
from alphabench.weights.digest import digest_files

if TYPE_CHECKING:
    from PIL.Image import Image

_LISTED: Final = 10
"""So many missing pictures are named; the rest is counted."""
_BATCH: Final = 4
"""Images in memory at once: a small file can hold the largest that is opened."""
_COMMON: Final = ("layout", "gaps")
"""Options that every layout takes."""


def open_folder(
    location: str, *, options: Mapping[str, str], lora: str | None, device: str
) -> FolderCheckpoint:
    """Open `images:DIR`.

    Raises:
        AlphaBenchError: no such folder, no picture in it in this layout, or an option of another.
    """
    del device
    refuse_lora(lora, "images:")
    root = Path(location).expanduser()
    if not location or not root.is_dir():
        raise AlphaBenchError(f"there is no folder {location!r}", hint="write images:DIR")
    checkpoint = FolderCheckpoint(
        root=root.resolve(), options=fill(FolderOptions, options, owner="images:")
    )
    known = (*_COMMON, *checkpoint.layout.reads)
    if foreign := [name for name in options if name not in known]:
        raise AlphaBenchError(
            f"the layout {checkpoint.options.layout!r} has no option {foreign[0]!r}",
            hint=f"it takes: {', '.join(known)}",
        )
    if not checkpoint.pictures:
        raise _nothing_found(checkpoint)
    return checkpoint


def _nothing_found(checkpoint: FolderCheckpoint) -> AlphaBenchError:
    fitting = [f"--layout {name}" for name in layouts_that_fit(checkpoint.root)]
    return AlphaBenchError(
        f"{str(checkpoint.root)!r} holds no picture in the layout "
        f"{checkpoint.options.layout!r}: {checkpoint.layout.form}",
        hint=f"try {' or '.join(fitting)}"
        if fitting
        else f"check the folder, or name its layout: --layout {', '.join(sorted(layouts()))}",
    )


@dataclass(kw_only=True, eq=False)
class FolderCheckpoint:
    """A folder of pictures, listed once."""

    root: Path
    options: FolderOptions

    @property
    def batch_size(self) -> int:
        return _BATCH

    @property
    def layout(self) -> Layout:
        return layout_named(self.options.layout)

    @cached_property
    def pictures(self) -> Listing:
        """What lies in the folder, by the layout's own keys."""
        return self.layout.find(self.root, self.options)

    @cached_property
    def identity(self) -> Mapping[str, str]:
        paths = {path for found in self.pictures.values() for path in found.values()}
        for path in paths:
            self._confine(path)
        try:
            images = digest_files(self.root, paths)
        except OSError as error:
            raise _corrupt(Path(error.filename or self.root), self.root, error) from error
        cut = {"cells": str(self.options.cells)} if self.layout.split else {}
        return {"kind": "images", "layout": self.options.layout, **cut, "images": images}

    def refusals(self, requests: Sequence[ImageRequest]) -> Mapping[str, str]:
        missing: dict[str, str] = {}
        present: set[Path] = set()
        for sample in {request.sample.id: request.sample for request in requests}.values():
            self._check_prompt(sample)
        for request in requests:
            path = self._find(request)
            if path is None:
                missing[request.id] = f"there is no picture {request.id} in {self.root.name!r}"
            else:
                present.add(path)
        for path in sorted(present):
            self._check_picture(path)
        if len(missing) == len(requests) and (fitting := self._fitting(requests[0].sample)):
            raise AlphaBenchError(
                f"none of the {len(requests)} pictures lies in {str(self.root)!r} in the layout "
                f"{self.options.layout!r}",
                hint=f"try {fitting}",
            )
        if missing and self.options.gaps == "refuse":
            named = ", ".join(list(missing)[:_LISTED])
            more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
            raise AlphaBenchError(
                f"{len(missing)} of {len(requests)} pictures are missing in "
                f"{str(self.root)!r}: {named}{more}",
                hint="add them, or score what is there with --set gaps=allow",
            )
        return missing

    def generate(self, requests: Sequence[ImageRequest]) -> list[Image | NotGenerated]:
        made: list[Image | NotGenerated] = []
        opened: dict[Path, list[Image]] = {}
        for request in requests:
            self._check_prompt(request.sample)
            path = self._find(request)
            if path is None:
                reason = f"there is no picture {request.id}"
                made.append(NotGenerated(status="failed", reason=reason))
                continue
            if path not in opened:
                opened[path] = self._pictures_in(path)
            made.append(opened[path][request.index if self.layout.split else 0])
        return made

    def _find(self, request: ImageRequest) -> Path | None:
        return self._of_sample(request.sample).get(request.index)

    def _of_sample(self, sample: Sample) -> Mapping[int, Path]:
        try:
            key = self.layout.key(sample)
        except KeyError as error:
            raise AlphaBenchError(
                f"the layout {self.options.layout!r} has no place for sample {sample.id!r}",
                hint=f"try {self._fitting(sample) or 'the layout of the benchmark, or flat'}",
            ) from error
        return self.pictures.get(key, {})

    def _fitting(self, sample: Sample) -> str:
        """Other layouts in which the folder holds the sample, as they are typed; may be empty."""
        names = layouts_that_fit(self.root, sample)
        return " or ".join(f"--layout {name}" for name in names if name != self.options.layout)

    def _confine(self, path: Path) -> None:
        """Links may lead where the same owner's files lie, and nowhere else."""
        name = path.relative_to(self.root).as_posix()
        try:
            confined(self.root, name, links_within=hub_repository(self.root))
        except UnreadableFileError as error:
            raise AlphaBenchError(
                f"{str(self.root)!r} cannot be used: {error}",
                hint="copy the picture into the folder",
            ) from error

    def _pictures_in(self, path: Path) -> list[Image]:
        """One, or those of a grid in their order."""
        self._confine(path)
        try:
            picture = open_rgb(path)
        except UnreadableImageError as error:
            raise _corrupt(path, self.root, error) from error
        if self.layout.split is None:
            return [picture]
        return self.layout.split(picture, str(path.relative_to(self.root)), self.options)

    def _check_picture(self, path: Path) -> None:
        if self.layout.split:
            self._pictures_in(path)
            return
        self._confine(path)
        try:
            check(path)
        except UnreadableImageError as error:
            raise _corrupt(path, self.root, error) from error

    def _check_prompt(self, sample: Sample) -> None:
        """GenEval's generator writes each prompt beside its pictures: they must belong together."""
        found = self._of_sample(sample)
        if self.layout.prompt_file is None or not found:
            return
        path = self.layout.prompt_file(found[0])
        if not path.is_file():
            return
        self._confine(path)
        try:
            prompt = parse_json(read_text(path).splitlines()[0])["prompt"]
        except (UnreadableFileError, LookupError, TypeError) as error:
            raise AlphaBenchError(
                f"{str(path.relative_to(self.root))!r} cannot be read: {error}",
                hint="write it again, or remove it to skip the comparison of prompts",
            ) from error
        if prompt != sample.prompt:
            raise AlphaBenchError(
                f"the pictures in {path.parent.name!r} were made for {prompt!r}, and sample "
                f"{sample.id!r} asks for {sample.prompt!r}",
                hint="choose the benchmark and split that they were made for, or the right folder",
            )


def _corrupt(path: Path, root: Path, error: Exception) -> AlphaBenchError:
    return AlphaBenchError(
        f"the picture {str(path.relative_to(root))!r} in {str(root)!r} cannot be read: {error}",
        hint="make or copy it again, or remove it and add --set gaps=allow",
    )
