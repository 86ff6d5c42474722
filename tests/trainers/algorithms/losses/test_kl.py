"""Distances to a reference: closed forms, relations between them, refusals."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from alphatrainers.algorithms.losses.kl import step_kl, token_kl, velocity_kl
from alphatrainers.algorithms.sde_steps import cps, dance, flow_sde, ode

GENERATOR = torch.Generator().manual_seed(5)
X_BX, V_BX, REF_BX = torch.randn(3, 2, 4, 3, generator=GENERATOR, dtype=torch.float64)
LEVELS = {"sigma": 0.7, "sigma_next": 0.5, "eta": 0.6}


def test_the_exact_distance_is_torchs_divergence_of_two_normals() -> None:
    step, reference = (flow_sde(X_BX, v_BX, **LEVELS, sigma_cap=0.9) for v_BX in (V_BX, REF_BX))
    normals = [torch.distributions.Normal(one.mean_BX, one.std) for one in (step, reference)]
    expected_BX: Tensor = torch.distributions.kl_divergence(*normals)
    found_B = step_kl(step, reference, kind="gaussian")
    torch.testing.assert_close(found_B, expected_BX.flatten(1).mean(1))


@pytest.mark.parametrize("kind", ["flow_sde", "dance"])
def test_flow_grpos_distance_is_the_exact_one_times_the_length_of_the_step(kind: str) -> None:
    steps = [
        flow_sde(X_BX, v_BX, **LEVELS, sigma_cap=0.9)
        if kind == "flow_sde"
        else dance(X_BX, v_BX, **LEVELS)
        for v_BX in (V_BX, REF_BX)
    ]
    exact_B = step_kl(steps[0], steps[1], kind="gaussian")
    found_B = step_kl(steps[0], steps[1], kind="flow_grpo")
    torch.testing.assert_close(found_B, exact_B * 0.2)


def test_every_distance_to_oneself_is_zero() -> None:
    step = cps(X_BX, V_BX, **LEVELS)
    assert step_kl(step, step, kind="gaussian").abs().max() == 0.0
    assert step_kl(step, step, kind="x_mse").abs().max() == 0.0
    assert velocity_kl(V_BX, V_BX).abs().max() == 0.0


def test_gradients_equal_finite_differences() -> None:
    reference = flow_sde(X_BX, REF_BX, **LEVELS, sigma_cap=0.9)

    def distance(v_BX: Tensor) -> Tensor:
        step = flow_sde(X_BX, v_BX, **LEVELS, sigma_cap=0.9)
        return step_kl(step, reference, kind="gaussian") + velocity_kl(v_BX, REF_BX)

    assert torch.autograd.gradcheck(distance, (V_BX.clone().requires_grad_(),))


def test_the_estimates_of_text_average_to_the_divergence_they_estimate() -> None:
    policy_V = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    reference_V = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    exact = (policy_V * (policy_V / reference_V).log()).sum()
    mask_BT = torch.ones(1, 3, dtype=torch.bool)
    for kind in ("k1", "k3"):
        each_BT = token_kl(policy_V.log()[None], reference_V.log()[None], mask_BT, kind=kind)
        torch.testing.assert_close((each_BT[0] * policy_V).sum(), exact)


def test_k2_is_half_the_square_and_masked_tokens_are_zero_whatever_they_hold() -> None:
    logp_BT = torch.tensor([[-1.0, float("nan")]])
    mask_BT = torch.tensor([[True, False]])
    found_BT = token_kl(logp_BT, torch.tensor([[-1.4, -1.0]]), mask_BT, kind="k2")
    torch.testing.assert_close(found_BT, torch.tensor([[0.08, 0.0]]))


def test_steps_that_cannot_be_compared_are_refused() -> None:
    step = flow_sde(X_BX, V_BX, **LEVELS, sigma_cap=0.9)
    with pytest.raises(ValueError, match="two different steps"):
        step_kl(step, dance(X_BX, V_BX, **LEVELS), kind="gaussian")
    plain = ode(X_BX, V_BX, sigma=0.7, sigma_next=0.5)
    with pytest.raises(ValueError, match="without spread"):
        step_kl(plain, plain, kind="gaussian")
    with pytest.raises(ValueError, match="does not compare"):
        step_kl(step, step, kind="v_mse")
    with pytest.raises(ValueError, match="none of k1"):
        token_kl(torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1, 1).bool(), kind="k4")  # type: ignore[arg-type]
