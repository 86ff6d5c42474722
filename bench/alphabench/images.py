"""Opens every image that is read, so that all parts of the program see the same pixels.

One set of formats, one limit on size, one meaning of transparency, orientation and bit depth:
whoever needs pixels calls `open_rgb`, and `to_rgb` for an image that is in memory already.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from alphabench.files import UnreadableFileError, read_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""Pillow knows others that start programs (EPS starts Ghostscript) or were never hardened."""
MAX_PIXELS: Final = 50_000_000
"""Width times height; checked before decoding, so that a small file cannot claim the memory."""
MAX_FILE_BYTES: Final = 256 * 2**20


class UnreadableImageError(Exception):
    """The bytes are no image that may be opened; the message is one clause that says why."""


def open_rgb(source: Path | bytes) -> Image:
    """The first frame of an image: RGB, 8 bits, upright, white where it is transparent.

    Args:
        source: a file, or its content.

    Returns:
        An image without `info`, so that nothing but pixels travels on.

    Raises:
        UnreadableImageError: unreadable, not in `FORMATS`, over `MAX_PIXELS`, damaged, or with
            values that have no defined brightness (see `to_rgb`).
    """
    from PIL import ImageOps

    with _reading():
        image = open_unchanged(source)
        return to_rgb(ImageOps.exif_transpose(image))


def open_unchanged(source: Path | bytes) -> Image:
    """The first frame of an image as it is stored: mode, orientation and `info` untouched.

    For official protocols that prescribe their own conversion, and for reading metadata.

    Raises:
        UnreadableImageError: as `open_rgb`.
    """
    import PIL.Image

    with _reading():
        content = source
        if isinstance(source, Path):
            content = read_bytes(source, max_bytes=MAX_FILE_BYTES)
        assert isinstance(content, bytes)
        image = PIL.Image.open(io.BytesIO(content), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise UnreadableImageError(
                f"its {image.width} x {image.height} pixels are over {MAX_PIXELS}"
            )
        image.load()
        return image


def to_rgb(image: Image) -> Image:
    """An image in memory as 8-bit RGB without `info`.

    Transparency becomes white. 16-bit values are divided by 257 and rounded. Floating-point values
    are brightness from 0 to 1.

    Raises:
        UnreadableImageError: values that are not finite or outside the range of their kind: how
            bright they are meant to be is not known.
    """
    import PIL.Image

    if image.mode == "F" or image.mode.startswith("I"):
        image = _grey_from_deep(image)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        rgb = PIL.Image.new("RGB", layer.size, (255, 255, 255))
        rgb.paste(layer, mask=layer.getchannel("A"))
        return rgb
    rgb = image.convert("RGB") if image.mode != "RGB" else image.copy()
    rgb.info = {}
    return rgb


def _grey_from_deep(image: Image) -> Image:
    import numpy as np
    import PIL.Image

    values = np.asarray(image)
    highest = 1.0 if image.mode == "F" else 65535.0
    low, high = float(values.min()), float(values.max())
    if not 0.0 <= low <= high <= highest:  # False where either is NaN
        raise UnreadableImageError(
            f"its values run from {low:g} to {high:g}, not from 0 to {highest:g}"
        )
    grey = np.rint(values * np.float32(255.0 / highest)).astype(np.uint8)
    return PIL.Image.fromarray(grey)


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Turns all that is raised on foreign bytes into one error."""
    import PIL

    try:
        yield
    except UnreadableImageError:
        raise
    except UnreadableFileError as error:
        raise UnreadableImageError(str(error)) from error
    except PIL.UnidentifiedImageError as error:
        raise UnreadableImageError(f"it is none of {', '.join(FORMATS)}") from error
    except MemoryError as error:
        raise UnreadableImageError("there is not enough memory to decode it") from error
    except Exception as error:  # on damaged data decoders raise what they like
        raise UnreadableImageError(str(error) or type(error).__name__) from error
