"""Laws of the denoising steps: limits, moments, gradients and dtypes."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from alphatrainers.algorithms.sde_steps import (
    DenoisingStep,
    cps,
    dance,
    flow_sde,
    log_prob,
    move,
    ode,
)

Kernel = Callable[[Tensor, Tensor, float, float, float], DenoisingStep]
KERNELS: dict[str, Kernel] = {
    "flow_sde": lambda x, v, high, low, eta: flow_sde(
        x, v, sigma=high, sigma_next=low, eta=eta, sigma_cap=0.95
    ),
    "cps": lambda x, v, high, low, eta: cps(x, v, sigma=high, sigma_next=low, eta=eta),
    "dance": lambda x, v, high, low, eta: dance(x, v, sigma=high, sigma_next=low, eta=eta),
}
NAMES = st.sampled_from(sorted(KERNELS))
LEVELS = (
    st.lists(st.floats(0.01, 1.0), min_size=2, max_size=2, unique=True)
    .map(lambda pair: (max(pair), min(pair)))
    .filter(lambda pair: pair[0] - pair[1] > 1e-3)
)


def latents(seed: int = 0, n: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x_BX, v_BX, noise_BX = torch.randn(3, n, 4, 5, generator=generator, dtype=torch.float64)
    return x_BX, v_BX, noise_BX


@settings(deadline=None)
@given(NAMES, LEVELS)
def test_without_noise_every_kernel_is_the_plain_step(
    name: str, levels: tuple[float, float]
) -> None:
    x_BX, v_BX, noise_BX = latents()
    step = KERNELS[name](x_BX, v_BX, *levels, 0.0)
    plain = ode(x_BX, v_BX, sigma=levels[0], sigma_next=levels[1])
    assert step.std == 0.0
    torch.testing.assert_close(move(step, noise_BX), plain.mean_BX, atol=1e-12, rtol=1e-10)


@settings(deadline=None)
@given(LEVELS, st.floats(0.0, 1.0))
def test_cps_keeps_the_noise_level_of_the_schedule(levels: tuple[float, float], eta: float) -> None:
    # With a known image and known noise the step's parts must have variance sigma_next^2.
    image_BX, noise_BX, _ = latents()
    high, low = levels
    x_BX = (1.0 - high) * image_BX + high * noise_BX
    step = cps(x_BX, noise_BX - image_BX, sigma=high, sigma_next=low, eta=eta)
    kept_BX = (step.mean_BX - (1.0 - low) * image_BX) / noise_BX
    square_BX = kept_BX**2 + step.std**2
    torch.testing.assert_close(square_BX, torch.full_like(square_BX, low**2), atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("name", ["flow_sde", "dance"])
def test_the_stochastic_drift_is_the_plain_one_plus_half_the_spread_times_the_score(
    name: str,
) -> None:
    x_BX, v_BX, _ = latents()
    sigma, sigma_next = 0.6, 0.45
    step = KERNELS[name](x_BX, v_BX, sigma, sigma_next, 0.7)
    noise_BX = x_BX + (1.0 - sigma) * v_BX
    score_BX = -noise_BX / sigma
    expected_BX = x_BX + (v_BX - 0.5 * step.spread**2 * score_BX) * step.dt
    torch.testing.assert_close(step.mean_BX, expected_BX, atol=1e-12, rtol=1e-12)


@settings(deadline=None)
@given(NAMES, LEVELS, st.floats(0.05, 1.0), st.integers(0, 50))
def test_the_gaussian_log_probability_is_torchs_normal_averaged(
    name: str, levels: tuple[float, float], eta: float, seed: int
) -> None:
    x_BX, v_BX, noise_BX = latents(seed)
    step = KERNELS[name](x_BX, v_BX, *levels, eta)
    next_BX = move(step, noise_BX)
    normal = torch.distributions.Normal(step.mean_BX, step.std)
    expected_BX: Tensor = normal.log_prob(next_BX)  # type: ignore[no-untyped-call]
    found_B = log_prob(step, next_BX, density="gaussian")
    torch.testing.assert_close(found_B, expected_BX.flatten(1).mean(1), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", KERNELS)
def test_the_gradient_of_the_log_probability_equals_finite_differences(name: str) -> None:
    x_BX, v_BX, noise_BX = latents()
    next_BX = move(KERNELS[name](x_BX, v_BX, 0.8, 0.6, 0.7), noise_BX)

    def score(velocity_BX: Tensor) -> Tensor:
        return log_prob(KERNELS[name](x_BX, velocity_BX, 0.8, 0.6, 0.7), next_BX)

    assert torch.autograd.gradcheck(score, (v_BX.requires_grad_(),))


@pytest.mark.parametrize("name", KERNELS)
def test_on_policy_the_ratio_is_exactly_one_in_float32(name: str) -> None:
    x_BX, v_BX, noise_BX = (value.float() for value in latents())
    old = KERNELS[name](x_BX, v_BX, 0.8, 0.6, 0.7)
    next_BX = move(old, noise_BX)
    again = KERNELS[name](x_BX, v_BX, 0.8, 0.6, 0.7)
    ratio_B = (log_prob(again, next_BX) - log_prob(old, next_BX)).exp()
    assert torch.equal(ratio_B, torch.ones(3))


@pytest.mark.parametrize("name", KERNELS)
def test_a_sample_does_not_depend_on_its_batch(name: str) -> None:
    x_BX, v_BX, noise_BX = latents()
    whole = KERNELS[name](x_BX, v_BX, 0.8, 0.6, 0.7)
    alone = KERNELS[name](x_BX[1:2], v_BX[1:2], 0.8, 0.6, 0.7)
    assert torch.equal(whole.mean_BX[1:2], alone.mean_BX)
    next_BX = move(whole, noise_BX)
    assert torch.equal(log_prob(whole, next_BX)[1:2], log_prob(alone, next_BX[1:2]))


def test_half_precision_is_widened_before_the_arithmetic() -> None:
    x_BX, v_BX, _ = (value.bfloat16() for value in latents())
    step = flow_sde(x_BX, v_BX, sigma=0.8, sigma_next=0.6, eta=0.7, sigma_cap=0.9)
    wide = flow_sde(x_BX.float(), v_BX.float(), sigma=0.8, sigma_next=0.6, eta=0.7, sigma_cap=0.9)
    assert step.mean_BX.dtype == torch.float32
    assert torch.equal(step.mean_BX, wide.mean_BX)


def test_the_first_step_is_finite_through_its_cap() -> None:
    x_BX, v_BX, _ = latents()
    step = flow_sde(x_BX, v_BX, sigma=1.0, sigma_next=0.9, eta=0.7, sigma_cap=0.9)
    assert step.spread == pytest.approx(0.7 * math.sqrt(10.0))


@pytest.mark.parametrize("levels", [(0.5, 0.5), (0.4, 0.5), (1.1, 0.5), (0.5, -0.1)])
@pytest.mark.parametrize("name", KERNELS)
def test_levels_that_do_not_fall_within_one_to_zero_are_refused(
    name: str, levels: tuple[float, float]
) -> None:
    x_BX, v_BX, _ = latents()
    with pytest.raises(ValueError, match="does not fall"):
        KERNELS[name](x_BX, v_BX, *levels, 0.5)


def test_impossible_caps_shares_and_densities_are_refused() -> None:
    x_BX, v_BX, _ = latents()
    with pytest.raises(ValueError, match="sigma_cap"):
        flow_sde(x_BX, v_BX, sigma=1.0, sigma_next=0.9, eta=0.7, sigma_cap=1.0)
    with pytest.raises(ValueError, match="eta"):
        cps(x_BX, v_BX, sigma=1.0, sigma_next=0.9, eta=1.5)
    step = ode(x_BX, v_BX, sigma=1.0, sigma_next=0.9)
    with pytest.raises(ValueError, match="none of gaussian"):
        log_prob(step, x_BX, density="normal")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="without spread"):
        log_prob(step, x_BX)
