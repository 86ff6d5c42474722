"""Existing images as a checkpoint: each request is answered from a file.

Reads upstream's layouts and a flat one. Refuses missing and damaged files, and images of other
prompts, before anything is scored; never reads outside its folder. Edited images are taken as they
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
from alphabench.images import UnreadableImageError, check_image, open_rgb
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
"""Missing images that are named; the rest is counted."""
_BATCH: Final = 4
"""Images in memory at once: a small file can decode to the largest size allowed."""
_GRIDS: Final = " (cuts each file into four images; with --set cells=1 a file is one image)"
_COMMON: Final = ("layout", "gaps")
"""Options that every layout takes."""


def open_folder(
    location: str, *, options: Mapping[str, str], lora: str | None, device: str
) -> FolderCheckpoint:
    """Open `images:DIR`.

    Raises:
        AlphaBenchError: no such folder, no image in it in this layout, or an option of another.
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
    if not checkpoint.images:
        raise _no_image_error(checkpoint)
    return checkpoint


def _no_image_error(checkpoint: FolderCheckpoint) -> AlphaBenchError:
    known = layouts()
    fitting = [
        f"--layout {name}{_GRIDS if known[name].split is not None else ''}"
        for name in layouts_that_fit(checkpoint.root)
    ]
    return AlphaBenchError(
        f"{str(checkpoint.root)!r} has no image in the layout "
        f"{checkpoint.options.layout!r}: {checkpoint.layout.form}",
        hint=f"try {' or '.join(fitting)}"
        if fitting
        else f"check the folder, or name its layout: --layout {', '.join(sorted(known))}",
    )


@dataclass(kw_only=True, eq=False)
class FolderCheckpoint:
    """A folder of images, listed once."""

    root: Path
    options: FolderOptions

    @property
    def batch_size(self) -> int:
        return _BATCH

    @cached_property
    def layout(self) -> Layout:
        return layout_named(self.options.layout)

    @cached_property
    def images(self) -> Listing:
        """The folder's images, by the layout's keys."""
        return self.layout.find(self.root, self.options)

    @cached_property
    def identity(self) -> Mapping[str, str]:
        paths = {path for by_index in self.images.values() for path in by_index.values()}
        for path in paths:
            self._confine(path)
        try:
            images = digest_files(self.root, paths)
        except OSError as error:
            raise _unreadable(Path(error.filename or self.root), self.root, error) from error
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
                missing[request.id] = f"there is no image {request.id} in {self.root.name!r}"
            else:
                present.add(path)
        for path in sorted(present):
            self._check_image(path)
        if len(missing) == len(requests) and (fitting := self._fitting(requests[0].sample)):
            raise AlphaBenchError(
                f"none of the {len(requests)} images is in {str(self.root)!r} in the layout "
                f"{self.options.layout!r}",
                hint=f"try {fitting}",
            )
        if missing and self.options.gaps == "refuse":
            named = ", ".join(list(missing)[:_LISTED])
            more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
            raise AlphaBenchError(
                f"{len(missing)} of {len(requests)} images are missing in "
                f"{str(self.root)!r}: {named}{more}",
                hint="add them, or score what is there with --set gaps=allow",
            )
        return missing

    def generate(self, requests: Sequence[ImageRequest]) -> list[Image | NotGenerated]:
        results: list[Image | NotGenerated] = []
        loaded: dict[Path, list[Image]] = {}
        for request in requests:
            self._check_prompt(request.sample)
            path = self._find(request)
            if path is None:
                reason = f"there is no image {request.id}"
                results.append(NotGenerated(status="failed", reason=reason))
                continue
            if path not in loaded:
                loaded[path] = self._images_in(path)
            results.append(loaded[path][request.index if self.layout.split else 0])
        return results

    def _find(self, request: ImageRequest) -> Path | None:
        return self._of_sample(request.sample).get(request.index)

    def _of_sample(self, sample: Sample) -> Mapping[int, Path]:
        try:
            key = self.layout.key(sample)
        except KeyError as error:
            raise AlphaBenchError(
                f"the layout {self.options.layout!r} has no path for sample {sample.id!r}",
                hint=f"try {self._fitting(sample) or 'the layout of the benchmark, or flat'}",
            ) from error
        return self.images.get(key, {})

    def _fitting(self, sample: Sample) -> str:
        """Other layouts in which the folder has the sample, as options; may be empty."""
        names = layouts_that_fit(self.root, sample)
        return " or ".join(f"--layout {name}" for name in names if name != self.options.layout)

    def _confine(self, path: Path) -> None:
        """Links may lead only to files of the same hub repository."""
        name = path.relative_to(self.root).as_posix()
        try:
            confined(self.root, name, links_within=hub_repository(self.root))
        except UnreadableFileError as error:
            raise AlphaBenchError(
                f"{str(self.root)!r} cannot be used: {error}",
                hint="copy the image into the folder",
            ) from error

    def _images_in(self, path: Path) -> list[Image]:
        """One, or those of a grid in their order."""
        self._confine(path)
        try:
            image = open_rgb(path)
        except UnreadableImageError as error:
            raise _unreadable(path, self.root, error) from error
        if self.layout.split is None:
            return [image]
        return self.layout.split(image, str(path.relative_to(self.root)), self.options)

    def _check_image(self, path: Path) -> None:
        if self.layout.split:
            self._images_in(path)
            return
        self._confine(path)
        try:
            check_image(path)
        except UnreadableImageError as error:
            raise _unreadable(path, self.root, error) from error

    def _check_prompt(self, sample: Sample) -> None:
        """GenEval's generator stores the prompt with its images; it must be the sample's."""
        images = self._of_sample(sample)
        if self.layout.prompt_file is None or not images:
            return
        path = self.layout.prompt_file(images[0])
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
                f"the images in {path.parent.name!r} were made for {prompt!r}, and the prompt of "
                f"sample {sample.id!r} is {sample.prompt!r}",
                hint="choose the benchmark and split that they were made for, or the right folder",
            )


def _unreadable(path: Path, root: Path, error: Exception) -> AlphaBenchError:
    return AlphaBenchError(
        f"the image {str(path.relative_to(root))!r} in {str(root)!r} cannot be read: {error}",
        hint="make or copy it again, or remove it and add --set gaps=allow",
    )
