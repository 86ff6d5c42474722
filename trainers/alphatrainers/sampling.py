"""What every policy needs to sample so that its trajectories can be replayed exactly.

One denoising loop that stores what the log-probability was computed from, one way to sample a token
and to score it under the very same distribution, and one generator for each segment of a program.
Knows no model: it is given velocities and logits.

Shapes: B samples; X the axes of one latent; S stored steps; V vocabulary; T tokens; D width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from alphatrainers.algorithms import sde_steps
from alphatrainers.algorithms.precision import widen
from alphatrainers.algorithms.sde_steps import DenoisingStep
from alphatrainers.trajectory import GenerateImage, Program

SCORED_TOGETHER: Final = 128
"""Tokens whose logits are in memory at once: 74 MiB a copy in float32 for 152,064 entries."""
Velocity = Callable[[Tensor, float], Tensor]
"""Latents (B, X) and a noise level to the velocity (B, X), guided as the program asks."""


def generator(program: Program, segment: int) -> torch.Generator:
    """The randomness of one segment of one program, on the CPU."""
    digest = hashlib.sha256(f"{program.seed} {segment}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def noise(generators: Sequence[torch.Generator], shape: Sequence[int]) -> Tensor:
    """Standard normal noise (B, X), float32, each sample from a generator of its own."""
    return torch.stack([torch.randn(tuple(shape), generator=each) for each in generators])


def denoising_step(spec: GenerateImage, index: int, x_BX: Tensor, v_BX: Tensor) -> DenoisingStep:
    """The distribution of the latent after step `index`: stochastic within the window."""
    sigma, sigma_next = spec.sigmas[index], spec.sigmas[index + 1]
    if index not in spec.window:
        return sde_steps.ode(x_BX, v_BX, sigma=sigma, sigma_next=sigma_next)
    if spec.kernel == "flow_sde":
        return sde_steps.flow_sde(
            x_BX,
            v_BX,
            sigma=sigma,
            sigma_next=sigma_next,
            eta=spec.eta,
            sigma_cap=spec.sigmas[1],
        )
    if spec.kernel == "cps":
        return sde_steps.cps(x_BX, v_BX, sigma=sigma, sigma_next=sigma_next, eta=spec.eta)
    if spec.kernel == "dance":
        return sde_steps.dance(x_BX, v_BX, sigma=sigma, sigma_next=sigma_next, eta=spec.eta)
    raise ValueError(f"kernel={spec.kernel!r} has no stochastic step")


class Denoised(NamedTuple):
    """One batch of finished latents and the stored part of their paths; on the CPU, float32."""

    path_BNX: Tensor
    velocity_BSX: Tensor
    logp_BS: Tensor
    final_BX: Tensor


@torch.no_grad()
def sample_latents(
    velocity: Velocity,
    spec: GenerateImage,
    generators: Sequence[torch.Generator],
    shape: Sequence[int],
    *,
    device: torch.device,
) -> Denoised:
    """From noise to latents along the program's schedule.

    Args:
        velocity: the model.
        spec: schedule, window and kernel.
        generators: one a sample (`generator`); first the initial noise, then that of each step.
        shape: of one latent.
        device: where `velocity` wants its latents.
    """
    x_BX = noise(generators, shape).to(device, non_blocking=True)
    # They stay on the device until the last step, so that no step waits for it.
    path, velocities, logps = [], [], []
    for index, sigma in enumerate(spec.sigmas[:-1]):
        v_BX = velocity(x_BX, sigma)
        step = denoising_step(spec, index, x_BX, v_BX)
        stored = index in spec.window
        if stored:
            noise_BX = noise(generators, shape).to(device, non_blocking=True)
        else:
            noise_BX = torch.zeros_like(x_BX)
        after_BX = sde_steps.move(step, noise_BX)
        if stored:
            path.append(widen(x_BX))
            velocities.append(widen(v_BX))
            logps.append(sde_steps.log_prob(step, after_BX, density=spec.density))
            if index == spec.window.stop - 1:
                path.append(after_BX)
        x_BX = after_BX
    none_B0X = torch.zeros((len(generators), 0, *shape))
    return Denoised(
        path_BNX=torch.stack(path, 1).cpu() if path else none_B0X,
        velocity_BSX=torch.stack(velocities, 1).cpu() if path else none_B0X,
        logp_BS=torch.stack(logps, 1).cpu() if path else none_B0X.flatten(2).sum(2),
        final_BX=x_BX.cpu(),
    )


def token_log_probs(
    logits_NV: Tensor, *, temperature: float, top_p: float, sampled_N: Tensor | None = None
) -> Tensor:
    """Log-probabilities (float32) of the distribution that is sampled; -inf outside the nucleus.

    The nucleus is the smallest set of likeliest tokens whose probabilities reach `top_p`. Its
    members are chosen without gradient; within them the distribution is renormalised. Tokens that
    were sampled belong to it, even if rounding, or an update since, put them at its edge.
    """
    scores_NV = (widen(logits_NV) / temperature).log_softmax(-1)
    if top_p >= 1.0:
        return scores_NV
    with torch.no_grad():
        sorted_NV, order_NV = scores_NV.sort(-1, descending=True)
        before_NV = sorted_NV.exp().cumsum(-1) - sorted_NV.exp()
        outside_NV = torch.zeros_like(scores_NV, dtype=torch.bool)
        outside_NV.scatter_(-1, order_NV, before_NV >= top_p)
        if sampled_N is not None:
            outside_NV.scatter_(-1, sampled_N[:, None], value=False)
    return scores_NV.masked_fill(outside_NV, -torch.inf).log_softmax(-1)


class SampledTokens(NamedTuple):
    """One token a row and its log-probability."""

    ids_B: Tensor
    logp_B: Tensor


@torch.no_grad()
def sample_next_tokens(
    logits_BV: Tensor,
    generators: Sequence[torch.Generator],
    *,
    temperature: float,
    top_p: float,
) -> SampledTokens:
    """One token a row by the inverse CDF: one random number a call from each row's generator."""
    logp_BV = token_log_probs(logits_BV, temperature=temperature, top_p=top_p)
    uniform_B = torch.cat([torch.rand(1, generator=each) for each in generators])
    below_BV = logp_BV.double().exp().cumsum(-1)
    uniform_B = uniform_B.double().to(logits_BV.device, non_blocking=True)
    wanted_B1 = uniform_B[:, None] * below_BV[:, -1:]
    ids_B = (below_BV <= wanted_B1).sum(-1).clamp(max=logp_BV.shape[-1] - 1)
    return SampledTokens(ids_B, logp_BV.gather(-1, ids_B[:, None])[:, 0])


