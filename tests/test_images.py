"""Every image that is read: one meaning of transparency, depth and orientation; nothing hostile."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from alphabench.images import (
    MAX_PIXELS,
    UnreadableImageError,
    open_rgb,
    open_unchanged,
    to_rgb,
)


def _encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def _png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds a row or two."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 64))
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
        open_rgb(_png_header(side, side))


def test_a_truncated_image_is_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    content = _encoded(Image.fromarray(noise))
    with pytest.raises(UnreadableImageError):
        open_rgb(content[: len(content) // 2])


def test_a_file_that_is_gone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="No such file"):
        open_rgb(tmp_path / "gone.png")
