"""A judge that finds a image the better the brighter it is; for `python:` in recipes."""

from __future__ import annotations

import numpy as np
from PIL import Image

from alphabench.judges.scripted import ScriptedJudge
from alphabench.questions import ImagePart, Question


def brightness_of(question: Question) -> float:
    """Mean brightness of the question's image, 0 to 1."""
    (picture,) = (part for part in question.parts if isinstance(part, ImagePart))
    with Image.open(picture.path) as opened:
        return float(np.asarray(opened.convert("L")).mean() / 255.0)


def brightness() -> ScriptedJudge:
    return ScriptedJudge(brightness_of, name="brightness")
