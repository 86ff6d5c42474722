"""Rewards of your own for `alphabench train`: a function of images, and an object that sees texts.

    cd examples
    alphabench train nano-rt2i training.steps=2 "validation=[]" \
        "rewards={colour: {kind: python, factory: 'reward_function:colourfulness'}}"

docs/extending/reward.md walks through this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL.Image import Image

from alphatrainers.protocols import Score
from alphatrainers.trajectory import Trajectory


def colourfulness(
    prompts: list[str], images: list[Image], *, scale: float = 100.0
) -> list[float | None]:
    """One reward for each image: how colourful it is, after Hasler and Süsstrunk (2003).

    Args:
        prompts: the text of each image's prompt. This reward does not read them.
        images: the last image of each trajectory, RGB.
        scale: the reward is the published measure divided by this. An option of the recipe.
    """
    del prompts
    found: list[float | None] = []
    for image in images:
        red, green, blue = np.moveaxis(np.asarray(image, dtype=np.float64), -1, 0)
        red_green, yellow_blue = red - green, (red + green) / 2.0 - blue
        spread = np.hypot(red_green.std(), yellow_blue.std())
        distance = np.hypot(red_green.mean(), yellow_blue.mean())
        found.append(float(spread + 0.3 * distance) / scale)
    return found


class ShortThoughts:
    """A complete reward: 1 for a thought of at most `words` words, falling to 0 at twice that.

    It sees whole trajectories: texts, images, and what the prompt file says about each prompt.
    """

    def __init__(self, words: int = 40) -> None:
        self.words = words

    @property
    def identity(self) -> Mapping[str, str]:
        """What decides its numbers. A training resumes only with the same identity."""
        return {"kind": "short_thoughts", "version": "1", "words": str(self.words)}

    def score(self, trajectories: Sequence[Trajectory]) -> list[Score]:
        """One score for each trajectory, in order; a reason in the place of a missing value."""
        return [self._score(one) for one in trajectories]

    def _score(self, trajectory: Trajectory) -> Score:
        if not trajectory.texts:
            return Score(value=None, reason="the task generates no text")
        length = len(trajectory.texts[-1].text.split())
        return Score(value=min(1.0, max(0.0, 2.0 - length / self.words)))