def score_tokens(logits_TV: Tensor, ids_T: Tensor, *, temperature: float, top_p: float) -> Tensor:
    """Log-probability of each id under the distribution it was sampled from; differentiable."""
    logp_TV = token_log_probs(logits_TV, temperature=temperature, top_p=top_p, sampled_N=ids_T)
    return logp_TV.gather(-1, ids_T[:, None])[:, 0]


def score_hidden_tokens(
    hidden_TD: Tensor,
    ids_T: Tensor,
    head: Callable[[Tensor], Tensor],
    *,
    temperature: float,
    top_p: float,
) -> Tensor:
    """`score_tokens` from what a vocabulary head reads: logits of a few tokens at a time.

    Logits of a long text take more memory than the rest of a large model's backward pass. They are
    not stored for it, but computed again there.

    Args:
        hidden_TD: one row an id.
        ids_T: as sampled.
        head: hidden states (T, D) to logits (T, V); without side effects.
        temperature: of the sampling.
        top_p: of the sampling.
    """

    def score(part_TD: Tensor, part_T: Tensor) -> Tensor:
        return score_tokens(head(part_TD), part_T, temperature=temperature, top_p=top_p)

    parts = zip(
        torch.split(hidden_TD, SCORED_TOGETHER), torch.split(ids_T, SCORED_TOGETHER), strict=True
    )
    if not torch.is_grad_enabled():
        return torch.cat([score(*part) for part in parts])
    return torch.cat(
        [checkpoint(score, *part, use_reentrant=False, preserve_rng_state=False) for part in parts]
    )
