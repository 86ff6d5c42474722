"""`mask2former:official` against the mmdet of another interpreter, on a folder of images.

Promises that both get the same weights, and that mmdet reads each image's file by itself, as it
does under GenEval's script. Judges nothing: `parity` does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import torch

from alphabench.core.errors import AlphaBenchError
from alphabench.detections.matching import Found
from alphabench.evaluators.detection.coco import COCO_NAMES
from alphabench.evaluators.detection.mask2former.official import OfficialDetector, OfficialOptions
from alphabench.evaluators.detection.mask2former.official_weights import find_official
from alphabench.evaluators.detection.mmdet.child_process import installed_versions
from alphabench.evaluators.detection.mmdet.mmdet_detector import MmdetDetector, MmdetOptions
from alphabench.evaluators.detection.mmdet.weight_conversion import read_checkpoint
from alphabench.images import open_rgb
from alphabench.parity.detections import (
    DetectionComparison,
    MeanColours,
    Row,
    Tolerance,
    Uncompared,
    all_equal,
    compare_detections,
    detection_table,
)
from alphabench.parity.environments import interpreter_of

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp")

Look = Callable[[Path, "Image"], tuple[Found, Found]]
"""What either side finds in a image, from its file and from its pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParitySettings:
    """The two sides of a comparison."""

    weights: Path | None = None
    """mmdet's .pth file; None takes the fetched one."""
    python: Path | None = None
    """Interpreter with mmdet; None takes the environment that `doctor --setup mmdet` made."""
    pipeline: Literal["mmdet2", "mmdet3"] | None = None
    """None follows the release of the mmdet found there."""
    allow_pickle: bool = False
    """The original unpickles the weights without restriction."""
    cache_dir: Path | None = None
    """The folder of downloaded weights; None is the user's cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorParity:
    """The result of a comparison."""

    text: str
    """The two sides, and the table."""
    equal: bool
    rows: tuple[Row, ...]


def detector_parity(
    images: Path,
    sides: ParitySettings,
    *,
    limit: int | None = None,
    device: str = "cpu",
    progress: Callable[[str], None],
) -> DetectorParity:
    """Compare both on every image below a folder.

    Args:
        images: the folder.
        sides: weights and interpreter.
        limit: only so many images, in the order of their paths.
        device: of torch, for both.
        progress: takes a line for each image that is done.

    Raises:
        AlphaBenchError: no images, no weights, no interpreter, or no consent to the pickle.
    """
    files = _image_files(images)[:limit]
    weights = find_official(sides.weights, cache_dir=sides.cache_dir)
    python = _python(sides.python)
    versions = installed_versions(python)
    with tempfile.TemporaryDirectory(prefix="alphabench-parity-") as folder_name:
        ours = OfficialDetector(
            OfficialOptions(
                weights=weights, pipeline=sides.pipeline or _pipeline_of(versions), min_score=0.0
            ),
            device=device,
        )
        theirs = MmdetDetector(
            MmdetOptions(
                python=python,
                checkpoint=_named_for(versions, weights, Path(folder_name)),
                allow_pickle=sides.allow_pickle,
                min_score=0.0,
            ),
            device=device,
        )

        def detect_both(path: Path, image: Image) -> tuple[Found, Found]:
            return ours.detect([image])[0], theirs.detect_file(path, size=image.size)

        sides_text = [
            f"ours:     {_identity_text(ours.identity)}",
            f"original: {_identity_text(theirs.identity)}",
        ]
        tolerance = Tolerance()
        try:
            rows = compare_files(images, files, detect_both, tolerance=tolerance, progress=progress)
        finally:
            theirs.close()
    return DetectorParity(
        text="\n".join([*sides_text, detection_table(rows, tolerance)]),
        equal=all_equal(rows, tolerance),
        rows=tuple(rows),
    )


def compare_files(
    folder: Path,
    files: Sequence[Path],
    detect_both: Look,
    *,
    tolerance: Tolerance,
    progress: Callable[[str], None],
) -> list[Row]:
    """A row for each image, whatever becomes of the others.

    Args:
        folder: what the images' names leave out.
        files: the images.
        detect_both: runs both detectors on one.
        tolerance: what makes a pair count as apart.
        progress: takes a line for each image that is done.

    Raises:
        AlphaBenchError: what the user must fix, before anything was compared.
    """
    rows: list[Row] = []
    colours = MeanColours()
    for path in files:
        name = path.relative_to(folder).as_posix()
        try:
            image = open_rgb(path)
            found = detect_both(path, image)
            rows.append(
                compare_detections(name, image, found, colours=colours, tolerance=tolerance)
            )
        except Exception as error:
            # Whatever it is: a row that is not equal, and the others keep theirs.
            compared = any(isinstance(row, DetectionComparison) for row in rows)
            if isinstance(error, AlphaBenchError) and not compared:
                raise
            first_line = str(error).partition("\n")[0]
            rows.append(Uncompared(image_name=name, reason=f"{type(error).__name__}: {first_line}"))
        progress(f"{len(rows)} of {len(files)}: {name}")
    return rows


def _image_files(folder: Path) -> list[Path]:
    found = sorted(one for one in folder.rglob("*") if one.suffix.casefold() in SUFFIXES)
    if not found:
        raise AlphaBenchError(
            f"there are no images below {str(folder)!r}",
            hint=f"--images takes a folder with {', '.join(SUFFIXES)} files",
        )
    return found


def _python(given: Path | None) -> Path:
    found = given or interpreter_of("mmdet")
    if found is None:
        raise AlphaBenchError(
            "there is no environment with mmdet",
            hint="run `alphabench doctor --setup mmdet`, or name an interpreter with --python",
        )
    if not found.expanduser().is_file():
        raise AlphaBenchError(f"there is no interpreter {str(found)!r}", hint="correct --python")
    return found.expanduser().absolute()


def _pipeline_of(versions: dict[str, str]) -> Literal["mmdet2", "mmdet3"]:
    return "mmdet2" if versions.get("mmdet", "3").startswith("2.") else "mmdet3"


def _named_for(versions: dict[str, str], weights: Path, folder: Path) -> Path:
    """The weights under the names of the mmdet found; it would take half of them under others."""
    if _pipeline_of(versions) == "mmdet2":
        return weights
    checkpoint = read_checkpoint(weights)
    if checkpoint.generation == 3:
        return weights
    renamed = folder / "renamed-for-mmdet-3.pth"
    meta = {"dataset_meta": {"CLASSES": checkpoint.classes or COCO_NAMES}}
    torch.save({"meta": meta, "state_dict": dict(checkpoint.tensors)}, renamed)
    return renamed


def _identity_text(identity: object) -> str:
    assert isinstance(identity, dict)
    return ", ".join(f"{key} {value}" for key, value in identity.items() if key != "self_test")
