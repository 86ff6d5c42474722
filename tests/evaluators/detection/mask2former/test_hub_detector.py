from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from alphabench.core.errors import AlphaBenchError
from alphabench.detections.objects import DetectedObject
from alphabench.evaluators.detection.coco import COCO_NAMES, GENEVAL_NAMES
from alphabench.evaluators.detection.detector import Detector
from alphabench.evaluators.detection.mask2former.hub_detector import open_mask2former
from tests.evaluators.conftest import noise_image
from tests.support.tiny_models import save_mask2former


def opened(folder: Path, **options: str) -> Detector:
    return open_mask2former({"detector": str(folder), **options}, device="cpu")[0]


def changed_copy(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))


def assert_equal(some: list[DetectedObject], others: list[DetectedObject]) -> None:
    assert [one.category for one in some] == [one.category for one in others]
    for one, other in zip(some, others, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-5)
        assert one.box == other.box
        assert one.mask is not None
        assert other.mask is not None
        assert np.array_equal(one.mask, other.mask)


def test_objects_have_genevals_names_scores_boxes_and_masks_of_the_image(
    mask2former_folder: Path,
) -> None:
    (found,) = opened(mask2former_folder).detect([noise_image(90, 70)])
    assert len(found) > 5
    for one in found:
        assert one.category in GENEVAL_NAMES
        assert 0 < one.score <= 1
        assert one.mask is not None
        assert one.mask.shape == (70, 90)
        rows, columns = np.nonzero(one.mask)
        assert one.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_neither_neighbours_nor_order_change_an_images_objects(mask2former_folder: Path) -> None:
    detector = opened(mask2former_folder)
    sizes = [(64, 64), (90, 70), (64, 64), (40, 100), (90, 70), (64, 64)]
    images = [noise_image(*size, seed=seed) for seed, size in enumerate(sizes)]
    together = detector.detect(images)
    assert len({len(found) for found in together}) > 1
    for image, found in zip(images, together, strict=True):
        assert_equal(detector.detect([image])[0], found)
    for found, mirrored in zip(together, detector.detect(images[::-1])[::-1], strict=True):
        assert_equal(found, mirrored)


def test_no_images_give_no_objects(mask2former_folder: Path) -> None:
    assert opened(mask2former_folder).detect([]) == []


def test_min_score_leaves_out_only_what_no_threshold_would_keep(mask2former_folder: Path) -> None:
    image = noise_image(64, 64, seed=4)
    (everything,) = opened(mask2former_folder, min_score="0").detect([image])
    (above,) = opened(mask2former_folder, min_score="0.3").detect([image])
    assert len(above) < len(everything)
    assert_equal(
        [one for one in above if one.score > 0.3], [one for one in everything if one.score > 0.3]
    )


def test_a_detector_that_was_not_used_yet_can_be_sent_to_a_worker(mask2former_folder: Path) -> None:
    detector, colours = open_mask2former({"detector": str(mask2former_folder)}, device="cpu")
    copy, _ = pickle.loads(pickle.dumps((detector, colours)))
    assert_equal(copy.detect([noise_image(64, 64)])[0], detector.detect([noise_image(64, 64)])[0])


def test_identity_changes_with_the_weights_and_with_each_option_that_decides(
    mask2former_folder: Path, tmp_path: Path
) -> None:
    other = changed_copy(mask2former_folder, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    weights["class_predictor.bias"] += 1
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    moved = changed_copy(mask2former_folder, tmp_path / "moved")
    base = opened(mask2former_folder).identity
    assert opened(moved).identity == base
    assert base["self_test"] == "on"
    variants = [
        opened(other),
        opened(moved, min_score="0.1"),
        opened(moved, dtype="bfloat16"),
        opened(moved, self_test="off"),
    ]
    assert len({json.dumps(dict(one.identity)) for one in variants} | {json.dumps(dict(base))}) == 5
    assert variants[-1].identity["self_test"] == "off"


def test_random_weights_do_not_pass_the_self_test(
    mask2former_folder: Path, clip_folder: Path
) -> None:
    options = {"detector": str(mask2former_folder), "clip": str(clip_folder)}
    detector, colours = open_mask2former(options, device="cpu")
    with pytest.raises(AlphaBenchError, match=r"self-test failed: no person .* in person\.jpg"):
        detector.self_test(colours)
    skipping, _ = open_mask2former({**options, "self_test": "off"}, device="cpu")
    skipping.self_test(colours)


def test_half_precision_gives_objects_too(mask2former_folder: Path) -> None:
    (found,) = opened(mask2former_folder, dtype="bfloat16").detect([noise_image(64, 64)])
    assert found
    assert all(np.isfinite(one.score) for one in found)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"detektor": "x"}, "did you mean 'detector'"),
        ({"dtype": "float"}, "did you mean 'float64'"),
        ({"min_score": "0.4"}, "min_score=0.4 is outside 0 to 0.3"),
        ({"self_test": "perhaps"}, "'self_test' cannot be 'perhaps'"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, str], words: str) -> None:
    with pytest.raises(AlphaBenchError, match=words):
        open_mask2former(options, device="cpu")


