"""Pictures already made, as a checkpoint: each request is answered from a file.

Reads the layout of GenEval's own generator and a flat one. Refuses gaps and pictures made for other
prompts before anything is scored; never looks outside its folder. Knows no model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from alphabench.checkpoints import refuse_edits, refuse_lora
from alphabench.checkpoints.digest import digest_files
from alphabench.errors import AlphaBenchError
from alphabench.options import fill
from alphabench.types import ImageRequest, NotMade, Sample

if TYPE_CHECKING:
    from PIL.Image import Image

_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp")
_LISTED: Final = 10
"""So many missing pictures are named; the rest is counted."""
_BATCH: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderOptions:
    """Options of `images:`."""

    layout: Literal["geneval", "flat"] = "geneval"
    """geneval: DIR/00000/samples/0000.png. flat: DIR/ID/0.png or DIR/ID_0.png."""
    gaps: Literal["refuse", "allow"] = "refuse"
    """What to do when a picture is missing; allowed ones count as missing in the report."""


def open_folder(
    location: str, *, options: Mapping[str, str], lora: str | None, device: str
) -> FolderCheckpoint:
    """Open `images:DIR`.

    Raises:
        AlphaBenchError: no such folder, or no picture in it in this layout.
    """
    del device
    refuse_lora(lora, "images:")
    root = Path(location).expanduser()
    if not location or not root.is_dir():
        raise AlphaBenchError(f"there is no folder {location!r}", hint="write images:DIR")
    checkpoint = FolderCheckpoint(
        root=root.resolve(), options=fill(FolderOptions, options, owner="images:")
    )
    if not checkpoint.pictures:
        other = "flat" if checkpoint.options.layout == "geneval" else "geneval"
        raise AlphaBenchError(
            f"{location!r} holds no picture in the layout {checkpoint.options.layout!r}",
            hint=f"check the folder, or try --layout {other}",
        )
    return checkpoint


@dataclass(kw_only=True, eq=False)
class FolderCheckpoint:
    """A folder of pictures, listed once."""

    root: Path
    options: FolderOptions

    @property
    def batch_size(self) -> int:
        return _BATCH

    @cached_property
    def pictures(self) -> Mapping[str, Sequence[Path]]:
        """Sample -> its pictures in order; a flat layout leaves gaps as the missing index.

        The key is the folder's number for the geneval layout, the sample's id for the flat one.
        """
        if self.options.layout == "geneval":
            return _list_geneval(self.root)
        return {key: list(found.values()) for key, found in self._flat.items()}

    @cached_property
    def _flat(self) -> Mapping[str, Mapping[int, Path]]:
        return _list_flat(self.root)

    @cached_property
    def identity(self) -> Mapping[str, str]:
        paths = [path for found in self.pictures.values() for path in found]
        for path in paths:
            _confine(path, self.root)
        try:
            images = digest_files(self.root, paths)
        except OSError as error:
            raise _corrupt(Path(error.filename or self.root), self.root, error) from error
        return {"kind": "images", "layout": self.options.layout, "images": images}

    def unable(self, requests: Sequence[ImageRequest]) -> Mapping[str, str]:
        refuse_edits(requests, "images:")
        missing: dict[str, str] = {}
        for sample in {request.sample.id: request.sample for request in requests}.values():
            self._check_prompt(sample)
        for request in requests:
            path = self._find(request)
            if path is None:
                missing[request.id] = f"there is no picture {request.id} in {self.root.name!r}"
            else:
                _verify(path, self.root)
        if missing and self.options.gaps == "refuse":
            named = ", ".join(list(missing)[:_LISTED])
            more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
            raise AlphaBenchError(
                f"{len(missing)} of {len(requests)} pictures are missing in "
                f"{str(self.root)!r}: {named}{more}",
                hint="add them, or score what is there with --set gaps=allow",
            )
        return missing

    def generate(self, requests: Sequence[ImageRequest]) -> list[Image | NotMade]:
        refuse_edits(requests, "images:")
        made: list[Image | NotMade] = []
        for request in requests:
            self._check_prompt(request.sample)
            path = self._find(request)
            made.append(
                NotMade(status="failed", reason=f"there is no picture {request.id}")
                if path is None
                else _open(path, self.root)
            )
        return made

    def _find(self, request: ImageRequest) -> Path | None:
        if self.options.layout == "flat":
            return self._flat.get(request.sample.id, {}).get(request.index)
        found = self.pictures.get(_folder_key(request.sample.id), ())
        return found[request.index] if request.index < len(found) else None

    def _check_prompt(self, sample: Sample) -> None:
        """GenEval's generator writes each prompt beside its pictures: they must belong together."""
        found = self.pictures.get(_folder_key(sample.id), ())
        if self.options.layout != "geneval" or not found:
            return
        path = found[0].parent.parent / "metadata.jsonl"
        if not path.is_file():
            return
        _confine(path, self.root)
        try:
            prompt = json.loads(path.read_text("utf-8").splitlines()[0])["prompt"]
        except (OSError, ValueError, LookupError, TypeError) as error:
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


