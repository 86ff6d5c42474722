"""How bright an image is. Knows no judge and no table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from alphabench.images import open_rgb


def brightness_of(image: Path | Image.Image) -> float:
    """Mean luma of an image, 0 (black) to 1 (white).

    Weights of red, green and blue: 0.299, 0.587, 0.114 (ITU-R BT.601, as in Pillow's mode `L`).
    """
    opened = open_rgb(image) if isinstance(image, Path) else image.convert("RGB")
    return float(np.asarray(opened.convert("L"), dtype=np.float64).mean()) / 255.0
