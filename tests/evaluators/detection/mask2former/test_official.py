from __future__ import annotations

import functools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from alphabench.benchmarks.geneval.benchmark import open_geneval
from alphabench.core.errors import AlphaBenchError
from alphabench.detections.matching import pair_up
from alphabench.evaluators.detection.mask2former.mask2former_probe import (
    check_mask2former_build,
    objects_of,
)
from alphabench.evaluators.detection.mask2former.official import (
    NAME,
    OfficialDetector,
    OfficialOptions,
    open_official,
)
from alphabench.evaluators.detection.mask2former.official_weights import OFFICIAL
from alphabench.evaluators.detection.mmdet.frozen import SIZES, frozen_image
from alphabench.upstream import UpstreamData
from tests.evaluators.conftest import noise_image
from tests.support.mmdet_tiny import SCALE, save_checkpoint, stored
from tools.reference.mmdet_reference import STORED_ABOVE


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("mmdet")
    return {release: save_checkpoint(folder / f"{release}.pth", release) for release in (2, 3)}


def opened(path: Path, **options: Any) -> OfficialDetector:
    chosen = OfficialOptions(weights=path, **{"min_score": 0.0, **options})
    return OfficialDetector(chosen, device="cpu", scale=SCALE)


@pytest.mark.parametrize("release", [2, 3])
def test_what_mmdet_found_is_found_here_with_its_scores_boxes_and_masks(
    release: int, weights: dict[int, Path]
) -> None:
    content = stored(release)
    images = [Image.fromarray(frozen_image(index)) for index in range(len(SIZES))]
    detector = opened(weights[release], pipeline=f"mmdet{release}")
    for index, ours in enumerate(detector.detect(images)):
        theirs = objects_of(content, index)
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
    image = Image.fromarray(frozen_image(0))
    (two,) = opened(weights[2], pipeline="mmdet2").detect([image])
    (three,) = opened(weights[2], pipeline="mmdet3").detect([image])
    gaps = [abs(one.score - other.score) for one, other in pair_up(two, three)[0]]
    assert max(gaps) > 1e-3  # the stored expectations would notice the wrong one


def test_neither_neighbours_nor_order_change_a_images_objects(weights: dict[int, Path]) -> None:
    detector = opened(weights[2], at_once=4)
    sizes = [(64, 64), (90, 70), (64, 64), (40, 100), (91, 70), (70, 90)]
    images = [noise_image(*size, seed=seed) for seed, size in enumerate(sizes)]
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
    image = noise_image(64, 64, seed=4)
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


def test_weights_that_are_not_named_are_those_in_the_cache_of_the_benchmark(tmp_path: Path) -> None:
    fetched = tmp_path / "detectors" / OFFICIAL.name
    fetched.parent.mkdir()
    fetched.write_bytes(b"another file of that name")
    detector, _ = open_official({}, device="cpu", cache_dir=tmp_path)
    with pytest.raises(AlphaBenchError, match="is not what its name says"):
        assert detector.identity
    evaluator = open_geneval("mini", data=UpstreamData(cache_dir=tmp_path)).evaluator(NAME)
    with pytest.raises(AlphaBenchError, match="is not what its name says"):
        assert evaluator.identity
    elsewhere, _ = open_official({}, device="cpu", cache_dir=tmp_path / "empty")
    with pytest.raises(AlphaBenchError, match="are not on this machine"):
        assert elsewhere.identity


def test_this_build_finds_what_mmdet_found_with_the_small_network() -> None:
    detector, _ = open_official({}, device="cpu")
    assert isinstance(detector, OfficialDetector)
    check_mask2former_build(detector._find_with, device="cpu")


def cut_to_ten_bits(right: Any, *arguments: Any, **named: Any) -> torch.Tensor:
    """As a GPU's TF32 rounds the two factors of a product."""
    factors = [
        ((one.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)
        for one in arguments[:2]
    ]
    return torch.as_tensor(right(*factors, *arguments[2:], **named))


def test_the_rounding_of_a_gpu_is_not_taken_for_a_wrong_build(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for operator in ("linear", "conv2d"):
        right = getattr(torch.nn.functional, operator)
        rounded = functools.partial(cut_to_ten_bits, right)
        monkeypatch.setattr(torch.nn.functional, operator, rounded)
    detector, _ = open_official({}, device="cpu")
    assert isinstance(detector, OfficialDetector)
    check_mask2former_build(detector._find_with, device="cpu")


def zeros(right: Any, *arguments: Any, **named: Any) -> torch.Tensor:
    return torch.zeros_like(right(*arguments, **named))


def nearest(right: Any, *arguments: Any, **named: Any) -> torch.Tensor:
    return torch.as_tensor(right(*arguments, **{**named, "mode": "nearest"}))


def off_by_a_tenth(right: Any, *arguments: Any, **named: Any) -> torch.Tensor:
    return torch.as_tensor(right(*arguments, **named)) * 1.1


@pytest.mark.parametrize(
    ("operator", "wrongly"),
    [("grid_sample", zeros), ("grid_sample", nearest), ("layer_norm", off_by_a_tenth)],
)
def test_a_build_with_a_wrong_operator_does_not_score(
    operator: str, wrongly: Any, weights: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = getattr(torch.nn.functional, operator)
    monkeypatch.setattr(torch.nn.functional, operator, functools.partial(wrongly, right))
    detector, colours = open_official({"weights": str(weights[2])}, device="cpu")
    with pytest.raises(AlphaBenchError, match=r"this build finds \d+ of \d+ objects") as raised:
        detector.self_test(colours)
    assert "must not score" in raised.value.hint


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
        opened(zeroed).detect([noise_image(64, 64)])


def test_a_checkpoint_of_other_classes_is_refused(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "a.pth", 2)
    content = torch.load(path, weights_only=True)
    content["meta"]["CLASSES"] = ("crack",)
    torch.save(content, path)
    with pytest.raises(AlphaBenchError, match="knows 1 classes, among them 'crack'"):
        opened(path).detect([noise_image(64, 64)])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weigths": "x"}, "did you mean 'weights'"),
        ({"pipeline": "mmdet4"}, "did you mean 'mmdet"),
        ({"at_once": "0"}, "at_once=0 is no number of images"),
        ({"min_score": "0.4"}, "min_score=0.4 is outside 0 to 0.3"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, str], words: str) -> None:
    with pytest.raises(AlphaBenchError, match=words):
        open_official(options, device="cpu")


@pytest.mark.parametrize(
    ("dtype", "stamp"), [("float32", "on"), ("float16", "on"), ("bfloat16", "in float32 only")]
)
def test_the_build_is_checked_in_the_precision_in_use_or_says_that_it_was_not(
    dtype: str, stamp: str, weights: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[torch.dtype] = set()
    right = torch.nn.functional.linear

    def linear(given: torch.Tensor, *others: Any) -> torch.Tensor:
        seen.add(given.dtype)
        return right(given, *others)

    monkeypatch.setattr(torch.nn.functional, "linear", linear)
    detector = opened(weights[2], dtype=dtype)
    check_mask2former_build(detector._find_with, device="cpu")
    assert detector.identity["self_test"] == stamp
    assert seen == {torch.float32 if stamp != "on" else getattr(torch, dtype)}