def _folder_key(name: str) -> str:
    """`00007` and `7` are the same folder to GenEval's scripts, which count."""
    return str(int(name)) if name.isdecimal() else name


def _list_geneval(root: Path) -> dict[str, list[Path]]:
    """All-digit folders, and in `samples/` the files named by digits, in the order of names.

    As djghosh13/geneval's evaluation/evaluate_images.py takes them; the n-th file is image n.
    """
    listed: dict[str, list[Path]] = {}
    for folder in sorted(root.iterdir()):
        if not folder.name.isdecimal() or not (folder / "samples").is_dir():
            continue
        key = _folder_key(folder.name)
        files = sorted(
            path for path in (folder / "samples").iterdir() if re.fullmatch(r"\d+\.png", path.name)
        )
        if not files:
            continue
        if key in listed:
            other = listed[key][0].parent.parent.name
            raise AlphaBenchError(
                f"the folders {other!r} and {folder.name!r} are both number {key}",
                hint="remove one of them",
            )
        listed[key] = files
    return listed


def _list_flat(root: Path) -> dict[str, dict[int, Path]]:
    """`ID/INDEX.png` and `ID_INDEX.png`, where an index may have leading zeros."""
    listed: dict[str, dict[int, Path]] = {}
    inside = [path for path in sorted(root.iterdir()) if path.is_dir()]
    candidates = [(f.name, path.stem, path) for f in inside for path in sorted(f.iterdir())]
    for path in sorted(root.iterdir()):
        sample, underscore, index = path.stem.rpartition("_")
        if underscore:
            candidates.append((sample, index, path))
    for sample, index, path in candidates:
        if path.suffix.lower() not in _SUFFIXES or not index.isdecimal() or not path.is_file():
            continue
        found = listed.setdefault(sample, {})
        if int(index) in found:
            raise AlphaBenchError(
                f"there are two pictures {sample}/{int(index)}: "
                f"{str(found[int(index)].relative_to(root))!r} and {str(path.relative_to(root))!r}",
                hint="remove one of them",
            )
        found[int(index)] = path
    return listed


def _confine(path: Path, root: Path) -> None:
    if not path.resolve().is_relative_to(root):
        raise AlphaBenchError(
            f"{str(path.relative_to(root))!r} is a link that leads out of {str(root)!r}",
            hint="copy the picture into the folder",
        )


def _verify(path: Path, root: Path) -> None:
    """Checks what can be checked without decoding: that it is a picture, and PNG checksums."""
    from PIL import Image

    _confine(path, root)
    try:
        with Image.open(path) as opened:
            opened.verify()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _corrupt(path, root, error) from error


def _open(path: Path, root: Path) -> Image:
    """The picture as RGB, turned as its EXIF orientation says."""
    from PIL import Image, ImageOps

    _confine(path, root)
    try:
        with Image.open(path) as opened:
            return ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _corrupt(path, root, error) from error


def _corrupt(path: Path, root: Path, error: Exception) -> AlphaBenchError:
    return AlphaBenchError(
        f"the picture {str(path.relative_to(root))!r} in {str(root)!r} cannot be read: {error}",
        hint="make or copy it again, or remove it and add --set gaps=allow",
    )
