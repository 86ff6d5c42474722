"""Which denoising steps are stochastic and trained; all others are plain steps.

A window is a `range` of step numbers. It depends on its arguments alone, so every process of a
group that passes the same ones trains the same steps. Knows no schedule and no model.
"""

from __future__ import annotations

import random
from typing import Literal

AtEnd = Literal["restart", "released", "released_without_restart"]


def static_window(n_steps: int, *, start: int, size: int) -> range:
    """The same steps always: start, ..., start + size - 1.

    Raises:
        ValueError: if a window of that size does not fit into the trajectory's steps.
    """
    if size < 1 or start < 0 or start + size > n_steps:
        raise ValueError(f"a window of {size} steps from step {start} is not within {n_steps}")
    return range(start, start + size)


def legal_starts(n_steps: int, *, size: int, low: int, high: int) -> range:
    """Where a window may start so that it lies within steps low, ..., high - 1.

    Flow-GRPO-Fast and AlphaGRPO (`sde_window_range`): both ends are included, so
    size 5 within (0, 15) starts at 0 to 10.

    Raises:
        ValueError: if no window fits.
    """
    if size < 1 or low < 0 or high > n_steps or low + size > high:
        raise ValueError(
            f"no window of {size} steps fits between step {low} and {high} of {n_steps}"
        )
    return range(low, high - size + 1)


def random_window(
    n_steps: int, *, size: int, low: int, high: int, seed: int, rollout: int
) -> range:
    """A window sampled once a rollout, uniformly from `legal_starts`.

    Args:
        n_steps: steps of the trajectory (points of the schedule less one).
        size: steps trained.
        low: first step that may be trained.
        high: one past the last step that may be trained.
        seed: of the run.
        rollout: number of the rollout; a resumed training gets the same windows as the
        uninterrupted one.
    """
    starts = legal_starts(n_steps, size=size, low=low, high=high)
    # A string is hashed by its bytes: neighbouring seeds and rollouts share no stream.
    start = random.Random(f"window {seed} {rollout}").choice(starts)  # noqa: S311  no secret
    return range(start, start + size)


def progressive_window(
    iteration: int,
    *,
    n_steps: int,
    size: int,
    iterations: int,
    stride: int,
    at_end: AtEnd = "restart",
) -> range:
    """A window that slides from noise to image (MixGRPO `GRPOTrainingStates`, commit e5cdd6a).

    It stays for `iterations` iterations, then moves by `stride`; at the end it gets shorter.
    MixGRPO's own positions run to n_steps inclusively, where the window is EMPTY and nothing is
    trained: for one stay with its roll-back (`released`; only where a position equals n_steps),
    for ever without (`released_without_restart`). `restart` goes back before that.

    Args:
        iteration: number of the training iteration, from 0.
        n_steps: steps of the trajectory.
        size: steps trained.
        iterations: how long the window stays.
        stride: by how many steps it moves.
        at_end: what follows the last position.
    """
    if iteration < 0 or min(n_steps, size, iterations, stride) < 1:
        raise ValueError("iterations count from 0; steps, size, stay and stride are at least 1")
    moves = iteration // iterations
    if at_end == "restart":
        moves %= (n_steps - 1) // stride + 1
    elif at_end == "released":
        moves %= n_steps // stride + 1
    elif at_end != "released_without_restart":
        raise ValueError(f"at_end={at_end!r} is unknown")
    start = min(moves * stride, n_steps)
    return range(start, min(start + size, n_steps))
