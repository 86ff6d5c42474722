"""How bright an image is. Knows no judge and no table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from alphabench.images import open_rgb


def brightness_of(image: Path | Image.Image) -> float:
    """Mean level of all pixels and channels, 0 (black) to 1 (white).

    As the metric `image/brightness` of training steps.
    """
    opened = open_rgb(image) if isinstance(image, Path) else image.convert("RGB")
    return float(np.asarray(opened, dtype=np.float64).mean()) / 255.0
