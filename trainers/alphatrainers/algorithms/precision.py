"""Widens tensors before arithmetic. Knows no formula and moves no device.

Log-probabilities, ratios and losses are differences of nearly equal numbers: they are computed in
float32, or in float64 where a tensor already is float64; never in half precision.
"""

from __future__ import annotations

import torch
from torch import Tensor


def widen(tensor: Tensor) -> Tensor:
    """The tensor in float32, or unchanged in float64."""
    return tensor if tensor.dtype == torch.float64 else tensor.to(torch.float32)


def mean_over_elements(value_BX: Tensor) -> Tensor:
    """Mean over all but the first axis, one number a sample (shape B)."""
    return value_BX.flatten(1).mean(1) if value_BX.ndim > 1 else value_BX


def per_sample(value_B: Tensor, like_BX: Tensor) -> Tensor:
    """`value_B` with trailing axes of length 1, so that it broadcasts over `like_BX`."""
    return value_B.reshape(-1, *([1] * (like_BX.ndim - 1)))
