"""Image losses: gradients against finite differences, on-policy values, laws and refusals."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from alphatrainers.algorithms.losses.image import (
    NoisedLatent,
    Weighting,
    awm,
    awm_log_prob,
    flow_grpo,
    guard,
    nft,
)
from alphatrainers.algorithms.losses.surrogate import Clip
from alphatrainers.algorithms.sde_steps import cps, flow_sde, log_prob, move

GENERATOR = torch.Generator().manual_seed(11)
X_BX, V_BX, OLD_BX, NOISE_BX, X0_BX = torch.randn(
    5, 3, 4, 2, generator=GENERATOR, dtype=torch.float64
)
ADVANTAGE_B = torch.tensor([1.0, -0.5, 0.25], dtype=torch.float64)
NOISED = NoisedLatent(X0_BX, NOISE_BX, torch.tensor([0.9, 0.5, 0.2], dtype=torch.float64))
LEVELS = {"sigma": 0.8, "sigma_next": 0.6, "eta": 0.7, "sigma_cap": 0.9}
WIDE = Clip(low=1.0, high=50.0)
OLD = flow_sde(X_BX, OLD_BX, **LEVELS)
NEXT_BX = move(OLD, NOISE_BX)


def near_old() -> Tensor:
    """A velocity that differs from the old one by little, ready for a gradient."""
    v_BX: Tensor = OLD_BX + 0.05 * V_BX
    return v_BX.requires_grad_()


def flow_loss(v_BX: Tensor) -> Tensor:
    logp_B = log_prob(flow_sde(X_BX, v_BX, **LEVELS), NEXT_BX)
    return flow_grpo(logp_B, log_prob(OLD, NEXT_BX), ADVANTAGE_B, clip=WIDE).loss_N


def guard_loss(v_BX: Tensor, *, reweight: bool = False, rows: slice = slice(None)) -> Tensor:
    step = flow_sde(X_BX[rows], v_BX[rows], **LEVELS)
    return guard(
        log_prob(step, NEXT_BX[rows]),
        log_prob(OLD, NEXT_BX)[rows],
        ADVANTAGE_B[rows],
        step=step,
        mean_old_BX=OLD.mean_BX[rows],
        clip=WIDE,
        reweight=reweight,
    ).loss_N


def awm_loss(v_BX: Tensor, weighting: Weighting) -> Tensor:
    new_B = awm_log_prob(v_BX, NOISED, weighting=weighting)
    return awm(new_B, awm_log_prob(OLD_BX, NOISED, weighting=weighting), ADVANTAGE_B).loss_N


def test_the_gradients_of_flow_grpo_and_guard_equal_finite_differences() -> None:
    assert torch.autograd.gradcheck(flow_loss, (near_old(),))
    assert torch.autograd.gradcheck(guard_loss, (near_old(),))
    assert torch.autograd.gradcheck(lambda v_BX: guard_loss(v_BX, reweight=True), (near_old(),))


@pytest.mark.parametrize("weighting", get_args(Weighting))
def test_the_gradient_of_awm_equals_finite_differences(weighting: Weighting) -> None:
    assert torch.autograd.gradcheck(lambda v_BX: awm_loss(v_BX, weighting), (near_old(),))


@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_the_gradient_of_nft_equals_finite_differences_with_its_weights_held_fast(
    beta: float,
) -> None:
    t_BX = NOISED.t_B.reshape(3, 1, 1)
    x_t_BX = (1.0 - t_BX) * X0_BX + t_BX * NOISE_BX
    share_B = ADVANTAGE_B.clamp(-5.0, 5.0) / 10.0 + 0.5

    def errors(v_BX: Tensor) -> tuple[Tensor, Tensor]:
        better_BX = (1.0 - beta) * OLD_BX + beta * v_BX
        worse_BX = (1.0 + beta) * OLD_BX - beta * v_BX
        return x_t_BX - t_BX * better_BX - X0_BX, x_t_BX - t_BX * worse_BX - X0_BX

    weights_B = [error_BX.abs().mean((1, 2)) for error_BX in errors(V_BX)]

    def held(v_BX: Tensor) -> Tensor:
        better_BX, worse_BX = errors(v_BX)
        better_B = (better_BX**2).mean((1, 2)) / weights_B[0]
        worse_B = (worse_BX**2).mean((1, 2)) / weights_B[1]
        return 5.0 * (share_B * better_B + (1.0 - share_B) * worse_B) / beta

    v_BX = V_BX.clone().requires_grad_()
    loss_B = nft(v_BX, OLD_BX, NOISED, ADVANTAGE_B, beta=beta).loss_B
    torch.testing.assert_close(loss_B, held(v_BX))
    assert torch.autograd.gradcheck(held, (v_BX,))
    (found_BX,) = torch.autograd.grad(loss_B.sum(), v_BX)
    (expected_BX,) = torch.autograd.grad(held(v_BX).sum(), v_BX)
    torch.testing.assert_close(found_BX, expected_BX)


def test_the_velocity_form_of_nft_times_the_noise_level_is_the_same_number() -> None:
    # AlphaGRPO's form: errors of velocities, each half multiplied by sigma.
    found = nft(V_BX, OLD_BX, NOISED, ADVANTAGE_B)
    error_BX = V_BX - (NOISE_BX - X0_BX)
    velocity_B = (error_BX**2).mean((1, 2)) / error_BX.abs().mean((1, 2))
    torch.testing.assert_close(found.positive_B, NOISED.t_B * velocity_B)


def test_at_the_old_policy_nft_pushes_by_the_sign_of_the_advantage() -> None:
    v_BX = OLD_BX.clone().requires_grad_()
    advantage_B = torch.tensor([2.0, 0.0, -2.0], dtype=torch.float64)
    loss_B = nft(v_BX, OLD_BX, NOISED, advantage_B).loss_B
    (gradient_BX,) = torch.autograd.grad(loss_B.sum(), v_BX)
    towards_BX = OLD_BX - (NOISE_BX - X0_BX)
    pushes_B = (gradient_BX * towards_BX).sum((1, 2))
    assert pushes_B[0] > 0.0
    assert pushes_B[1].abs() < 1e-12
    assert pushes_B[2] < 0.0


def test_away_from_the_old_policy_nft_pulls_back_even_without_an_advantage() -> None:
    v_BX = V_BX.clone().requires_grad_()
    loss_B = nft(v_BX, OLD_BX, NOISED, torch.zeros(3, dtype=torch.float64)).loss_B
    (gradient_BX,) = torch.autograd.grad(loss_B.sum(), v_BX)
    assert gradient_BX.abs().amax((1, 2)).min() > 1e-3


def test_on_policy_every_ratio_is_exactly_one_in_float32() -> None:
    step = flow_sde(X_BX.float(), OLD_BX.float(), **LEVELS)
    logp_B = log_prob(step, NEXT_BX.float())
    advantage_B = ADVANTAGE_B.float()
    clip = Clip(low=2e-6, high=2e-6)
    guarded = guard(logp_B, logp_B, advantage_B, step=step, mean_old_BX=step.mean_BX, clip=clip)
    for found in (
        flow_grpo(logp_B, logp_B, advantage_B),
        guarded,
        awm(logp_B, logp_B, advantage_B),
    ):
        assert torch.equal(found.ratio_N, torch.ones(3))
        assert found.loss_N.dtype == torch.float32
        assert not (found.above_N | found.below_N).any()


def test_a_sample_of_the_guard_does_not_depend_on_its_batch() -> None:
    v_BX = near_old().detach()
    whole_B = guard_loss(v_BX)
    for row in range(3):
        assert torch.equal(guard_loss(v_BX, rows=slice(row, row + 1)), whole_B[row : row + 1])


def test_the_guard_divides_by_the_length_of_the_step_when_asked() -> None:
    v_BX = near_old().detach()
    torch.testing.assert_close(guard_loss(v_BX, reweight=True), guard_loss(v_BX) / 0.2)


@settings(deadline=None)
@given(st.floats(5.0, 1e6))
def test_advantages_beyond_the_limit_count_as_the_limit(advantage: float) -> None:
    logp_B = torch.tensor([-1.0], dtype=torch.float64)
    one, other = (
        flow_grpo(logp_B, logp_B, torch.tensor([value], dtype=torch.float64)).loss_N
        for value in (advantage, 5.0)
    )
    assert torch.equal(one, other)


def test_old_values_carry_no_gradient() -> None:
    old_B = torch.zeros(3, requires_grad=True)
    new_B = torch.zeros(3, requires_grad=True)
    flow_grpo(new_B, old_B, torch.ones(3)).loss_N.sum().backward()  # type: ignore[no-untyped-call]
    assert old_B.grad is None
    assert new_B.grad is not None


def test_a_bad_sample_under_awm_is_pushed_away_from_its_image() -> None:
    v_BX = near_old()
    (gradient_BX,) = torch.autograd.grad(awm_loss(v_BX, "ghuber").sum(), v_BX)
    towards_BX = v_BX.detach() - (NOISE_BX - X0_BX)
    pushes_B = (gradient_BX * towards_BX).sum((1, 2))
    assert torch.equal(pushes_B.sign(), ADVANTAGE_B.sign())


def test_the_guard_refuses_steps_for_which_it_is_not_defined() -> None:
    step = cps(X_BX, V_BX, sigma=0.8, sigma_next=0.6, eta=0.7)
    logp_B = log_prob(step, NEXT_BX)
    with pytest.raises(ValueError, match="not defined for a 'cps'"):
        guard(logp_B, logp_B, ADVANTAGE_B, step=step, mean_old_BX=step.mean_BX, clip=WIDE)


def test_impossible_options_and_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        nft(V_BX, OLD_BX, NOISED, ADVANTAGE_B, beta=0.0)
    with pytest.raises(ValueError, match="differ"):
        nft(V_BX, OLD_BX, NOISED, ADVANTAGE_B[:, None])
    with pytest.raises(ValueError, match="none of uniform"):
        awm_log_prob(V_BX, NOISED, weighting="elbo")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="power"):
        awm_log_prob(V_BX, NOISED, power=0.0)
    with pytest.raises(ValueError, match="one shape"):
        flow_grpo(torch.zeros(3), torch.zeros(3), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="differ in shape"):
        guard(ADVANTAGE_B, ADVANTAGE_B, ADVANTAGE_B, step=OLD, mean_old_BX=X_BX[:1], clip=WIDE)
