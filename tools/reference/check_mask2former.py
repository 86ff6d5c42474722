"""Holds `mask2former:official` against mmdet itself on fifty varied images, with random weights.

    python -m tools.reference.check_mask2former --python VENV/bin/python [--tiny] [--double]

Run by this project's interpreter; VENV has mmdet 2.x or 3.x, and which of the two decides what our
side does. mmdet makes and saves random weights in the official Swin-S configuration (or,
with --tiny, a network of the same kind that takes seconds), and reads each image by itself.
Prints a table, and ends with code 1 if a score is apart by more than 1e-4, a box by IoU 0.999 and
half a pixel, a mask by IoU 0.999, or a verdict at all. What lies in --work is not computed again.

The network looks only where its last mask is above 0; where that hangs on one pixel, rounding
decides, on either side. --double has both compute in float64: what differs then is no rounding.

At full size this is about half a minute of one core for each image. Trained weights say more:
`alphabench parity geneval --images DIR` does the same with them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from alphabench.detections.objects import DetectedObject
from alphabench.evaluators.detection.coco import GENEVAL_NAMES
from alphabench.evaluators.detection.mask2former.mask2former_probe import SCALE as TINY_SCALE
from alphabench.evaluators.detection.mask2former.official import OfficialDetector, OfficialOptions
from alphabench.evaluators.detection.mmdet.child_process import installed_versions
from alphabench.images import open_rgb
from alphabench.parity.detections import (
    DetectionComparison,
    MeanColours,
    Tolerance,
    compare_detections,
    detection_table,
)
from tools.reference.mmdet_images import write_pictures

REFERENCE: Final = Path(__file__).with_name("mmdet_reference.py")


class Original(NamedTuple):
    """What mmdet found in one image, and in how many seconds of processor time."""

    objects: list[DetectedObject]
    seconds: float


def read_reference(path: Path) -> Original:
    """What `mmdet_reference.py detect` wrote."""
    with np.load(path) as content:
        height, width = content["size"].tolist()
        masks = np.unpackbits(content["masks"], axis=1, count=height * width).astype(bool)
        objects = [
            DetectedObject(
                category=GENEVAL_NAMES[label],
                score=float(score),
                box=(float(box[0]), float(box[1]), float(box[2]), float(box[3])),
                mask=mask.reshape(height, width),
            )
            for label, score, box, mask in zip(
                content["labels"].tolist(), content["scores"], content["boxes"], masks, strict=True
            )
        ]
        return Original(objects, float(content["seconds"]))


def official(
    weights: Path,
    release: str,
    *,
    tiny: bool,
    at_once: int = 1,
    dtype: Literal["float32", "float64"] = "float32",
) -> OfficialDetector:
    """Our side, with all candidates."""
    pipeline: Literal["mmdet2", "mmdet3"] = "mmdet2" if release == "2" else "mmdet3"
    options = OfficialOptions(
        weights=weights, pipeline=pipeline, min_score=0.0, at_once=at_once, dtype=dtype
    )
    return OfficialDetector(options, device="cpu", scale=TINY_SCALE if tiny else None)


def encode_places_in_float32() -> None:
    """Has transformers encode places as mmdet does, which computes that in float32 alone."""
    from transformers.models.mask2former import modeling_mask2former

    encoding = modeling_mask2former.Mask2FormerSinePositionEmbedding
    forward = encoding.forward

    def in_float32(
        self: Any, shape: Any, device: Any, dtype: torch.dtype, mask: Any = None
    ) -> Tensor:
        found: Tensor = forward(self, shape, device, torch.float32, mask)
        return found.to(dtype)

    vars(modeling_mask2former)["Mask2FormerSinePositionEmbedding"].forward = in_float32


def reference(
    python: Path,
    weights: Path,
    images: Sequence[Path],
    out: Path,
    *,
    tiny: bool,
    double: bool = False,
) -> None:
    """Have mmdet make the weights and look at the images, as far as that was not done before."""
    small = ["--tiny"] if tiny else []
    precise = ["--double"] if double else []
    if not weights.is_file():
        _ask(python, "make", "--out", weights, *small)
    missing = [path for path in images if not (out / f"{path.name}.npz").is_file()]
    if missing:
        _ask(python, "detect", "--weights", weights, "--out", out, *small, *precise, *missing)


def _ask(python: Path, *words: object) -> None:
    command = [str(python), "-W", "ignore", str(REFERENCE), *map(str, words)]
    subprocess.run(command, check=True, stdout=sys.stderr)


def compared(
    detector: OfficialDetector, images: Sequence[Path], out: Path, tolerance: Tolerance
) -> Iterator[tuple[DetectionComparison, float, float]]:
    """For each image the comparison, our seconds and theirs."""
    colours = MeanColours()
    for path in images:
        image = open_rgb(path)
        began = time.process_time()
        (ours,) = detector.detect([image])
        seconds = time.process_time() - began
        original = read_reference(out / f"{path.name}.npz")
        found = (ours, original.objects)
        row = compare_detections(path.name, image, found, colours=colours, tolerance=tolerance)
        yield row, seconds, original.seconds


def _check(arguments: argparse.Namespace, work: Path) -> int:
    """Make what is missing, compare, print."""
    tiny, double, python = arguments.tiny, arguments.double, arguments.python
    versions = installed_versions(python)
    release = "2" if versions.get("mmdet", "3").startswith("2.") else "3"
    name = f"{'tiny' if tiny else 'swin-s'}-{release}"
    weights, out = work / f"{name}.pth", work / f"{name}-{'double' if double else 'found'}"
    images = write_pictures(
        work / ("small" if tiny else "images"), arguments.count, shrink=8 if tiny else 1
    )[arguments.skip :]
    reference(python, weights, images, out, tiny=tiny, double=double)
    if double:
        encode_places_in_float32()
    dtype: Literal["float32", "float64"] = "float64" if double else "float32"
    detector, tolerance = official(weights, release, tiny=tiny, dtype=dtype), Tolerance()
    print("original:", ", ".join(f"{key} {value}" for key, value in sorted(versions.items())))
    rows, ours, theirs = [], [], []
    for row, mine, other in compared(detector, images, out, tolerance):
        rows.append(row)
        ours.append(mine)
        theirs.append(other)
        print(f"{len(rows)} of {len(images)}: {row.image_name}", file=sys.stderr, flush=True)
    print(detection_table(rows, tolerance))
    found = [one for path in images for one in read_reference(out / f"{path.name}.npz").objects]
    scores = np.array([one.score for one in found])
    areas = np.array([one.mask.mean() for one in found if one.mask is not None])
    print(
        f"scores of mmdet's candidates: {np.percentile(scores, (1, 25, 50, 75, 99)).round(3)}, "
        f"{(scores > 0.3).sum()} above 0.3, {(scores > 0.9).sum()} above 0.9; share of the image "
        f"in a mask: {np.percentile(areas, (1, 25, 50, 75, 99)).round(3)} (percentiles 1 to 99)"
    )
    print(f"processor seconds an image: mmdet {np.mean(theirs):.2f}, ours {np.mean(ours):.2f}")
    return 0 if all(row.within(tolerance) for row in rows) else 1


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", type=Path, required=True, help="interpreter with mmdet")
    parser.add_argument("--tiny", action="store_true", help="a tiny network and small images")
    parser.add_argument("--double", action="store_true", help="both sides in float64")
    parser.add_argument("--count", type=int, default=50, help="images")
    parser.add_argument("--skip", type=int, default=0, help="so many of the first ones")
    parser.add_argument("--work", type=Path, help="keep weights and findings here")
    arguments = parser.parse_args()
    if arguments.work is not None:
        return _check(arguments, arguments.work)
    with tempfile.TemporaryDirectory() as folder:
        return _check(arguments, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
