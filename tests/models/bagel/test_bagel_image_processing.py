"""Images on their way in and out: sizes, values, patches and tokens."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from alphabench.images import to_rgb
from alphabench.models.bagel.autoencoder import grid_indices, to_latent, to_tokens
from alphabench.models.bagel.image_processing import (
    LATENT_SIZES,
    PATCH_SIZES,
    image_to_pixels,
    pixels_to_levels,
    to_patches,
)

SIDES = st.integers(1, 5000)


@given(width=SIDES, height=SIDES)
def test_both_sides_are_multiples_of_the_stride_and_not_too_long(width: int, height: int) -> None:
    for rule in (LATENT_SIZES, PATCH_SIZES):
        size = rule.size(width, height)
        assert all(side % rule.stride == 0 and 0 < side <= rule.longest for side in size)


def test_an_image_of_the_right_size_is_unchanged() -> None:
    image = Image.new("RGB", (1024, 512))
    assert LATENT_SIZES.resized(image) is image


def test_pixels_and_images_are_inverse_to_one_level() -> None:
    values = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)
    back = pixels_to_levels(image_to_pixels(Image.fromarray(values))[None])[0].numpy()
    assert np.abs(back.astype(int) - values).max() <= 1


def test_values_outside_the_range_are_clamped() -> None:
    drawn = pixels_to_levels(torch.tensor([-2.0, 0.0, 2.0]).reshape(1, 3, 1, 1))
    assert drawn.flatten().tolist() == [0, 127, 255]


def test_transparent_palettes_become_white() -> None:
    image = Image.new("P", (1, 1), 0)
    image.putpalette([255, 0, 0])
    image.info["transparency"] = 0
    assert to_rgb(image).getpixel((0, 0)) == (255, 255, 255)


def test_a_patch_lists_rows_then_columns_then_channels() -> None:
    pixels = torch.arange(3 * 4 * 6, dtype=torch.float32).reshape(3, 4, 6)
    patches = to_patches(pixels, 2)
    assert patches.shape == (6, 12)
    place = (1 * 2 + 0) * 3 + 2
    assert patches[1 * 3 + 2, place] == pixels[2, 2 * 1 + 1, 2 * 2 + 0]


def test_a_token_lists_rows_then_columns_then_channels() -> None:
    latent = torch.arange(4 * 4 * 6, dtype=torch.float32).reshape(4, 4, 6)
    tokens = to_tokens(latent, 2)
    assert tokens[1 * 3 + 2, (0 * 2 + 1) * 4 + 3] == latent[3, 2, 5]
    assert torch.equal(to_latent(tokens, 2, rows=2, columns=3), latent)


def test_grid_indices_use_the_corner_of_the_table() -> None:
    assert grid_indices(2, 3, 10).tolist() == [0, 1, 2, 10, 11, 12]
