"""Decodes every image that is read, so that all parts of the program see the same pixels.

There is one set of formats, one limit on size, and one interpretation of transparency, orientation
and bit depth. Code that needs pixels calls `open_rgb`, or `to_rgb` for an image in memory.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from alphabench.core.files import UnreadableFileError, read_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""Other formats of Pillow start programs (EPS starts Ghostscript) or are not robust."""
MAX_PIXELS: Final = 36_000_000
"""Width times height; checked before decoding, so that a small file cannot claim the memory. Images
of 8K fit, and decoding the largest takes less than 800 MB in every format and mode."""
MAX_FILE_BYTES: Final = 256 * 2**20


class UnreadableImageError(Exception):
    """The bytes are not an acceptable image; the message is one clause with the reason."""


def open_rgb(source: Path | bytes, *, max_pixels: int = MAX_PIXELS) -> Image:
    """The first frame of an image: RGB, 8 bits, upright, white where it is transparent.

    Args:
        source: a file, or its content.
        max_pixels: a limit below `MAX_PIXELS`.

    Returns:
        An image without `info`: only the pixels are passed on.

    Raises:
        UnreadableImageError: unreadable, not in `FORMATS`, over `max_pixels`, damaged, or with
            values that have no defined brightness (see `to_rgb`).
    """
    from PIL import ImageOps

    with _reading():
        image = open_unchanged(source, max_pixels=max_pixels)
        # In place, and without a copy below: one image of `MAX_PIXELS` takes 150 MB.
        ImageOps.exif_transpose(image, in_place=True)
        rgb = _flat(image)
        rgb.info = {}
        return rgb


def open_unchanged(source: Path | bytes, *, max_pixels: int = MAX_PIXELS) -> Image:
    """The first frame of an image as it is stored: mode, orientation and `info` untouched.

    For official protocols that prescribe their own conversion, and for reading metadata.

    Raises:
        UnreadableImageError: as `open_rgb`.
    """
    with _reading():
        image = _open(source, max_pixels)
        image.load()
        return image


def is_black(source: Path | bytes) -> bool:
    """Whether it is an image whose every pixel is (0, 0, 0); not where it cannot be read."""
    try:
        return open_rgb(source).getbbox() is None
    except UnreadableImageError:
        return False


def check_image(path: Path) -> None:
    """Checks what needs no decoding: the kind of file, its size, a PNG's checksums.

    Raises:
        UnreadableImageError: `open_rgb` would refuse it as well.
    """
    with _reading():
        _open(path, MAX_PIXELS).verify()


def to_rgb(image: Image) -> Image:
    """An image in memory as 8-bit RGB without `info`; the argument stays as it is.

    Transparency becomes white. 16-bit values are divided by 257 and rounded. Floating-point values
    are brightness from 0 to 1. Colour profiles are ignored.

    Raises:
        UnreadableImageError: values that are not finite or outside the range of their type, whose
            brightness is undefined.
    """
    with _reading():
        rgb = _flat(image)
        rgb = image.copy() if rgb is image else rgb
        rgb.info = {}
        return rgb


def image_of(value: object) -> Image:
    """Converts what user code returned to an image: a Pillow image, or an array or tensor.

    Arrays are rows, columns and 1, 3 or 4 channels, or grey without channels; tensors may also
    have their channels first. They hold uint8, or floating-point brightness from 0 to 1.

    Raises:
        UnreadableImageError: no image, or values that are not finite or outside their range.
    """
    import PIL.Image

    if isinstance(value, PIL.Image.Image):
        return value
    with _reading():
        return PIL.Image.fromarray(_levels(value))


def _levels(value: object) -> Any:
    """As uint8: rows, columns, and none or several channels."""
    import numpy as np

    values: Any = value
    if hasattr(values, "detach"):  # a tensor, without an import of its library
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
        values = values.numpy()
        if values.ndim == 3 and values.shape[0] in (1, 3, 4):
            values = values.transpose(1, 2, 0)
    if not isinstance(values, np.ndarray):
        raise UnreadableImageError(f"it is of type {type(value).__name__}")
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.ndim not in (2, 3) or 0 in values.shape or values.shape[2:] not in ((), (3,), (4,)):
        raise UnreadableImageError(f"an array of shape {list(values.shape)} is no image")
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if values.dtype.kind != "f":
        raise UnreadableImageError(f"an array of {values.dtype} is neither uint8 nor from 0 to 1")
    low, high = float(values.min()), float(values.max())
    if not 0.0 <= low <= high <= 1.0:  # False where either is NaN
        raise UnreadableImageError(f"its values run from {low:g} to {high:g}, not from 0 to 1")
    return np.rint(values.astype(np.float32) * np.float32(255.0)).astype(np.uint8)


def _open(source: Path | bytes, max_pixels: int) -> Image:
    import PIL.Image

    content = read_bytes(source, max_bytes=MAX_FILE_BYTES) if isinstance(source, Path) else source
    image = PIL.Image.open(io.BytesIO(content), formats=FORMATS)
    if image.width * image.height > max_pixels:
        raise UnreadableImageError(
            f"its {image.width} x {image.height} pixels are over {max_pixels}"
        )
    return image


def _flat(image: Image) -> Image:
    """RGB with white for transparency; returns the image itself if it is plain RGB."""
    import PIL.Image

    if image.mode == "F" or image.mode.startswith("I"):
        return _from_deep(image)
    clear = image.info.get("transparency")
    if isinstance(clear, tuple) and max(clear) > 255:
        # Of 16 bits for each channel Pillow keeps the upper 8, but not of the transparent colour.
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    if image.mode == "La":  # which Pillow converts to nothing else
        image = image.convert("LA")
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or clear is not None:
        is_plain = image.mode == "RGBA" and clear is None
        layer = image if is_plain else image.convert("RGBA")
        rgb = PIL.Image.new("RGB", layer.size, (255, 255, 255))
        rgb.paste(layer, mask=layer.getchannel("A"))
        return rgb
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_deep(image: Image) -> Image:
    import numpy as np
    import PIL.Image

    values = np.asarray(image)
    highest = 1.0 if image.mode == "F" else 65535.0
    low, high = float(values.min()), float(values.max())
    if not 0.0 <= low <= high <= highest:  # False where either is NaN
        raise UnreadableImageError(
            f"its values run from {low:g} to {high:g}, not from 0 to {highest:g}"
        )
    scaled = values * np.float32(255.0 / highest)
    grey = np.rint(scaled, out=scaled).astype(np.uint8)
    if (clear := image.info.get("transparency")) is not None:
        grey[values == clear] = 255
    return PIL.Image.fromarray(grey).convert("RGB")


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Turns every error that decoding untrusted bytes raises into one type."""
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
    except Exception as error:  # decoders raise any type on damaged data
        raise UnreadableImageError(str(error) or type(error).__name__) from error
