from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from alphabench.errors import AlphaBenchError
from alphabench.evaluators.detection.coco import GENEVAL_NAMES
from alphabench.evaluators.detection.detector import DetectedObject
from alphabench.evaluators.detection.official import (
    OfficialDetector,
    OfficialOptions,
    open_official,
)
from alphabench.evaluators.detection.parity import pair_up
from tests.evaluators.conftest import picture
from tests.evaluators.mmdet_tiny import SCALE, save_checkpoint, stored
from tools.mmdet_reference import STORED_ABOVE, STORED_SIZES, stored_picture


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("mmdet")
    return {release: save_checkpoint(folder / f"{release}.pth", release) for release in (2, 3)}


def opened(path: Path, **options: Any) -> OfficialDetector:
    chosen = OfficialOptions(weights=path, **{"min_score": 0.0, **options})
    return OfficialDetector(chosen, device="cpu", scale=SCALE)


def by_mmdet(content: dict[str, Any], index: int) -> list[DetectedObject]:
    height, width = STORED_SIZES[index]
    masks = np.unpackbits(content[f"masks{index}"], axis=1, count=height * width).astype(bool)
    rows = zip(
        content[f"labels{index}"].tolist(),
        content[f"scores{index}"].tolist(),
        content[f"boxes{index}"].tolist(),
        masks.reshape(-1, height, width),
        strict=True,
    )
    return [
        DetectedObject(
            category=GENEVAL_NAMES[label],
            score=score,
            box=(box[0], box[1], box[2], box[3]),
            mask=mask,
        )
        for label, score, box, mask in rows
    ]


@pytest.mark.parametrize("release", [2, 3])
def test_what_mmdet_found_is_found_here_with_its_scores_boxes_and_masks(
    release: int, weights: dict[int, Path]
) -> None:
    content = stored(release)
    images = [Image.fromarray(stored_picture(index)) for index in range(len(STORED_SIZES))]
    detector = opened(weights[release], pipeline=f"mmdet{release}")
    for index, ours in enumerate(detector.detect(images)):
        theirs = by_mmdet(content, index)
        assert len({one.category for one in theirs}) > 5
        assert sum(one.score > STORED_ABOVE for one in ours) == len(theirs)
        pairs, alone = pair_up(ours, theirs)
        pairs = [pair for pair in pairs if pair[0].score > STORED_ABOVE]
        assert len(pairs) == len(theirs)
        assert alone == sum(STORED_ABOVE >= one.score > 0.05 for one in ours)
        for one, other in pairs:
            assert one.score == pytest.approx(other.score, abs=1e-4)
            assert one.box == other.box
            assert one.mask is not None
            assert other.mask is not None
            assert np.count_nonzero(one.mask != other.mask) <= 1e-3 * one.mask.size


def test_the_two_releases_do_not_do_the_same(weights: dict[int, Path]) -> None:
    image = Image.fromarray(stored_picture(0))
    (two,) = opened(weights[2], pipeline="mmdet2").detect([image])
    (three,) = opened(weights[2], pipeline="mmdet3").detect([image])
    gaps = [abs(one.score - other.score) for one, other in pair_up(two, three)[0]]
    assert max(gaps) > 1e-3  # the stored expectations would notice the wrong one


def test_neither_neighbours_nor_order_change_a_pictures_objects(weights: dict[int, Path]) -> None:
    detector = opened(weights[2], at_once=4)
    sizes = [(64, 64), (90, 70), (64, 64), (40, 100), (91, 70), (70, 90)]
    images = [picture(*size, seed=seed) for seed, size in enumerate(sizes)]
    together = detector.detect(images)
    one_by_one = opened(weights[2])
    alone = [one_by_one.detect([image])[0] for image in images]
    for found in (together, detector.detect(images[::-1])[::-1]):
        for ours, theirs in zip(found, alone, strict=True):
            pairs, left = pair_up(ours, theirs)
            assert left == 0
            assert all(abs(a.score - b.score) < 1e-5 and a.box == b.box for a, b in pairs)
    assert detector.detect([]) == []


def test_min_score_leaves_out_only_what_no_threshold_would_keep(weights: dict[int, Path]) -> None:
    image = picture(64, 64, seed=4)
    (everything,) = opened(weights[2]).detect([image])
    (above,) = opened(weights[2], min_score=0.3).detect([image])
    assert len(above) < len(everything)
    kept = [[one.score for one in of if one.score > 0.3] for of in (above, everything)]
    assert kept[0] == pytest.approx(kept[1], abs=1e-6)
    assert kept[0]


def test_identity_names_the_file_by_its_content_and_what_is_done(
    weights: dict[int, Path], tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere.pth"
    moved.write_bytes(weights[2].read_bytes())
    base = opened(weights[2]).identity
    assert opened(moved).identity == base
    assert base["weights"] == "none of OpenMMLab's published files"
    assert base["self_test"] == "on"
    variants = [
        opened(weights[3]),
        opened(weights[2], pipeline="mmdet3"),
        opened(weights[2], dtype="bfloat16"),
    ]
    assert len({str(one.identity) for one in variants} | {str(base)}) == 4


def test_a_detector_that_was_not_used_yet_can_be_sent_to_a_worker(weights: dict[int, Path]) -> None:
    detector, colours = open_official({"weights": str(weights[2])}, device="cpu")
    copy, _ = pickle.loads(pickle.dumps((detector, colours)))
    assert copy.identity == detector.identity


def test_random_weights_do_not_pass_the_self_test(
    weights: dict[int, Path], clip_folder: Path
) -> None:
    _, colours = open_official({"clip": str(clip_folder)}, device="cpu")
    with pytest.raises(AlphaBenchError, match="self-test failed"):
        opened(weights[2]).self_test(colours)


def test_weights_with_a_layer_of_zeros_do_not_load(tmp_path: Path) -> None:
    name = "panoptic_head.transformer_decoder.layers.1.cross_attn.attn.in_proj_weight"
    zeroed = save_checkpoint(tmp_path / "a.pth", 3, changed={name: torch.zeros(96, 32)})
    with pytest.raises(AlphaBenchError, match=r"in_proj_weight' is 0 throughout"):
        opened(zeroed).detect([picture(64, 64)])


def test_a_checkpoint_of_other_classes_is_refused(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "a.pth", 2)
    content = torch.load(path, weights_only=True)
    content["meta"]["CLASSES"] = ("crack",)
    torch.save(content, path)
    with pytest.raises(AlphaBenchError, match="knows 1 classes, among them 'crack'"):
        opened(path).detect([picture(64, 64)])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weigths": "x"}, "did you mean 'weights'"),
        ({"pipeline": "mmdet4"}, "did you mean 'mmdet"),
        ({"at_once": "0"}, "at_once=0 is no number of pictures"),
        ({"min_score": "0.4"}, "min_score=0.4 is outside 0 to 0.3"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, str], words: str) -> None:
    with pytest.raises(AlphaBenchError, match=words):
        open_official(options, device="cpu")
