"""Times GenEval's detector, ours in batches against mmdet's own code, image by image.

    python -m tools.perf.detector --python MMDET_VENV/bin/python               # random weights
    python -m tools.perf.detector --python ... --weights FILE.pth --images 8 --batch-size 4
    python -m tools.perf.detector --python ... --tiny                          # seconds

Both get the same weights and images in one run, and take turns; what mmdet does is its
`inference_detector` on one file at a time, as the official script calls it. Seconds are processor
time of the work alone, without loading. Prints the ratio, where our own time goes, and whether the
objects above the threshold are the same; ends with code 1 if they are not.

On a CPU a batch saves nothing, because one image already fills the processor: nearly all the time
is in the same matrix products and samplings, which both sides leave to the same library. A batch
also rounds otherwise, so objects may come out as different; --batch-size 1 is what scoring does.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch

from alphabench.evaluators.detection.mask2former.official import OfficialDetector
from alphabench.evaluators.detection.mmdet.child_process import installed_versions
from alphabench.images import open_rgb
from alphabench.parity.detections import (
    DetectionComparison,
    MeanColours,
    Tolerance,
    compare_detections,
    detection_table,
)
from tools.perf.geneval_scoring import random_images as photographs
from tools.reference.check_mask2former import official, read_reference, reference

PARTS: Final = {
    "swin": "model.pixel_level_module.encoder",
    "pixel decoder": "model.pixel_level_module.decoder",
    "transformer decoder": "model.transformer_module",
}
"""Words -> module of transformers' network, for the profile."""


@contextmanager
def stopwatches(network: Any) -> Iterator[dict[str, float]]:
    """Processor seconds that each of `PARTS` took while the block ran."""
    seconds: dict[str, float] = defaultdict(float)
    began: dict[str, float] = {}
    hooks = []

    def start(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            began[name] = time.process_time()

        return hook

    def stop(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            seconds[name] += time.process_time() - began[name]

        return hook

    for name, path in PARTS.items():
        module = network.get_submodule(path)
        hooks += [
            module.register_forward_pre_hook(start(name)),
            module.register_forward_hook(stop(name)),
        ]
    yield seconds
    for hook in hooks:
        hook.remove()


def ours_in_batches(
    detector: OfficialDetector, files: list[Path], batch_size: int
) -> tuple[float, list[Any], dict[str, float]]:
    """Seconds, objects of each image, and the profile."""
    found: list[Any] = []
    with stopwatches(detector._loaded.network) as seconds:
        began = time.process_time()
        for start in range(0, len(files), batch_size):
            images = [open_rgb(path) for path in files[start : start + batch_size]]
            found += detector.detect(images)
        total = time.process_time() - began
    return total, found, dict(seconds)


def _measure(arguments: argparse.Namespace, work: Path) -> int:
    """Both sides in turn, as many rounds as asked."""
    versions = installed_versions(arguments.python)
    release = "2" if versions.get("mmdet", "3").startswith("2.") else "3"
    weights = arguments.weights or work / "weights.pth"
    files = []
    for index, image in enumerate(photographs(arguments.images, arguments.side)):
        files.append(work / f"{index:02}.png")
        image.save(files[-1])
    rounds = []
    for number in range(arguments.rounds):
        out = work / f"found-{number}"
        reference(arguments.python, weights, files, out, tiny=arguments.tiny)
        theirs = [read_reference(out / f"{path.name}.npz") for path in files]
        detector = official(weights, release, tiny=arguments.tiny, at_once=arguments.batch_size)
        detector.detect([open_rgb(files[0])])  # loads, outside the clock
        seconds, found, profile = ours_in_batches(detector, files, arguments.batch_size)
        rounds.append(
            (sum(one.seconds for one in theirs[1:]) * len(files) / (len(files) - 1), seconds)
        )
        print(f"mmdet {rounds[-1][0]:.2f} s   ours {seconds:.2f} s   ({len(files)} images)")
    tolerance = Tolerance()
    rows: list[DetectionComparison] = [
        compare_detections(
            path.name,
            open_rgb(path),
            (mine, other.objects),
            colours=MeanColours(),
            tolerance=tolerance,
        )
        for path, mine, other in zip(files, found, theirs, strict=True)
    ]
    named = sum(profile.values())
    shares = {**profile, "input, masks, boxes": seconds - named}
    print("ours:", ", ".join(f"{name} {one / seconds:.0%}" for name, one in shares.items()))
    print(detection_table(rows, tolerance))
    ratio = statistics.median(theirs / ours for theirs, ours in rounds)
    print(
        f"ratio: {ratio:.2f} (median of {len(rounds)}), batches of {arguments.batch_size}, "
        f"{torch.get_num_threads()} thread(s), mmdet {versions.get('mmdet', 'of onedl')}"
    )
    return 0 if all(row.within(tolerance) for row in rows) else 1


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", type=Path, required=True, help="interpreter with mmdet")
    parser.add_argument("--weights", type=Path, help="mmdet's .pth file; random ones if absent")
    parser.add_argument("--tiny", action="store_true", help="a tiny network")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--side", type=int, default=512, help="pixels of an image's side")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.images < 2:
        parser.error("--images: 2 at least, because mmdet's first is left out as a warm-up")
    with tempfile.TemporaryDirectory() as folder:
        return _measure(arguments, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
