"""The clipped ratio: its gradient, its sides, and what it refuses to broadcast."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alphatrainers.algorithms.losses.surrogate import Clip, clipped_surrogate

CLIP = Clip(low=0.2, high=0.28)


def test_the_gradient_equals_finite_differences_away_from_the_corners() -> None:
    log_ratio_N = torch.tensor([0.1, -0.1, 0.5, -0.5, 0.6, -0.7], dtype=torch.float64)
    advantage_N = torch.tensor([1.0, -1.0, 1.0, 1.0, -2.0, -0.5], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda value: clipped_surrogate(value, advantage_N, CLIP).loss_N,
        (log_ratio_N.requires_grad_(),),
    )


@settings(deadline=None)
@given(st.floats(-2.0, 2.0), st.floats(-5.0, 5.0))
def test_a_step_that_has_gone_far_enough_gets_no_further_push(
    log_ratio: float, advantage: float
) -> None:
    value_N = torch.tensor([log_ratio], dtype=torch.float64, requires_grad=True)
    found = clipped_surrogate(value_N, torch.tensor([advantage], dtype=torch.float64), CLIP)
    (gradient_N,) = torch.autograd.grad(found.loss_N.sum(), value_N)
    ratio = float(value_N.detach().exp())
    too_far = (advantage > 0 and ratio > 1.28) or (advantage < 0 and ratio < 0.8)
    expected = 0.0 if too_far else -advantage * ratio
    assert float(gradient_N) == pytest.approx(expected, abs=1e-12)


def test_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        clipped_surrogate(torch.zeros(3), torch.zeros(3, 1), CLIP)


def test_half_precision_ratios_are_computed_in_float32() -> None:
    found = clipped_surrogate(torch.zeros(2).bfloat16(), torch.ones(2).bfloat16(), CLIP)
    assert found.loss_N.dtype == found.ratio_N.dtype == torch.float32


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.1), (1.1, 0.1), (0.1, 0.0), (0.1, float("inf"))])
def test_a_clip_that_is_no_range_is_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="low is above 0"):
        Clip(low=low, high=high)
