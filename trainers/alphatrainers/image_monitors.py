"""How a policy's images look in the mean: early signs of collapse that no reward shows.

Knows no reward; numbers for the log and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, groupby
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alphatrainers.trajectory import Trajectory

_SIDE: Final = 16
"""Images are compared as thumbnails of this side."""


class Thumbnail(NamedTuple):
    """A trajectory's final image, small enough to be sent around."""

    program: str
    group: str
    image: NDArray[np.float64]


def thumbnails(trajectories: Sequence[Trajectory]) -> list[Thumbnail]:
    """Of all that have an image, in order."""
    return [
        Thumbnail(one.program.id, one.program.group, _thumbnail(one))
        for one in trajectories
        if one.final_images
    ]


def image_sums(
    trajectories: Sequence[Trajectory], elsewhere: Sequence[Thumbnail] = ()
) -> dict[str, tuple[float, float]]:
    """Name to (sum, how many) over the final images; empty without any.

    In 0..1: image/brightness, image/contrast (standard deviation of brightness), image/saturation,
    and image/diversity: mean absolute difference of thumbnails, pairs of one group. In nats, over
    images of tokens alone: image/entropy, estimated as that of texts.

    Args:
        trajectories: of this process, a group together.
        elsewhere: images of other processes, where groups are split over them; the pair of two
            processes counts in one of them.
    """
    sums: dict[str, tuple[float, float]] = {}
    for group, members in groupby(thumbnails(trajectories), key=lambda one: one.group):
        own, others = list(members), [one for one in elsewhere if one.group == group]
        small = [one.image for one in own]
        for mine, other in ((a, b) for a in own for b in others if a.program < b.program):
            _add(sums, "diversity", float(np.abs(mine.image - other.image).mean()))
        for image in small:
            bright = image.mean(axis=2)
            _add(sums, "brightness", float(bright.mean()))
            _add(sums, "contrast", float(bright.std()))
            _add(sums, "saturation", float((image.max(axis=2) - image.min(axis=2)).mean()))
        for first, second in combinations(small, 2):
            _add(sums, "diversity", float(np.abs(first - second).mean()))
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
