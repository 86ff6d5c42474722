"""Noise levels of a trajectory, and how fast an old policy follows the trained one.

A schedule of N points has N - 1 steps. BAGEL's `num_timesteps` counts points; DanceGRPO, Flow-GRPO
and diffusers count steps: the two functions below are named after what they count. Knows no model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final


def sigmas_of_points(n_points: int, *, shift: float = 1.0) -> tuple[float, ...]:
    """Falling noise levels from 1 to 0 (BAGEL `bagel.py`, `generate_image`, commit 056b5fd).

    u runs evenly from 1 to 0; sigma = shift * u / (1 + (shift - 1) * u).

    Args:
        n_points: number of noise levels, at least 2; one more than there are steps.
        shift: above 0; 1 is linear, larger values spend more steps at high noise.

    Raises:
        ValueError: for fewer than 2 points or a shift that is not a positive number.
    """
    if n_points < 2:
        raise ValueError(f"n_points={n_points!r} leaves no step")
    if not (math.isfinite(shift) and shift > 0.0):
        raise ValueError(f"shift={shift!r} is not a positive number")
    last = n_points - 1
    levels = ((last - index) / last for index in range(n_points))
    # Written so that the first level is exactly 1 for every shift.
    return tuple(shift * u / ((1.0 - u) + shift * u) for u in levels)


def sigmas_of_steps(n_steps: int, *, shift: float = 1.0) -> tuple[float, ...]:
    """Noise levels of `n_steps` steps: one more value than steps."""
    return sigmas_of_points(n_steps + 1, shift=shift)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decay:
    """Share of the old policy that stays at an update: old <- d * old + (1 - d) * current.

    d(step) = min(cap, rate * max(0, step - start)); d = 0 makes old and current the same.
    """

    rate: float
    start: int = 0
    cap: float

    def __post_init__(self) -> None:
        if self.rate < 0.0 or self.start < 0 or not 0.0 <= self.cap < 1.0:
            raise ValueError(f"{self!r} is no decay: rate, start >= 0 and 0 <= cap < 1")

    def at(self, step: int) -> float:
        """The share at an update's number, counted from 0."""
        return min(self.cap, self.rate * max(0, step - self.start))


DECAYS: Final = {
    # DiffusionNFT `scripts/train_nft_sd3.py`, `return_decay` types 0 to 2 (commit 24af555).
    "none": Decay(rate=0.0, cap=0.0),
    "early": Decay(rate=0.001, cap=0.5),
    "late": Decay(rate=0.0075, start=75, cap=0.999),
    # AWM (commit be51372) and AlphaGRPO: a ramp to 0.3.
    "ramp": Decay(rate=0.001, cap=0.3),
}
