"""Losses of the image part: flow_grpo, guard, nft, awm. One value a sample; nothing is reduced.

Advantages are clipped to +-`limit` here, once. A sample that is not trained must be masked in the
reduction: in `nft`, advantage 0 is not gradient 0. Knows no model; old values carry no gradient.
Shapes: B samples, X any axes of one latent.
"""

from __future__ import annotations

import math
from typing import Final, Literal, NamedTuple, get_args

from torch import Tensor

from alphatrainers.algorithms.losses.surrogate import Clip, Surrogate, clipped_surrogate
from alphatrainers.algorithms.precision import mean_over_elements, per_sample, widen
from alphatrainers.algorithms.sde_steps import DenoisingStep

Weighting = Literal["uniform", "t", "t2", "huber", "ghuber"]
WEIGHTINGS: Final[tuple[Weighting, ...]] = get_args(Weighting)

IMAGE_CLIP: Final = Clip(low=1e-5, high=1e-5)
"""AlphaGRPO's, for log-probabilities that are means over elements of a gaussian step."""
AWM_CLIP: Final = Clip(low=1.0, high=1.0)
ADVANTAGE_LIMIT: Final = 5.0
AWM_EPSILON: Final = 1e-10
"""Keeps the powers of the AWM weightings smooth at 0."""


def flow_grpo(
    logp_B: Tensor,
    logp_old_B: Tensor,
    advantage_B: Tensor,
    *,
    clip: Clip = IMAGE_CLIP,
    limit: float = ADVANTAGE_LIMIT,
) -> Surrogate:
    """Clipped ratio of one denoising step (Flow-GRPO, `scripts/train_sd3.py`, ac4c86e).

    Args:
        logp_B: log-probability of the stored next latent under the trained policy.
        logp_old_B: under the policy that sampled it.
        advantage_B: advantages.
        clip: range of the ratio; CPS log-probabilities need another one than gaussian ones.
        limit: largest advantage that counts.
    """
    log_ratio_B = widen(logp_B) - widen(logp_old_B).detach()
    return clipped_surrogate(log_ratio_B, _limited(advantage_B, limit), clip)


def guard(
    logp_B: Tensor,
    logp_old_B: Tensor,
    advantage_B: Tensor,
    *,
    step: DenoisingStep,
    mean_old_BX: Tensor,
    clip: Clip,
    reweight: bool = False,
    limit: float = ADVANTAGE_LIMIT,
) -> Surrogate:
    """flow_grpo with the ratio's bias removed and its scale equal at all steps (GRPO-Guard).

    log-ratio = (logp - logp_old + mean((mu - mu_old)^2) / (2 std^2)) * std (arXiv 2510.22319). The
    mean is each sample's own; flow_grpo's script takes it over the whole batch, which we do not.

    Args:
        logp_B: as in `flow_grpo`; gaussian, not `squared_error`.
        logp_old_B: as in `flow_grpo`.
        advantage_B: advantages.
        step: the trained policy's step; its mean carries the gradient.
        mean_old_BX: mean of the step of the policy that sampled.
        clip: range of the normalised ratio.
        reweight: divide the loss by |dt|.
        limit: largest advantage that counts.

    Raises:
        ValueError: for a step that is not `flow_sde` or `dance`: the bias is not defined there.
    """
    if step.kind not in {"flow_sde", "dance"} or step.std <= 0.0:
        raise ValueError(f"guard is not defined for a {step.kind!r} step with std={step.std!r}")
    if mean_old_BX.shape != step.mean_BX.shape:
        raise ValueError("old and new means differ in shape")
    moved_B = mean_over_elements((step.mean_BX - widen(mean_old_BX).detach()) ** 2)
    raw_B = widen(logp_B) - widen(logp_old_B).detach()
    log_ratio_B = (raw_B + moved_B / (2.0 * step.std**2)) * step.std
    surrogate = clipped_surrogate(log_ratio_B, _limited(advantage_B, limit), clip)
    if not reweight:
        return surrogate
    return surrogate._replace(loss_N=surrogate.loss_N / abs(step.dt))


class NFT(NamedTuple):
    """DiffusionNFT's loss and its two halves, shape B."""

    loss_B: Tensor
    positive_B: Tensor
    negative_B: Tensor
    preference_B: Tensor
    """Share of the positive half, 0 to 1; one half at advantage 0."""


class NoisedLatent(NamedTuple):
    """A finished latent and the noise mixed into it: x_t = (1 - t) * x0 + t * noise."""

    x0_BX: Tensor
    noise_BX: Tensor
    t_B: Tensor
    """Noise level of each sample, above 0, at most 1."""


