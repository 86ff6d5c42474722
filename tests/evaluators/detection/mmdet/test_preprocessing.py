from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from alphabench.evaluators.detection.mmdet.preprocessing import (
    DIVISOR,
    Scale,
    content_size,
    prepare,
    resize_bytes,
    resize_floats,
)

BY_OPENCV = [
    (512, 512, 800, 800, "780783e62832bf83", 49.2932),
    (1024, 1024, 800, 800, "67cf6dee8b407553", 49.2629),
    (200, 200, 100, 100, "0ff68017ffe11215", 36.9157),
    (64, 97, 193, 31, "f7f5ff7be16f7c8b", 49.4434),
    (3, 200, 20, 13, "8f8cf3439fa1295f", 55.8292),
    (1, 1, 8, 8, "d5cd984716b5f074", 59.7569),
    (77, 133, 80, 138, "e106884a890d752b", 49.2414),
    (160, 90, 96, 54, "357dbba8e1e0b3a2", 52.1460),
]
"""Old and new size, the sha256 of cv2.resize of bytes, the deviation of cv2.resize of floats; from
opencv-python 5.0.0 and 4.10.0, which agree."""


def noise(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    found = np.random.RandomState(seed).randint(0, 256, (height, width, 3))
    return found.astype(np.uint8)


@pytest.mark.parametrize("index", range(len(BY_OPENCV)))
def test_bytes_are_resized_to_opencvs_last_bit(index: int) -> None:
    height, width, h, w, sha256, _ = BY_OPENCV[index]
    resized = resize_bytes(noise(index, height, width), h, w)
    assert resized.shape == (h, w, 3)
    assert hashlib.sha256(resized.tobytes()).hexdigest().startswith(sha256)


@pytest.mark.parametrize("index", range(len(BY_OPENCV)))
def test_floats_are_resized_as_opencv_does(index: int) -> None:
    height, width, h, w, _, deviation = BY_OPENCV[index]
    image = noise(index, height, width)
    resized = resize_floats(image.astype(np.float32), h, w)
    assert resized.dtype == np.float32
    assert resized.astype(float).std() == pytest.approx(deviation, abs=1e-3)
    assert np.abs(resized - resize_bytes(image, h, w)).max() <= 1.0


@pytest.mark.parametrize(
    ("image", "content"),
    [
        ((512, 512), (800, 800)),
        ((600, 1000), (800, 1333)),
        ((1080, 1920), (750, 1333)),
        ((1334, 801), (1332, 800)),
        ((1400, 200), (1333, 190)),
        ((3, 2), (1200, 800)),
    ],
)
def test_the_short_side_becomes_800_unless_the_long_one_would_pass_1333(
    image: tuple[int, int], content: tuple[int, int]
) -> None:
    assert content_size(*image, Scale()) == content


def test_an_image_too_narrow_for_any_size_is_an_error() -> None:
    with pytest.raises(ValueError, match="an image of 3000 x 1 has no height or width left"):
        content_size(1, 3000, Scale())


@given(st.integers(2, 300), st.integers(2, 300), st.sampled_from(["2", "3"]))
@settings(max_examples=30, deadline=None)
def test_inputs_are_padded_right_and_below_and_the_content_is_the_picture(
    height: int, width: int, release: str
) -> None:
    scale = Scale(short_side=64, long_side=96)
    image = np.full((height, width, 3), (255, 0, 128), dtype=np.uint8)
    pixels, (h, w) = prepare(image, release="2" if release == "2" else "3", scale=scale)
    assert pixels.shape[1] % DIVISOR == pixels.shape[2] % DIVISOR == 0
    assert 0 <= pixels.shape[1] - h < DIVISOR
    assert 0 <= pixels.shape[2] - w < DIVISOR
    red, green, blue = pixels[:, 0, 0].tolist()
    torch.testing.assert_close(pixels[:, :h, :w], pixels[:, :1, :1].expand(-1, h, w))
    assert red == pytest.approx((255 - 123.675) / 58.395, abs=1e-5)
    assert green == pytest.approx(-116.28 / 57.12, abs=1e-5)
    assert blue == pytest.approx((128 - 103.53) / 57.375, abs=1e-5)


def test_release_2_pads_with_grey_and_release_3_with_the_mean_colour() -> None:
    image = noise(0, 64, 80)
    scale = Scale(short_side=64, long_side=96)
    two, content = prepare(image, release="2", scale=scale)
    three, _ = prepare(image, release="3", scale=scale)
    assert content == (64, 80)
    torch.testing.assert_close(two[:, :, :80], three[:, :, :80])
    grey = [(128 - mean) / std for mean, std in ((123.675, 58.395), (116.28, 57.12))]
    assert two[0, :, 80:].numpy() == pytest.approx(grey[0], abs=1e-5)
    assert two[1, :, 80:].numpy() == pytest.approx(grey[1], abs=1e-5)
    assert not three[:, :, 80:].any()
