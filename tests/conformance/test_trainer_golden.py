"""The trainer's numerics against reference values that the published trainers' code agreed with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from alphatrainers.algorithms import sde_steps
from alphatrainers.algorithms.advantages import (
    DANCE_GRPO,
    DR_GRPO,
    FLOW_GRPO,
    TRL,
    AdvantageScaling,
    group_advantages,
    separate_advantages,
)
from alphatrainers.algorithms.losses.image import (
    NoisedLatent,
    awm,
    awm_log_prob,
    flow_grpo,
    guard,
    nft,
)
from alphatrainers.algorithms.losses.kl import step_kl, token_kl, velocity_kl
from alphatrainers.algorithms.losses.reduction import mean_of_samples, mean_of_tokens
from alphatrainers.algorithms.losses.surrogate import Clip, clipped_surrogate
from alphatrainers.algorithms.losses.text import (
    TEXT_ALGORITHMS,
    TextAlgorithm,
    text_loss,
    token_losses,
)
from alphatrainers.algorithms.schedules import DECAYS, sigmas_of_points, sigmas_of_steps
from alphatrainers.algorithms.sde_steps import DenoisingStep
from alphatrainers.algorithms.windows import legal_starts, progressive_window

Read = Callable[[str], dict[str, Any]]
PRECISIONS = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-6)]
)
GROUPS = torch.tensor([0, 1, 0, 1, 0, 1, 2, 2, 2])
FLAT_GROUP = slice(6, 9)


@pytest.fixture
def read(shared: Path) -> Read:
    def one(name: str) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(
            (shared / "golden" / "trainer" / f"{name}.json").read_text(),
            object_hook=lambda found: float("nan") if "nonfinite" in found else found,
        )
        return values

    return one


def tensor(nested: Any, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.tensor(nested, dtype=dtype)


def assert_close(found: Tensor, expected: Any, tolerance: float = 1e-10) -> None:
    """Absolute for small values, relative above 1."""
    reference = tensor(expected)
    torch.testing.assert_close(found.double(), reference, atol=tolerance, rtol=tolerance)


def test_schedules_count_points_or_steps_as_their_names_say(read: Read) -> None:
    golden = read("schedule")
    for n_points in (5, 16):
        expected = golden[f"bagel_points_{n_points}_shift3"]
        assert sigmas_of_points(n_points, shift=3.0) == pytest.approx(expected, abs=1e-14)
    assert sigmas_of_steps(4, shift=3.0) == pytest.approx(golden["dance_steps_4_shift3"], abs=1e-14)
    assert sigmas_of_steps(4) == pytest.approx(golden["linear_steps_4"], abs=1e-14)


def test_decays_of_the_old_policy(read: Read) -> None:
    golden = read("decays")
    expected = {
        "none": golden["nft"]["0"],
        "early": golden["nft"]["1"],
        "late": golden["nft"]["2"],
        "ramp": golden["awm_linear_0p3"],
    }
    for name, values in expected.items():
        found = [DECAYS[name].at(step) for step in golden["steps"]]
        assert found == pytest.approx(values, abs=1e-14), name


def step_of(case: dict[str, Any], x_BX: Tensor, v_BX: Tensor) -> DenoisingStep:
    levels = {"sigma": case["sigma"], "sigma_next": case["sigma_next"], "eta": case["eta"]}
    if case["kind"] == "flow_sde":
        return sde_steps.flow_sde(x_BX, v_BX, **levels, sigma_cap=case["sigma_max"])
    return (sde_steps.cps if case["kind"] == "cps" else sde_steps.dance)(x_BX, v_BX, **levels)


@PRECISIONS
@pytest.mark.parametrize("index", range(12))
def test_every_step_of_every_kernel(
    read: Read, index: int, dtype: torch.dtype, tolerance: float
) -> None:
    golden = read("kernels")
    case = golden["cases"][index]
    x_BX, v_BX, noise_BX = (tensor(golden[name], dtype) for name in ("x", "v", "noise"))
    step = step_of(case, x_BX, v_BX)
    assert (step.std, step.spread) == pytest.approx((case["std"], case["coef"]), abs=1e-14)
    assert_close(step.mean_BX, case["mean"], tolerance)
    assert_close(sde_steps.move(step, noise_BX), case["next_from_noise"], tolerance)
    stored_BX = tensor(case["stored_next"], dtype)
    for density, key in (
        ("gaussian", "logp_gauss"),
        ("exponent", "logp_gauss_no_const"),
        ("squared_error", "logp_unnormalised"),
    ):
        if case[key] is None:
            with pytest.raises(ValueError, match="without spread"):
                sde_steps.log_prob(step, stored_BX, density=density)  # type: ignore[arg-type]
            continue
        found_B = sde_steps.log_prob(step, stored_BX, density=density)  # type: ignore[arg-type]
        assert_close(found_B, case[key], tolerance)


def test_the_plain_step(read: Read) -> None:
    golden = read("kernels")
    at = golden["ode"]["step"]
    sigma, sigma_next = golden["sigmas"][at : at + 2]
    x_BX, v_BX = tensor(golden["x"]), tensor(golden["v"])
    step = sde_steps.ode(x_BX, v_BX, sigma=sigma, sigma_next=sigma_next)
    assert_close(step.mean_BX, golden["ode"]["next"])


def test_distances_to_the_reference(read: Read) -> None:
    golden = read("kl")
    x_BX, v_BX, v_ref_BX = (tensor(golden[name]) for name in ("x", "v", "v_ref"))
    case = golden | {"kind": "flow_sde"}
    step, reference = step_of(case, x_BX, v_BX), step_of(case, x_BX, v_ref_BX)
    assert_close(step_kl(step, reference, kind="gaussian"), golden["gaussian_exact"])
    assert_close(step_kl(step, reference, kind="flow_grpo"), golden["flow_grpo"])
    assert_close(step_kl(step, reference, kind="x_mse"), golden["x_mse"])
    assert_close(velocity_kl(v_BX, v_ref_BX), golden["velocity_mse"])
    moved_BX = golden["dmean_dv"] * (v_BX - v_ref_BX)
    assert_close(step.mean_BX - reference.mean_BX, moved_BX.tolist())


@pytest.mark.parametrize(("name", "new"), [("flow", "new"), ("asym", "asym_new")])
def test_the_clipped_surrogate_and_its_gradient(read: Read, name: str, new: str) -> None:
    golden = read("surrogate")
    case = golden[name]
    clip = Clip(low=case.get("lo", case.get("clip")), high=case.get("hi", case.get("clip")))
    logp_B = tensor(golden[new]).requires_grad_()
    found = flow_grpo(logp_B, tensor(golden["old"]), tensor(golden["adv"]), clip=clip)
    loss = mean_of_samples(found.loss_N)
    assert_close(found.ratio_N, case["ratio"])
    assert_close(found.loss_N, case["per_sample"])
    assert_close(loss, case["loss"])
    assert_close(found.above_N.double().mean(), case["clipfrac_high"])
    assert_close(found.below_N.double().mean(), case["clipfrac_low"])
    assert_close((found.above_N | found.below_N).double().mean(), case["clipfrac"])
    assert_close(found.approx_kl_N.mean(), case["approx_kl"])
    (gradient_B,) = torch.autograd.grad(loss, logp_B)
    assert_close(gradient_B, case["grad_new"])


def guarded(golden: dict[str, Any], *, reweight: bool) -> tuple[Tensor, Tensor]:
    """Ratios and mean loss of the guard on the worked example."""
    case = golden | {"kind": "flow_sde"}
    x_BX, noise_BX = tensor(golden["x"]), tensor(golden["noise"])
    old = step_of(case, x_BX, tensor(golden["v_old"]))
    new = step_of(case, x_BX, tensor(golden["v_new"]))
    next_BX = sde_steps.move(old, noise_BX)
    assert_close(sde_steps.log_prob(old, next_BX), golden["logp_old"])
    assert_close(sde_steps.log_prob(new, next_BX), golden["logp_new"])
    found = guard(
        sde_steps.log_prob(new, next_BX),
        sde_steps.log_prob(old, next_BX),
        tensor(golden["adv"]),
        step=new,
        mean_old_BX=old.mean_BX,
        clip=Clip(low=golden["clip"], high=golden["clip"]),
        reweight=reweight,
    )
    return found.ratio_N, mean_of_samples(found.loss_N)


@pytest.mark.parametrize("suffix", ["", "_reweighted"])
def test_the_guard_takes_each_samples_own_bias_and_not_the_batch_mean(
    read: Read, suffix: str
) -> None:
    golden = read("rationorm")
    ratio_B, loss = guarded(golden, reweight=bool(suffix))
    assert_close(ratio_B, golden[f"per_sample{suffix}"]["ratio"])
    assert_close(loss, golden[f"per_sample{suffix}"]["loss"])
    scripts = golden[f"batch_mean{suffix}"]
    assert (ratio_B - tensor(scripts["ratio"])).abs().min() > 5e-7
    assert abs(float(loss) - scripts["loss"]) > 1e-7


def test_the_guards_bias_is_what_the_log_ratio_is_expected_to_be(read: Read) -> None:
    golden = read("rationorm")
    case = golden | {"kind": "flow_sde"}
    x_BX = tensor(golden["x"])
    old = step_of(case, x_BX, tensor(golden["v_old"]))
    new = step_of(case, x_BX, tensor(golden["v_new"]))
    assert_close(-step_kl(new, old, kind="gaussian"), golden["expected_logratio_bias"])
    big = step_of(case, x_BX, tensor(golden["big_step"]["v_new"]))
    expected = golden["big_step"]["expected_logratio_mean"]
    assert_close(-step_kl(big, old, kind="gaussian"), expected)


def noised(golden: dict[str, Any], dtype: torch.dtype) -> NoisedLatent:
    return NoisedLatent(*(tensor(golden[name], dtype) for name in ("x0", "eps", "t")))


@PRECISIONS
@pytest.mark.parametrize("index", [0, 1])
def test_diffusion_nft(read: Read, index: int, dtype: torch.dtype, tolerance: float) -> None:
    golden = read("nft")
    case = golden["cases"][index]
    v_BX, old_BX, ref_BX = (tensor(golden[name], dtype) for name in ("v_theta", "v_old", "v_ref"))
    advantage_B = tensor(golden["adv"], dtype)
    found = nft(v_BX, old_BX, noised(golden, dtype), advantage_B, beta=case["beta"])
    loss = mean_of_samples(found.loss_B)
    assert_close(found.preference_B, golden["r"], tolerance)
    assert_close(found.positive_B, case["pos"], tolerance)
    assert_close(found.negative_B, case["neg"], tolerance)
    assert_close(loss, case["policy_loss"], tolerance)
    kl_B = velocity_kl(v_BX, ref_BX)
    assert_close(kl_B, case["kl_per_sample"], tolerance)
    assert_close(loss + 1e-4 * mean_of_samples(kl_B), case["total_with_kl_1e4"], tolerance)


@PRECISIONS
@pytest.mark.parametrize(
    ("weighting", "key"),
    [("uniform", "Uniform"), ("t", "t"), ("t2", "t**2"), ("huber", "huber"), ("ghuber", "ghuber")],
)
def test_advantage_weighted_matching(
    read: Read, weighting: Any, key: str, dtype: torch.dtype, tolerance: float
) -> None:
    golden = read("awm")
    case = golden["cases"][key]
    new_B, old_B = (
        awm_log_prob(tensor(golden[name], dtype), noised(golden, dtype), weighting=weighting)
        for name in ("v_theta", "v_old")
    )
    assert_close(new_B, case["logp_new"], tolerance)
    assert_close(old_B, case["logp_old"], tolerance)
    found = awm(new_B, old_B, tensor(golden["adv"], dtype))
    assert_close(found.ratio_N, case["ratio"], tolerance)
    assert_close(mean_of_samples(found.loss_N), case["loss_clip1"], tolerance)


@pytest.mark.parametrize(
    ("key", "scaling"),
    [
        ("flow_grpo_global_std", FLOW_GRPO),
        ("flow_grpo_group_std", AdvantageScaling(std="group")),
        ("verl_omni_global_std", AdvantageScaling(std="batch", ddof=1)),
        ("verl_omni_group_std", TRL),
        ("trl_group", TRL),
        ("dance_group_std", DANCE_GRPO),
        ("dr_grpo", DR_GRPO),
    ],
)
def test_advantages_by_each_convention(read: Read, key: str, scaling: AdvantageScaling) -> None:
    golden = read("advantages")
    found = group_advantages(tensor(golden["rewards"]), GROUPS, scaling=scaling)
    # The published codes' third group is rounding noise, up to 1e-8; ours is exactly 0.
    assert_close(found.value_B[:6], golden[key][:6])
    assert torch.equal(found.value_B[FLAT_GROUP], torch.zeros(3, dtype=torch.float64))
    assert (int(found.n_groups), int(found.n_flat_groups), int(found.n_small_groups)) == (3, 1, 0)


def test_leave_one_out_and_separately_normalised_rewards(read: Read) -> None:
    golden = read("advantages")
    reward_B = tensor(golden["rewards"])
    found = group_advantages(reward_B, GROUPS, scaling=DR_GRPO, baseline="leave_one_out")
    assert_close(found.value_B, golden["rloo"])
    reward_BR = torch.stack([reward_B, tensor(golden["rewards2"])], 1)
    both = separate_advantages(reward_BR, GROUPS, weight_R=tensor([1.0, 0.5]))
    assert_close(both.value_B, golden["gdpo_weights_1_05"])


def test_an_unscorable_reward_is_no_zero(read: Read) -> None:
    golden = read("advantages")["unscorable"]
    found = group_advantages(tensor(golden["rewards"]), GROUPS, scaling=TRL)
    assert_close(found.value_B, golden["adv"])
    assert found.trained_B.tolist() == [True, True, True, True, False, True, False, False, False]


@pytest.mark.parametrize(
    "scaling", [FLOW_GRPO, TRL, DANCE_GRPO, AdvantageScaling(eps=0.0, floor=1e-6)]
)
def test_equal_rewards_in_float32_give_exactly_zero(read: Read, scaling: AdvantageScaling) -> None:
    golden = read("degenerate")
    for case in golden["tests"]:
        reward_B = tensor(case["rewards"], torch.float32)
        group_B = torch.zeros(len(reward_B), dtype=torch.int64)
        found = group_advantages(reward_B, group_B, scaling=scaling)
        assert found.value_B.tolist() == case["adv"]


class Texts:
    """The worked example of three sequences."""

    def __init__(self, golden: dict[str, Any], dtype: torch.dtype = torch.float64) -> None:
        self.new, self.old, self.ref = (tensor(golden[n], dtype) for n in ("new", "old", "ref"))
        self.mask = tensor(golden["mask"]).bool()
        self.advantage = tensor(golden["adv"], dtype)
        self.clip = Clip(low=golden["clip_low"], high=golden["clip_high"])
        self.max_length = golden["max_completion_length"]

    def loss(self, objective: TextAlgorithm, new_BT: Tensor | None = None) -> Tensor:
        return text_loss(
            self.new if new_BT is None else new_BT,
            self.old,
            self.mask,
            self.advantage,
            objective=objective,
            clip=self.clip,
            max_length=self.max_length,
        )


@PRECISIONS
def test_text_losses_by_name(read: Read, dtype: torch.dtype, tolerance: float) -> None:
    golden = read("text_losses")
    texts, token = Texts(golden, dtype), golden["token_level"]
    for name in ("grpo", "dapo", "dr_grpo"):
        assert_close(texts.loss(TEXT_ALGORITHMS[name]), token[name], tolerance)
    summed = TextAlgorithm(importance="token", normaliser="sequence_sum")
    assert_close(texts.loss(summed), token["seq_mean_token_sum"], tolerance)
    sequence = golden["sequence_level_gspo"]
    assert_close(texts.loss(TEXT_ALGORITHMS["gspo"]), sequence["grpo"], tolerance)
    by_token = TextAlgorithm(importance="sequence", normaliser="token")
    assert_close(texts.loss(by_token), sequence["dapo"], tolerance)
    assert_close(texts.loss(TEXT_ALGORITHMS["cispo"]), golden["cispo_eps_max_1.28"], tolerance)


def test_token_losses_and_sequence_ratios(read: Read) -> None:
    golden = read("text_losses")
    texts = Texts(golden)
    given = (texts.new, texts.old, texts.mask, texts.advantage)
    tokens = token_losses(*given, importance="token", clip=texts.clip)
    assert_close(tokens.loss_N, golden["token_level"]["per_token"])
    sequences = token_losses(*given, importance="sequence", clip=texts.clip)
    assert_close(sequences.ratio_N[:, 0], golden["sequence_level_gspo"]["ratio"])


def test_divergences_of_text(read: Read) -> None:
    golden = read("text_losses")
    texts = Texts(golden)
    k3_BT = token_kl(texts.new, texts.ref, texts.mask, kind="k3")
    assert_close(k3_BT, golden["k3_per_token"])
    sequence = mean_of_tokens(k3_BT, texts.mask, normaliser="sequence")
    assert_close(sequence, golden["k3_seq_mean"])
    assert_close(mean_of_tokens(k3_BT, texts.mask, normaliser="token"), golden["k3_token_mean"])
    k1_BT = token_kl(texts.new, texts.ref, texts.mask, kind="k1")
    assert_close(mean_of_tokens(k1_BT, texts.mask, normaliser="token"), golden["k1_token_mean"])


def test_the_released_matrix_of_all_ratios_and_advantages_is_not_reproduced(read: Read) -> None:
    golden = read("text_losses")
    texts, released = Texts(golden), golden["alphagrpo_release_quirk"]
    found = texts.loss(TEXT_ALGORITHMS["gspo"])
    assert_close(found, released["intended"])
    assert abs(float(found) - released["loss"]) > 0.01
    ratio_B = tensor(golden["sequence_level_gspo"]["ratio"])
    with pytest.raises(ValueError, match="one shape"):
        clipped_surrogate(ratio_B.log(), texts.advantage[:, None], texts.clip)
    with pytest.raises(ValueError, match="not one for each"):
        token_losses(
            texts.new, texts.old, texts.mask, texts.advantage[:, None], importance="sequence"
        )


def test_on_policy_each_sequence_is_pushed_by_its_own_advantage(read: Read) -> None:
    golden = read("text_losses")
    texts, released = Texts(golden), golden["alphagrpo_release_quirk"]
    on_policy_BT = texts.old.clone().requires_grad_()
    loss = texts.loss(TEXT_ALGORITHMS["gspo"], on_policy_BT)
    (gradient_BT,) = torch.autograd.grad(loss, on_policy_BT)
    # A sequence's mean log-ratio moves by the sum of its tokens' moves over its length.
    gradient_B = gradient_BT.sum(1)
    assert_close(gradient_B, released["onpolicy_grad_logratio_intended"])
    quirk_B = tensor(released["onpolicy_grad_logratio_release"])
    assert (gradient_B - quirk_B).abs().min() > 0.03


def test_windows(read: Read) -> None:
    golden = read("windows")
    for key, at_end, values in (
        ("mixgrpo_progressive", "released_without_restart", "first_24"),
        ("mixgrpo_progressive_rollback", "released", "first_10"),
    ):
        case = golden[key]
        found = [
            list(
                progressive_window(
                    iteration,
                    n_steps=case["T"],
                    size=case["size"],
                    iterations=case["iters"],
                    stride=case["stride"],
                    at_end=at_end,  # type: ignore[arg-type]
                )
            )
            for iteration in range(len(case[values]))
        ]
        assert found == case[values]
    for key, size in (("flow_grpo_fast", "window_size"), ("alphagrpo", "train_steps")):
        case = golden[key]
        low, high = case["range"]
        starts = legal_starts(case["num_steps"], size=case[size], low=low, high=high)
        assert list(starts) == case["legal_starts"]
