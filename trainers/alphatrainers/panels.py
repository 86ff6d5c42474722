"""One image of a training's progress: the same prompts and seeds at every validation.

Knows no policy.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from alphabench.core.writing import replace_file
from alphatrainers.checkpoint import writing_training


def save_panel(images: Sequence[Image.Image], path: Path) -> Image.Image | None:
    """Writes images side by side, row by row, in their order.

    Returns:
        What was written; None without any image: then nothing is.
    """
    images = [image.convert("RGB") for image in images]
    if not images:
        return None
    columns = math.ceil(math.sqrt(len(images)))
    width = max(image.width for image in images)
    height = max(image.height for image in images)
    rows = math.ceil(len(images) / columns)
    panel = Image.new("RGB", (columns * width, rows * height), "white")
    for position, image in enumerate(images):
        row, column = divmod(position, columns)
        panel.paste(image, (column * width, row * height))
    content = io.BytesIO()
    panel.save(content, format="PNG")
    with writing_training(path):
        replace_file(path, content.getvalue())
    return panel
