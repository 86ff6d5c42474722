"""One picture of a training's progress: the same prompts and seeds, drawn again and again.

Knows no policy.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from alphabench.core.writing import replace_file
from alphatrainers.checkpoint import writing
from alphatrainers.trajectory import Trajectory


def save_panel(trajectories: Sequence[Trajectory], path: Path) -> None:
    """The final pictures side by side, row by row, in their order."""
    pictures = [t.images[-1].image.convert("RGB") for t in trajectories if t.images]
    if not pictures:
        return
    columns = math.ceil(math.sqrt(len(pictures)))
    width = max(picture.width for picture in pictures)
    height = max(picture.height for picture in pictures)
    rows = math.ceil(len(pictures) / columns)
    panel = Image.new("RGB", (columns * width, rows * height), "white")
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        panel.paste(picture, (column * width, row * height))
    content = io.BytesIO()
    panel.save(content, format="PNG")
    with writing(path):
        replace_file(path, content.getvalue())
