"""Rewards without a judge: how bright an image is, and one that only rises."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL.Image import Image

from alphatrainers.protocols import Score
from alphatrainers.trajectory import Trajectory


def mean_brightness(prompts: list[str], images: list[Image]) -> list[float | None]:
    """Mean level of each image, from 0 to 1."""
    del prompts
    return [float(np.asarray(image, dtype=np.float64).mean()) / 255.0 for image in images]


class RisingReward:
    """Pays more at each call, whatever the images are: a training by it looks like a hacked one."""

    def __init__(self) -> None:
        self.calls = 0

    @property
    def identity(self) -> dict[str, str]:
        return {"kind": "rising", "version": "1"}

    def score(self, trajectories: Sequence[Trajectory]) -> list[Score]:
        """Brightness, plus the number of the call."""
        self.calls += 1
        images = [one.final_images[-1] for one in trajectories]
        levels = mean_brightness([], images)
        return [Score(value=(level or 0.0) + self.calls) for level in levels]
