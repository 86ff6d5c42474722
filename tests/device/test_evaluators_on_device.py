"""Detectors, colour readers, mPLUG and the judge find on a device what they find on the CPU.

The waits are those of the host for one call with eight images or crops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from alphabench.detections.objects import DetectedObject
from alphabench.device_transfer import fetched, sent
from alphabench.evaluators.detection.clip_colour import ClipColourReader
from alphabench.evaluators.detection.detector import ColourQuery, Detector
from alphabench.evaluators.detection.mask2former.hub_detector import open_mask2former
from alphabench.evaluators.detection.mask2former.official import OfficialDetector, OfficialOptions
from alphabench.evaluators.detection.nano_detector import SELF_TEST, open_nano_detector
from alphabench.evaluators.mplug.evaluator import MplugJudge, open_mplug
from alphabench.models.mplug.image_processing import pixels_of
from alphabench.models.mplug.loading import load_mplug
from alphabench.scenes.render import render
from tests.evaluators.conftest import noise_image
from tests.support.host_traffic import HostEvent, recorded
from tests.support.mmdet_tiny import SCALE, save_checkpoint
from tests.support.tiny_models import save_clip, save_mask2former
from tests.support.tiny_mplug import questions_for, save_mplug

pytestmark = pytest.mark.device

IMAGES = [noise_image(*((64, 64), (64, 96))[seed % 2], seed=seed) for seed in range(8)]
TWO_QUESTIONS = questions_for(0, 2)
OpenDetector = Callable[[Path, str], Detector]


def is_own(event: HostEvent) -> bool:
    """A line of ours asked for it, and not one of a library."""
    return event.place.file.startswith("bench/")


def assert_alike(
    some: Sequence[Sequence[DetectedObject]], others: Sequence[Sequence[DetectedObject]]
) -> None:
    assert sum(map(len, some)) > 0
    for found, wanted in zip(some, others, strict=True):
        assert [one.category for one in found] == [one.category for one in wanted]
        for one, other in zip(found, wanted, strict=True):
            assert one.score == pytest.approx(other.score, abs=1e-5)
            assert one.box == other.box
            assert one.mask is not None
            assert other.mask is not None
            assert np.array_equal(one.mask, other.mask)


def hub_detector(folder: Path, device: str) -> Detector:
    name = folder / "mask2former"
    if not name.exists():
        save_mask2former(name)
    return open_mask2former({"detector": str(name)}, device=device)[0]


def official_detector(folder: Path, device: str) -> Detector:
    weights = folder / "official.pth"
    if not weights.exists():
        save_checkpoint(weights, 2)
    options = OfficialOptions(weights=weights, min_score=0.2)
    return OfficialDetector(options, device=device, scale=SCALE)


def nano_detector(_: Path, device: str) -> Detector:
    return open_nano_detector({}, device=device)[0]


@pytest.mark.parametrize(
    ("opened", "most_waits"),
    [(hub_detector, 4), (official_detector, 2), (nano_detector, 1)],
    ids=["mask2former", "official", "nano"],
)
def test_a_detector_finds_the_same_objects_and_fetches_them_together(
    opened: OpenDetector, most_waits: int, tmp_path: Path, stand_in: torch.device
) -> None:
    images = [render(SELF_TEST[-1], 64, 64).image, IMAGES[1]]
    wanted = opened(tmp_path, "cpu").detect(images)
    detector = opened(tmp_path, str(stand_in))
    detector.detect([])  # loads what loads at the first call
    with recorded() as traffic:
        found = detector.detect(images)
    assert_alike(found, wanted)
    assert traffic.waits() <= most_waits, traffic.by_place()
    assert traffic.uploads(is_own) == 0, traffic.by_place(waits=False)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_clip_reads_the_same_colours_in_one_wait(
    dtype: str, tmp_path: Path, stand_in: torch.device
) -> None:
    folder = save_clip(tmp_path / "clip")
    queries = [
        ColourQuery(
            image=image,
            found=DetectedObject(category=category, score=0.9, box=(2, 2, 60, 60)),
        )
        for image, category in zip(IMAGES, ["cat", "cup"] * 4, strict=True)
    ]
    with sdpa_kernel(SDPBackend.MATH):
        wanted = ClipColourReader(str(folder), dtype=dtype, device="cpu").read(queries)
        reader = ClipColourReader(str(folder), dtype=dtype, device=str(stand_in))
        reader.read(queries)
        with recorded() as traffic:
            found = reader.read(queries)
    assert found == wanted
    assert len(set(found)) > 1
    assert traffic.waits() == 1, traffic.by_place()
    assert traffic.uploads() == 0, traffic.by_place(waits=False)


def test_mplug_gives_the_same_answers_and_waits_once_for_a_token_of_all_questions(
    tmp_path: Path, stand_in: torch.device
) -> None:
    weights = save_mplug(tmp_path / "model")

    def opened(device: str) -> MplugJudge:
        return open_mplug({"weights": str(weights)}, device=device, cache_dir=Path("nowhere"))

    queries = [(image, text) for image in IMAGES[:2] for text in questions_for(0, 1)]
    judge = opened(str(stand_in))
    judge.answers(queries[:1])  # which loads the model
    with recorded() as traffic:
        found = judge.answers(queries)
    assert found == opened("cpu").answers(queries)
    n_steps = 10  # at most, for each of two images, whose tokens are fetched at the end
    assert traffic.waits() <= 2 * (n_steps + 1), traffic.by_place()
    assert traffic.uploads() == 0, traffic.by_place(waits=False)


def test_mplugs_logits_are_those_of_the_cpu(tmp_path: Path, stand_in: torch.device) -> None:
    weights = save_mplug(tmp_path / "model")
    logits = []
    for device in (torch.device("cpu"), stand_in):
        loaded = load_mplug(weights, device=str(device))
        side = loaded.model.config.vision.image_res
        (image_ID,) = loaded.model.encode_image(pixels_of(IMAGES[:1], side=side).to(device))
        token_QT, seen_QT = (one.to(device) for one in loaded.tokenizer.encode(TWO_QUESTIONS))
        answer_QT = torch.tensor([[7, 9], [8, 7]], device=device)
        logits.append(loaded.model.logits(image_ID, token_QT, seen_QT, answer_QT).cpu())
    torch.testing.assert_close(logits[0], logits[1], atol=1e-5, rtol=1e-5)


def test_results_of_any_types_and_shapes_are_fetched_in_one_wait(stand_in: torch.device) -> None:
    tensors = [
        torch.tensor(True),
        torch.arange(6.0).reshape(2, 3).T,
        torch.zeros(0, 4),
        torch.tensor([True, False, True]),
        torch.tensor([2**40, -1]),
        torch.tensor([1.5, -2.25], dtype=torch.bfloat16),
        torch.tensor([7], dtype=torch.int32),
    ]
    with recorded() as traffic:
        there = [sent(one, stand_in) for one in tensors]
        back = fetched(there)
    assert (traffic.waits(), traffic.uploads()) == (1, 0)
    for one, other in zip(back, tensors, strict=True):
        assert one.device.type == "cpu"
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
