"""How far rewards of one image lie apart when it is scored again: differences within are no signal.

Without a floor, a group whose rewards differ by the judge's noise alone is trained like any other,
since its advantages are divided by that noise. Knows no judge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from alphatrainers.settings import AdvantageSettings

NOISE_FACTOR: Final = 2.0
"""A group of n equally good images has a sample standard deviation above this many of the noise
with a chance of 5% for n = 2, 1% for n = 4 and below 0.01% for n = 12 (normal noise)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeNoise:
    """Two further scores of the same trajectories, compared."""

    differences: tuple[Mapping[str, float], ...]
    """By reward, the second minus the first; one for each trajectory that has all of both."""

    def __post_init__(self) -> None:
        if len(self.differences) < 2:
            raise ValueError(f"{len(self.differences)} differences: at least 2 make a spread")

    def deviation(self, weights: Mapping[str, float]) -> float:
        """Standard deviation of one score of the weighted sum.

        A difference of two independent scores has twice the variance of one.
        """
        sums = [
            math.fsum(weight * one[name] for name, weight in weights.items())
            for one in self.differences
        ]
        return math.sqrt(math.fsum(d * d for d in sums) / len(sums) / 2.0)


def spread_floor(
    settings: AdvantageSettings, noise: JudgeNoise | None, weights: Mapping[str, float]
) -> float:
    """The standard deviation up to which a group's weighted sums of rewards count as equal."""
    measured = 0.0 if noise is None else NOISE_FACTOR * noise.deviation(weights)
    return max(settings.flat_below, measured)