@pytest.mark.usefixtures("offline_hub")
def test_weights_that_are_not_on_this_machine_are_named_with_the_option_for_a_folder() -> None:
    detector, _ = open_mask2former({}, device="cpu")
    with pytest.raises(AlphaBenchError) as raised:
        detector.detect([noise_image(64, 64)])
    assert "facebook/mask2former-swin-small-coco-instance" in raised.value.message
    assert "detector=FOLDER" in raised.value.hint


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(AlphaBenchError, match=r"there is no folder .*nowhere.* detector weights"):
        opened(tmp_path / "nowhere").detect([noise_image(64, 64)])


def test_pickled_weights_are_refused(mask2former_folder: Path, tmp_path: Path) -> None:
    folder = changed_copy(mask2former_folder, tmp_path / "pickled")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(AlphaBenchError, match=r"only 'pytorch_model\.bin', a pickle"):
        _ = opened(folder).identity


def test_weights_with_a_hole_are_refused_instead_of_filled_at_random(
    mask2former_folder: Path, tmp_path: Path
) -> None:
    folder = changed_copy(mask2former_folder, tmp_path / "hole")
    weights = load_file(folder / "model.safetensors")
    del weights["class_predictor.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(AlphaBenchError, match=r"1 weights are missing.*class_predictor"):
        opened(folder).detect([noise_image(64, 64)])


def test_the_norm_that_checkpoints_on_the_hub_lack_is_not_missed(
    mask2former_folder: Path, tmp_path: Path
) -> None:
    folder = changed_copy(mask2former_folder, tmp_path / "hub")
    weights = load_file(folder / "model.safetensors")
    idle = [name for name in weights if ".swin.layernorm." in name]
    assert len(idle) == 2
    kept = {name: tensor for name, tensor in weights.items() if name not in idle}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    image = noise_image(64, 64, seed=2)
    assert_equal(opened(folder).detect([image])[0], opened(mask2former_folder).detect([image])[0])


def test_weights_that_the_model_has_no_place_for_are_refused(
    mask2former_folder: Path, tmp_path: Path
) -> None:
    folder = changed_copy(mask2former_folder, tmp_path / "more")
    weights = load_file(folder / "model.safetensors")
    weights["class_predictor.weight_scale"] = torch.ones(1)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(AlphaBenchError, match=r"does not use.*'class_predictor\.weight_scale'"):
        opened(folder).detect([noise_image(64, 64)])


def test_truncated_weights_are_refused(mask2former_folder: Path, tmp_path: Path) -> None:
    folder = changed_copy(mask2former_folder, tmp_path / "cut")
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(
        AlphaBenchError, match=r"weights file 'model\.safetensors' of .* is damaged"
    ):
        opened(folder).detect([noise_image(64, 64)])


def test_a_checkpoint_of_another_architecture_is_refused(clip_folder: Path) -> None:
    with pytest.raises(AlphaBenchError, match="cannot be loaded as a Mask2Former: it is a clip"):
        opened(clip_folder).detect([noise_image(64, 64)])


def test_a_checkpoint_with_other_classes_is_refused(tmp_path: Path) -> None:
    panoptic = save_mask2former(tmp_path / "panoptic", labels=(*COCO_NAMES, "wall", "sky"))
    with pytest.raises(AlphaBenchError, match="knows 82 classes, among them 'wall'"):
        opened(panoptic).detect([noise_image(64, 64)])