def nft(
    v_BX: Tensor,
    v_old_BX: Tensor,
    noised: NoisedLatent,
    advantage_B: Tensor,
    *,
    beta: float = 1.0,
    limit: float = ADVANTAGE_LIMIT,
) -> NFT:
    """Contrast of an implicit better and worse policy (DiffusionNFT, arXiv 2509.16117).

    v+- = (1 -+ beta) * v_old +- beta * v; each half is the squared error of its prediction of x0
    over its mean absolute error (without gradient, at least 1e-5), as in the official
    `scripts/train_nft_sd3.py`, commit 24af555. Needs no ratio and no trajectory.

    Args:
        v_BX: velocity of the trained policy at x_t.
        v_old_BX: velocity of the old policy at x_t.
        noised: what x_t was made of.
        advantage_B: advantages.
        beta: how far the implicit policies lie from the old one, above 0.
        limit: advantage at which only one half counts; also scales the loss.
    """
    if not (beta > 0.0 and limit > 0.0):
        raise ValueError(f"beta={beta!r} and limit={limit!r} must be above 0")
    v_BX, old_BX = widen(v_BX), widen(v_old_BX).detach()
    positive_B = _self_normalised((1.0 - beta) * old_BX + beta * v_BX, noised)
    negative_B = _self_normalised((1.0 + beta) * old_BX - beta * v_BX, noised)
    preference_B = _limited(advantage_B, limit) / limit / 2.0 + 0.5
    _same_shape(preference_B, positive_B)
    mixed_B = preference_B * positive_B + (1.0 - preference_B) * negative_B
    return NFT(limit * mixed_B / beta, positive_B, negative_B, preference_B)


def awm_log_prob(
    v_BX: Tensor, noised: NoisedLatent, *, weighting: Weighting = "ghuber", power: float = 0.25
) -> Tensor:
    """Stand-in for a log-probability: minus the weighted velocity error at a noise level; shape B.

    With m = mean((v - (noise - x0))^2), as in AWM `compute_log_prob_awm` (commit be51372):
    uniform -m; t -t*m; t2 -t^2*m; huber -t*(sqrt(m + 1e-10) - 1e-5);
    ghuber -t*((m + 1e-10)^p - 1e-10^p) / p.

    Args:
        v_BX: velocity at x_t.
        noised: what x_t was made of; the same sample for the new and the old policy.
        weighting: one of the above.
        power: p of `ghuber`, above 0.
    """
    target_BX = widen(noised.noise_BX) - widen(noised.x0_BX)
    error_B = mean_over_elements((widen(v_BX) - target_BX) ** 2)
    t_B = widen(noised.t_B)
    _same_shape(t_B, error_B)
    if weighting == "uniform":
        return -error_B
    if weighting == "t":
        return -t_B * error_B
    if weighting == "t2":
        return -(t_B**2) * error_B
    if weighting not in WEIGHTINGS:
        raise ValueError(f"weighting={weighting!r} is none of {', '.join(WEIGHTINGS)}")
    if weighting == "huber":
        return -t_B * ((error_B + AWM_EPSILON).sqrt() - math.sqrt(AWM_EPSILON))
    if power <= 0.0:
        raise ValueError(f"power={power!r} must be above 0")
    return -t_B * ((error_B + AWM_EPSILON).pow(power) - math.pow(AWM_EPSILON, power)) / power


def awm(
    logp_B: Tensor,
    logp_old_B: Tensor,
    advantage_B: Tensor,
    *,
    clip: Clip = AWM_CLIP,
    limit: float = ADVANTAGE_LIMIT,
    largest: float = 1.0,
) -> Surrogate:
    """Advantage-weighted matching: the clipped ratio of two `awm_log_prob` (commit be51372).

    Args:
        logp_B: of the trained policy.
        logp_old_B: of the old policy, for the same noise.
        advantage_B: advantages; those beyond `limit` count as `limit`.
        clip: range of the ratio.
        limit: advantage that is mapped to `largest`.
        largest: largest advantage that enters the loss.
    """
    log_ratio_B = widen(logp_B) - widen(logp_old_B).detach()
    return clipped_surrogate(log_ratio_B, _limited(advantage_B, limit) / limit * largest, clip)


def _self_normalised(v_BX: Tensor, noised: NoisedLatent) -> Tensor:
    x0_BX, noise_BX = widen(noised.x0_BX), widen(noised.noise_BX)
    t_BX = per_sample(widen(noised.t_B), v_BX)
    x_t_BX = (1.0 - t_BX) * x0_BX + t_BX * noise_BX
    error_BX = x_t_BX - t_BX * v_BX - x0_BX
    weight_B = mean_over_elements(error_BX.detach().abs()).clamp(min=1e-5)
    return mean_over_elements(error_BX**2) / weight_B


def _limited(advantage_B: Tensor, limit: float) -> Tensor:
    return widen(advantage_B).detach().clamp(-limit, limit)


def _same_shape(one_B: Tensor, other_B: Tensor) -> None:
    if one_B.shape != other_B.shape:
        raise ValueError(f"shapes {tuple(one_B.shape)} and {tuple(other_B.shape)} differ")
