from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from alphabench.detections.objects import COLOURS, DetectedObject
from alphabench.evaluators.detection.clip_backends import Framing
from alphabench.evaluators.detection.clip_colour import (
    CANVAS,
    ClipColourReader,
    class_embeddings,
    colour_logits,
    colour_sentences,
    crop_pixels,
    cut_out,
)
from alphabench.evaluators.detection.detector import ColourQuery
from tests.evaluators.conftest import noise_image

FRAMING = Framing(
    side=224,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
)


def found(
    box: tuple[float, float, float, float],
    *,
    mask: NDArray[np.bool_] | None = None,
    category: str = "cat",
) -> DetectedObject:
    return DetectedObject(category=category, score=0.9, box=box, mask=mask)


@given(st.integers(1, 500), st.integers(1, 500), st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_preprocessing_is_open_clips_without_torchvision(
    width: int, height: int, seed: int
) -> None:
    open_clip = pytest.importorskip("open_clip")
    theirs = open_clip.transform.image_transform(
        224, is_train=False, mean=FRAMING.mean, std=FRAMING.std
    )
    crop = noise_image(width, height, seed=seed)
    torch.testing.assert_close(crop_pixels(crop, framing=FRAMING), theirs(crop), rtol=0, atol=1e-6)


def test_what_is_outside_the_mask_becomes_the_grey_canvas() -> None:
    mask = np.zeros((40, 50), dtype=bool)
    mask[10:20, 5:15] = True
    image = Image.new("RGB", (50, 40), (250, 10, 10))
    crop = np.array(cut_out(image, found((5, 10, 25, 20), mask=mask)))
    assert crop.shape == (10, 20, 3)
    assert (crop[:, :10] == (250, 10, 10)).all()
    assert (crop[:, 10:] == CANVAS).all()
    assert CANVAS == (0x99, 0x99, 0x99)


def test_a_box_between_pixels_is_rounded_as_pillow_rounds_it() -> None:
    image = noise_image(50, 40)
    box = (4.5, 9.51, 20.49, 31.5)
    assert cut_out(image, found(box)).tobytes() == image.crop((4, 10, 20, 32)).tobytes()


def test_an_object_without_a_mask_is_cropped_with_its_surroundings() -> None:
    image = noise_image(50, 40)
    assert cut_out(image, found((5, 6, 15, 26))).tobytes() == image.crop((5, 6, 15, 26)).tobytes()


def test_a_box_without_a_pixel_is_an_error_and_no_colour() -> None:
    with pytest.raises(ValueError, match="has no pixel"):
        cut_out(noise_image(50, 40), found((7.1, 3, 7.3, 20)))


def test_a_mask_of_another_size_is_an_error_and_no_colour() -> None:
    with pytest.raises(ValueError, match="a mask of"):
        cut_out(noise_image(50, 40), found((0, 0, 9, 9), mask=np.ones((50, 40), dtype=bool)))


def test_each_colour_has_two_sentences_about_the_class_and_one_about_an_object() -> None:
    sentences = colour_sentences("tv remote")
    assert len(sentences) == 3 * len(COLOURS)
    assert sentences[:3] == [
        "a photo of a red tv remote",
        "a photo of a red-colored tv remote",
        "a photo of a red object",
    ]
    assert sentences[-1] == "a photo of a white object"


@given(st.integers(0, 2**31 - 1))
@settings(max_examples=20, deadline=None)
def test_the_classifier_is_the_normalised_mean_of_normalised_sentences(seed: int) -> None:
    draw = np.random.default_rng(seed)
    texts, images = draw.normal(size=(30, 8)), draw.normal(size=(4, 8))

    def unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        lengths: NDArray[np.float64] = np.sqrt((rows**2).sum(axis=-1, keepdims=True))
        return rows / lengths

    wanted = unit(np.stack([unit(texts[3 * k : 3 * k + 3]).mean(axis=0) for k in range(10)]))
    classifier = class_embeddings(torch.from_numpy(texts), n_classes=10)
    np.testing.assert_allclose(classifier, wanted, atol=1e-6)
    logits = colour_logits(torch.from_numpy(images), classifier.expand(4, 10, 8))
    np.testing.assert_allclose(logits, 100 * unit(images) @ wanted.T, atol=1e-4)


def queries(count: int) -> list[ColourQuery]:
    categories = ["cat", "sports ball", "cup"]
    boxes = [(0, 0, 30, 40), (10.4, 5, 60, 20), (3, 30, 70, 70)]
    asked = []
    for index in range(count):
        mask = np.random.default_rng(index).random((72, 80)) < 0.8
        one = found(boxes[index % 3], mask=mask, category=categories[(index // 2) % 3])
        asked.append(ColourQuery(image=noise_image(80, 72, seed=index), found=one))
    return asked


def test_neither_neighbours_nor_order_change_a_colour(clip_folder: Path) -> None:
    reader = ClipColourReader(str(clip_folder), dtype="float32", device="cpu")
    asked = queries(70)  # more than two passes
    together = reader.read(asked)
    assert set(together) <= set(COLOURS)
    assert len(set(together)) > 1
    assert reader.read(asked[::-1]) == together[::-1]
    assert [reader.read([one])[0] for one in asked] == together


def test_no_queries_give_no_colours(clip_folder: Path) -> None:
    assert ClipColourReader(str(clip_folder), dtype="float32", device="cpu").read([]) == []


def test_a_reader_that_was_not_used_yet_can_be_sent_to_a_worker(clip_folder: Path) -> None:
    reader = ClipColourReader(str(clip_folder), dtype="float32", device="cpu")
    copy = pickle.loads(pickle.dumps(reader))
    assert copy.identity == reader.identity
    assert copy.read(queries(3)) == reader.read(queries(3))


def test_identity_names_weights_library_and_precision(clip_folder: Path) -> None:
    full = ClipColourReader(str(clip_folder), dtype="float32", device="cpu").identity
    half = ClipColourReader(str(clip_folder), dtype="bfloat16", device="cpu").identity
    assert full["model"].startswith("clip sha256:")
    assert full["library"].startswith("transformers ")
    assert full != half


def test_embeddings_that_are_no_numbers_are_an_error_and_no_colour(
    clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = torch.nn.functional.linear
    monkeypatch.setattr(
        torch.nn.functional, "linear", lambda *given: right(*given) * torch.tensor(torch.nan)
    )
    reader = ClipColourReader(str(clip_folder), dtype="float32", device="cpu")
    with pytest.raises(RuntimeError, match="are not finite"):
        reader.read([ColourQuery(image=noise_image(50, 40), found=found((5, 6, 15, 26)))])
