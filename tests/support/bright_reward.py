"""A reward without a judge: how bright an image is."""

from __future__ import annotations

import numpy as np
from PIL.Image import Image


def mean_brightness(prompts: list[str], images: list[Image]) -> list[float | None]:
    """Mean level of each image, from 0 to 1."""
    del prompts
    return [float(np.asarray(image, dtype=np.float64).mean()) / 255.0 for image in images]
