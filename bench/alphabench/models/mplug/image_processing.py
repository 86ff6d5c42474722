"""Preprocesses images for the vision encoder.

As the official preprocessor: RGB, stretched to a square by Pillow's bicubic filter, scaled to 0..1
and normalised with CLIP's means and deviations. Proportions are lost; nothing is cropped.

Shapes: B images; R side in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
DEVIATION: Final = (0.26862954, 0.26130258, 0.27577711)


def pixels_of(images: Sequence[Image], *, side: int) -> Tensor:
    """Normalised pixels (B, 3, R, R) in float32.

    Args:
        images: of any size and mode.
        side: of the square, in pixels.
    """
    return torch.stack([_pixels(image, side) for image in images])


def _pixels(image: Image, side: int) -> Tensor:
    from PIL import Image as Pillow

    square = image.convert("RGB").resize((side, side), Pillow.Resampling.BICUBIC)
    value_RR3 = torch.from_numpy(np.asarray(square).copy())
    value_3RR = value_RR3.permute(2, 0, 1).float() / 255.0
    return (value_3RR - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]
