"""How a policy's images look in the mean: early signs of collapse that no reward shows.

Knows no reward; numbers for the log and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, groupby
from typing import Final

import numpy as np
from numpy.typing import NDArray

from alphatrainers.trajectory import Trajectory

_SIDE: Final = 16
"""Images are compared as thumbnails of this side."""


def image_sums(trajectories: Sequence[Trajectory]) -> dict[str, tuple[float, float]]:
    """Name to (sum, how many) over the final images; empty without any.

    In 0..1: image/brightness, image/contrast (standard deviation of brightness), image/saturation,
    and image/diversity: mean absolute difference of thumbnails, pairs of one group. In nats, over
    images of tokens alone: image/entropy, estimated as that of texts.
    """
    sums: dict[str, tuple[float, float]] = {}
    shown = [trajectory for trajectory in trajectories if trajectory.final_images]
    for _, members in groupby(shown, key=lambda trajectory: trajectory.program.group):
        small = [_thumbnail(trajectory) for trajectory in members]
        for image in small:
            bright = image.mean(axis=2)
            _add(sums, "brightness", float(bright.mean()))
            _add(sums, "contrast", float(bright.std()))
            _add(sums, "saturation", float((image.max(axis=2) - image.min(axis=2)).mean()))
        for one, other in combinations(small, 2):
            _add(sums, "diversity", float(np.abs(one - other).mean()))
    for image_of_tokens in (image for one in trajectories for image in one.token_images):
        _add(sums, "entropy", -float(image_of_tokens.logp_T.mean()))
    return sums


def text_sums(trajectories: Sequence[Trajectory]) -> dict[str, tuple[float, float]]:
    """text/completion_length, text/finished and text/entropy over all sampled texts.

    The entropy of a token is estimated as minus the log-probability of the sampled one, mean over
    the tokens of a text. Empty without any text.
    """
    texts = [text for trajectory in trajectories for text in trajectory.texts]
    if not texts:
        return {}
    number = float(len(texts))
    sure = [float(text.logp_T.mean()) for text in texts if text.ids]
    return {
        "text/completion_length": (float(sum(len(text.ids) for text in texts)), number),
        "text/finished": (float(sum(text.finished for text in texts)), number),
        "text/entropy": (-math.fsum(sure), float(len(sure))),
    }


def _thumbnail(trajectory: Trajectory) -> NDArray[np.float64]:
    image = trajectory.final_images[-1].convert("RGB").resize((_SIDE, _SIDE))
    return np.asarray(image, dtype=np.float64) / 255.0


def _add(sums: dict[str, tuple[float, float]], name: str, value: float) -> None:
    total, number = sums.get(f"image/{name}", (0.0, 0.0))
    sums[f"image/{name}"] = (total + value, number + 1.0)
