"""The batched detector and colour reader against the official script's way, written out plainly."""

from __future__ import annotations

from pathlib import Path

from alphabench.evaluators.detection.mask2former.hub_detector import open_mask2former
from tests.evaluators.conftest import noise_image
from tools.perf.geneval_scoring import open_one_by_one, score_in_batches, verdict_differences


def test_batches_give_the_objects_and_colours_of_one_image_and_one_crop_at_a_time(
    mask2former_folder: Path, clip_folder: Path
) -> None:
    images = [
        noise_image(96, 96, seed=1),
        noise_image(130, 70, seed=2),
        noise_image(96, 96, seed=3),
    ]
    options = {"detector": str(mask2former_folder), "clip": str(clip_folder)}
    detector, colours = open_mask2former(options, device="cpu")
    ours = score_in_batches(detector, colours, images, batch_size=8)
    theirs = open_one_by_one(mask2former_folder, clip_folder, device="cpu").score(images)
    assert sum(map(len, ours)) > 3
    assert verdict_differences(ours, theirs) == []
    assert verdict_differences(ours[::-1], theirs) != []
