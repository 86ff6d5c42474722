"""Every image that is read: one meaning of transparency, depth and orientation; nothing hostile."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from alphabench.images import (
    MAX_PIXELS,
    UnreadableImageError,
    check_image,
    image_of,
    open_rgb,
    open_unchanged,
    to_rgb,
)


def _encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def _png(
    width: int, height: int, *, depth: int = 8, colour: int = 2, clear: bytes = b"", rows: bytes
) -> bytes:
    """A PNG as a writer other than Pillow could have made it; `rows` may hold less than is claimed.

    Args:
        width: claimed.
        height: claimed.
        depth: bits.
        colour: 0 is grey, 2 RGB.
        clear: the content of tRNS.
        rows: with a zero before each.
    """

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"tRNS", clear) if clear else b"")
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("value", [0, 257, 30_000, 65_535])
def test_sixteen_bits_become_eight(value: int) -> None:
    deep = Image.fromarray(np.full((2, 3), value, dtype=np.uint16))
    image = open_rgb(_encoded(deep))
    assert image.getpixel((0, 0)) == (round(value / 257),) * 3


def test_floating_point_brightness_runs_from_0_to_1() -> None:
    deep = Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32))
    image = open_rgb(_encoded(deep, "TIFF"))
    assert [image.getpixel((x, 0)) for x in range(3)] == [(0,) * 3, (128,) * 3, (255,) * 3]


@pytest.mark.parametrize("value", [-0.1, 3.0, float("nan"), float("inf")])
def test_a_value_of_no_known_brightness_is_refused(value: float) -> None:
    deep = Image.fromarray(np.array([[0.5, value]], dtype=np.float32))
    with pytest.raises(UnreadableImageError, match="its values run from"):
        to_rgb(deep)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_what_is_transparent_is_white(mode: str) -> None:
    clear = Image.new("RGBA", (2, 2), (10, 200, 30, 0)).convert(mode)
    assert to_rgb(clear).getpixel((0, 0)) == (255, 255, 255)


def test_a_transparent_colour_of_a_palette_is_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    read = open_rgb(_encoded(image, transparency=0))
    assert [read.getpixel((x, 0)) for x in range(2)] == [(255, 255, 255), (40, 50, 60)]


def test_orientation_is_applied_once_and_no_metadata_travels_on() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    content = _encoded(Image.new("RGB", (4, 2)), "JPEG", exif=exif, icc_profile=profile)
    image = open_rgb(content)
    assert image.size == (2, 4)
    assert image.info == {}
    assert open_unchanged(content).size == (4, 2)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_the_usual_formats_are_read_by_content_whatever_the_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(_encoded(Image.new("RGB", (16, 16), (255, 255, 255)), kind))
    assert open_rgb(path).getpixel((3, 3)) == (255, 255, 255)


@pytest.mark.parametrize(
    "content",
    [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"", b"<svg/>", b"P6 1 1 255 abc"],
)
def test_other_formats_are_not_opened(content: bytes) -> None:
    with pytest.raises(UnreadableImageError, match="none of PNG"):
        open_rgb(content)


def test_a_size_over_the_limit_is_refused_before_decoding() -> None:
    side = int(MAX_PIXELS**0.5) + 1
    with pytest.raises(UnreadableImageError, match="pixels"):
        open_rgb(_png(side, side, rows=b"\0" * 64))


def test_a_truncated_image_is_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    content = _encoded(Image.fromarray(noise))
    with pytest.raises(UnreadableImageError):
        open_rgb(content[: len(content) // 2])


def test_a_file_that_is_gone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="No such file"):
        open_rgb(tmp_path / "gone.png")


@pytest.mark.parametrize(("colour", "clear"), [(0, (1000,)), (2, (1000, 2000, 3000))])
def test_a_transparent_colour_of_sixteen_bits_is_white(colour: int, clear: tuple[int, ...]) -> None:
    values = (*clear, *(30_000 for _ in clear))
    content = _png(
        2,
        1,
        depth=16,
        colour=colour,
        clear=struct.pack(f">{len(clear)}H", *clear),
        rows=b"\0" + struct.pack(f">{len(values)}H", *values),
    )
    image = open_rgb(content)
    assert [image.getpixel((x, 0)) for x in range(2)] == [(255,) * 3, (117,) * 3]


@pytest.mark.parametrize(
    ("mode", "colour", "seen"),
    [
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("LAB", (128, 128, 128), (119, 119, 119)),
        ("1", 1, (255, 255, 255)),
        ("LA", (90, 255), (90, 90, 90)),
    ],
)
def test_other_colour_spaces_are_converted(
    mode: str, colour: tuple[int, ...] | int, seen: tuple[int, int, int]
) -> None:
    image = open_rgb(_encoded(Image.new(mode, (2, 2), colour), "TIFF"))
    assert image.getpixel((1, 1)) == seen


def test_an_image_in_memory_stays_as_it_is() -> None:
    image = Image.new("RGB", (2, 2))
    image.info["note"] = 1
    assert to_rgb(image).info == {}
    assert image.info == {"note": 1}


def test_a_check_sees_what_can_be_seen_without_decoding(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(_encoded(Image.new("RGB", (4, 4))))
    check_image(path)
    damaged = bytearray(path.read_bytes())
    damaged[45] ^= 1  # within the pixels: their checksum no longer fits
    for content in (bytes(damaged), b"%!PS", _png(13_000, 13_000, rows=b"\0")):
        path.write_bytes(content)
        with pytest.raises(UnreadableImageError):
            check_image(path)


@pytest.mark.parametrize("read", [check_image, open_rgb, open_unchanged])
def test_a_pipe_is_not_waited_for(tmp_path: Path, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UnreadableImageError, match="not a regular file"):
        read(tmp_path / "pipe.png")


GREY = np.full((2, 3, 3), 0.5, dtype=np.float32)


@pytest.mark.parametrize(
    "made",
    [
        GREY,
        GREY.astype(np.float64),
        GREY[:, :, :1],
        GREY[:, :, 0],
        np.full((2, 3, 3), 128, dtype=np.uint8),
        torch.from_numpy(GREY).bfloat16(),
        torch.from_numpy(GREY).permute(2, 0, 1),
        torch.full((1, 2, 3), 128, dtype=torch.uint8),
        np.concatenate([GREY, np.ones((2, 3, 1), dtype=np.float32)], axis=2),
    ],
)
def test_arrays_and_tensors_of_many_forms_are_one_image(made: object) -> None:
    image = to_rgb(image_of(made))
    assert image.size == (3, 2)
    assert image.getcolors() == [(6, (128, 128, 128))]


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (GREY * np.float32(np.nan), "run from nan to nan"),
        (GREY * np.float32(np.inf), "inf"),
        (GREY * 2 - 1.5, "run from -0.5"),
        (GREY * 255, "to 127.5, not from 0 to 1"),
        (torch.full((3, 2, 2), torch.nan), "nan"),
        (np.full((2, 2, 3), 128, dtype=np.int64), "int64 is neither"),
        (np.zeros((2, 2, 5), dtype=np.uint8), r"shape \[2, 2, 5\]"),
        (np.zeros((0, 2, 3), dtype=np.uint8), "is no image"),
        (np.zeros((1, 2, 2, 3), dtype=np.uint8), "is no image"),
        ("a red dog", "of type str"),
        (None, "of type NoneType"),
    ],
)
def test_what_is_no_image_or_of_no_known_brightness_is_named(made: object, words: str) -> None:
    with pytest.raises(UnreadableImageError, match=words):
        image_of(made)
