"""The clipped policy ratio (PPO, arXiv 1707.06347, eq. 7), shared by image and text.

Knows not what a log-probability is of: a denoising step, a token or a sequence. Shapes: N samples
or tokens, any shape as long as all tensors have the same one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from alphatrainers.algorithms.precision import widen


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """The ratio counts no further than from 1 - low to 1 + high."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (0.0 < self.low <= 1.0 and 0.0 < self.high < math.inf):
            raise ValueError(f"{self!r}: low is above 0 and at most 1, high above 0 and finite")


class Surrogate(NamedTuple):
    """Loss and diagnostics, element by element; only `loss_N` has a gradient."""

    loss_N: Tensor
    ratio_N: Tensor
    above_N: Tensor
    """bool: the ratio lies above the clip range, whatever the sign of the advantage."""
    below_N: Tensor
    approx_kl_N: Tensor
    """Half the squared log-ratio (http://joschu.net/blog/kl-approx.html, k2)."""


def clipped_surrogate(log_ratio_N: Tensor, advantage_N: Tensor, clip: Clip) -> Surrogate:
    """-min(A * r, A * clip(r)) with r = exp(log-ratio).

    Raises:
        ValueError: if the shapes differ. Nothing is broadcast: a (B,) ratio times a (B, 1)
            advantage is a B x B matrix in which every sample gets the mean of all advantages.
    """
    if log_ratio_N.shape != advantage_N.shape:
        raise ValueError(
            f"log-ratios {tuple(log_ratio_N.shape)} and advantages {tuple(advantage_N.shape)} "
            "must have one shape"
        )
    log_ratio_N, advantage_N = widen(log_ratio_N), widen(advantage_N)
    ratio_N = log_ratio_N.exp()
    clipped_N = ratio_N.clamp(1.0 - clip.low, 1.0 + clip.high)
    loss_N = torch.maximum(-advantage_N * ratio_N, -advantage_N * clipped_N)
    seen_N = ratio_N.detach()
    return Surrogate(
        loss_N=loss_N,
        ratio_N=seen_N,
        above_N=seen_N > 1.0 + clip.high,
        below_N=seen_N < 1.0 - clip.low,
        approx_kl_N=0.5 * log_ratio_N.detach() ** 2,
    )
