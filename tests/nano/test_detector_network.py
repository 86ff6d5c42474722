"""The network's shell: shapes, folding, the weights file, the canonical square."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from alphabench.core.errors import AlphaBenchError
from alphabench.detections.objects import COLOURS
from alphabench.nano.decoding import FEATURES
from alphabench.nano.detector_network import (
    CELLS,
    FORMAT,
    SIDE,
    DetectorConfig,
    DetectorNet,
    canonical_square,
    folded,
    load_net,
    metadata,
    squares_to_pixels,
    weights_bytes,
)
from alphabench.scenes.spec import CATEGORIES

TINY = DetectorConfig(
    categories=("dog", "cat"), colours=("red",), widths=(4, 4, 8, 8, 8), depths=(0, 1, 1)
)


def noise_pictures(count: int) -> torch.Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def test_every_map_has_its_channels_at_a_quarter_of_the_side() -> None:
    maps = DetectorNet(TINY)(noise_pictures(2))
    channels = [tuple(field.shape) for field in maps]
    assert channels == [(2, c, CELLS, CELLS) for c in (1, 3, 1, 2, 4)]


def test_folding_the_norms_away_keeps_the_function() -> None:
    torch.manual_seed(1)
    trained = DetectorNet(TINY, norm=True)
    for _ in range(3):
        trained(noise_pictures(2) * 2 + 1)  # moves the running statistics
    for module in trained.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    plain = DetectorNet(TINY)
    plain.load_state_dict(folded(trained))
    with torch.inference_mode():
        for a, b in zip(trained.eval()(noise_pictures(1)), plain(noise_pictures(1)), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_a_design_survives_the_trip_through_the_weights_file() -> None:
    assert DetectorConfig.from_json(TINY.to_json()) == TINY


def test_the_packaged_weights_are_small_and_know_the_worlds_categories_and_colours() -> None:
    file = weights_bytes()
    assert len(file) < 4_000_000
    design = load_net(file).design
    assert design.categories == CATEGORIES
    assert design.colours == (*COLOURS, "natural")
    assert metadata(file)["format"] == FORMAT
    assert set(json.loads(metadata(file)["calibration"])) == set(FEATURES)


@pytest.mark.parametrize(
    "file", [b"", b"\x10\x00\x00\x00\x00\x00\x00\x00not json at all!", b"PK\x03\x04"]
)
def test_foreign_bytes_are_refused_in_one_sentence(file: bytes) -> None:
    with pytest.raises(AlphaBenchError, match="not of the format"):
        metadata(file)


@pytest.mark.parametrize("size", [(128, 128), (64, 64), (300, 150), (97, 211), (1, 5)])
def test_any_size_is_placed_at_the_top_left_and_the_rest_is_grey(size: tuple[int, int]) -> None:
    square, placement = canonical_square(Image.new("RGB", size, (250, 0, 0)))
    assert square.shape == (SIDE, SIDE, 3)
    assert (placement.width, placement.height) == size
    width, height = (max(1, round(side * placement.scale)) for side in size)
    assert max(width, height) == SIDE
    assert (square[:height, :width] == (250, 0, 0)).all()
    assert (square[height:] == 128).all()
    assert (square[:, width:] == 128).all()


def test_pixels_lie_between_minus_one_and_one_channels_first() -> None:
    squares = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    squares[..., 2] = 255
    pixels = squares_to_pixels(squares)
    assert pixels.shape == (1, 3, SIDE, SIDE)
    assert (pixels[0, 0] == -1).all()
    assert (pixels[0, 2] == 1).all()
