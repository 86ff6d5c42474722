"""Detected objects and the colours they are named by. Knows no detector and no rule.

Masks are (H, W) arrays of booleans, boxes are x1, y1, x2, y2 in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


COLOURS: Final = (
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white",
)  # fmt: skip
"""GenEval's ten colours, in the order of its classifier (djghosh13/geneval)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DetectedObject:
    """One object that a detector reports."""

    category: str
    """A COCO name as GenEval spells it (`sports ball`, `computer mouse`)."""
    score: float
    """Confidence, 0 to 1."""
    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels of the image."""
    mask: NDArray[np.bool_] | None = None
    """(H, W) of the image; None where the detector gives boxes only."""
    colour: str | None = None
    """One of `COLOURS` or another word, when the detector itself reads colours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Confidence that a detection must exceed to count."""

    score: float = 0.3
    counting: float = 0.9
    """Used instead of `score` for prompts of the counting task."""
