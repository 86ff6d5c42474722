"""Pictures with transparency, as every model here is shown them."""

from __future__ import annotations

from PIL import Image


def to_rgb(picture: Image.Image) -> Image.Image:
    """Transparency becomes white."""
    if picture.mode != "RGBA" and "transparency" not in picture.info:
        return picture.convert("RGB")
    picture = picture.convert("RGBA")
    white = Image.new("RGB", picture.size, (255, 255, 255))
    white.paste(picture, mask=picture.getchannel("A"))
    return white
