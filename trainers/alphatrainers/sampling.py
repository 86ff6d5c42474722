"""What every policy needs to sample so that its trajectories can be replayed exactly.

One denoising loop that stores what the log-probability was computed from, one way to sample a token
and to score it under the very same distribution, and one generator for each segment of a program.
Knows no model: it is given velocities and logits.

Shapes: B samples; X the axes of one latent; S stored steps; V vocabulary; T tokens; D width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from alphatrainers.algorithms import sde_steps
from alphatrainers.algorithms.precision import widen
from alphatrainers.algorithms.sde_steps import DenoisingStep
from alphatrainers.nucleus import is_small, likeliest_nucleus, sorted_nucleus
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

    Members of the nucleus (`nucleus`) are chosen without gradient; within them the distribution is
    renormalised. Tokens that were sampled belong to it, even if rounding, or an update since, put
    them at its edge. With a nucleus of a large vocabulary the host waits once.
    """
    sampling = _TokenSampling(temperature, top_p)
    found = _distribution(logits_NV, sampling, sampled_N)
    if found.decided_N is None or not (rows := _undecided(found.decided_N.tolist())):
        return found.logp_NV
    return _distribution(logits_NV, sampling, sampled_N, undecided=rows).logp_NV


class _TokenSampling(NamedTuple):
    """Settings of a text's sampling."""

    temperature: float
    top_p: float


class _Distribution(NamedTuple):
    """Log-probabilities of tokens, and which rows are certain; None: all of them."""

    logp_NV: Tensor
    decided_N: Tensor | None


def _distribution(
    logits_NV: Tensor,
    sampling: _TokenSampling,
    sampled_N: Tensor | None = None,
    *,
    undecided: Sequence[int] = (),
) -> _Distribution:
    """What `token_log_probs` returns, without waiting for the device.

    Args:
        logits_NV: of any float type.
        sampling: its temperature and top_p.
        sampled_N: the ids that were sampled, if they were.
        undecided: rows that a first call could not decide; given any, all rows are certain.
    """
    scores_NV = (widen(logits_NV) / sampling.temperature).log_softmax(-1)
    if sampling.top_p >= 1.0:
        return _Distribution(scores_NV, None)
    with torch.no_grad():
        if is_small(scores_NV.shape[-1]):
            outside_NV, decided_N = sorted_nucleus(scores_NV, top_p=sampling.top_p), None
        else:
            outside_NV, decided_N = likeliest_nucleus(scores_NV, top_p=sampling.top_p)
        if undecided:
            rows_M = torch.tensor(undecided).to(scores_NV.device, non_blocking=True)
            exact_MV = sorted_nucleus(scores_NV[rows_M], top_p=sampling.top_p)
            outside_NV, decided_N = outside_NV.index_copy(0, rows_M, exact_MV), None
        if sampled_N is not None:
            outside_NV.scatter_(-1, sampled_N[:, None], value=False)
    return _Distribution(scores_NV.masked_fill(outside_NV, -torch.inf).log_softmax(-1), decided_N)


def _undecided(decided: Sequence[bool]) -> list[int]:
    return [row for row, certain in enumerate(decided) if not certain]


class SampledTokens(NamedTuple):
    """One token a row and its log-probability."""

    ids_B: Tensor
    logp_B: Tensor
    ids: list[int]
    """The same ids on the host."""


@torch.no_grad()
def sample_next_tokens(
    logits_BV: Tensor,
    generators: Sequence[torch.Generator],
    *,
    temperature: float,
    top_p: float,
) -> SampledTokens:
    """One token a row by the inverse CDF: one random number a call from each row's generator.

    The host waits once, for the ids, which also report whether the nuclei are certain; once more
    where one is not.
    """
    sampling = _TokenSampling(temperature, top_p)
    uniform_B = torch.cat([torch.rand(1, generator=each) for each in generators])
    uniform_B = uniform_B.double().to(logits_BV.device, non_blocking=True)
    logp_BV, decided_B = _distribution(logits_BV, sampling)
    ids_B = _inverse_cdf(logp_BV, uniform_B)
    reported_B = ids_B if decided_B is None else ids_B.masked_fill(~decided_B, -1)
    ids = reported_B.tolist()
    if undecided := _undecided([token >= 0 for token in ids]):
        logp_BV, _ = _distribution(logits_BV, sampling, undecided=undecided)
        ids_B = _inverse_cdf(logp_BV, uniform_B)
        ids = ids_B.tolist()
    return SampledTokens(ids_B, logp_BV.gather(-1, ids_B[:, None])[:, 0], ids)


def _inverse_cdf(logp_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """The ids (B) at which the cumulative probability passes a random number; float64."""
    below_BV = logp_BV.double().exp().cumsum(-1)
    wanted_B1 = uniform_B[:, None] * below_BV[:, -1:]
    return (below_BV <= wanted_B1).sum(-1).clamp(max=logp_BV.shape[-1] - 1)


def score_tokens(logits_TV: Tensor, ids_T: Tensor, *, temperature: float, top_p: float) -> Tensor:
    """Log-probability of each id under the distribution it was sampled from; differentiable."""
    logp_TV = token_log_probs(logits_TV, temperature=temperature, top_p=top_p, sampled_N=ids_T)
    return logp_TV.gather(-1, ids_T[:, None])[:, 0]


class HiddenText(NamedTuple):
    """One sampled text, as a vocabulary head reads it."""

    hidden_TD: Tensor
    """One row an id."""
    ids_T: Tensor
    """As sampled."""
    temperature: float
    """Of the sampling."""
    top_p: float
    """Of the sampling."""


def score_hidden_texts(
    texts: Sequence[HiddenText], head: Callable[[Tensor], Tensor]
) -> tuple[Tensor, ...]:
    """`score_tokens` of each text from what a vocabulary head reads; a few logits at a time.

    Logits of a long text take more memory than the rest of a large model's backward pass. They are
    not stored for it, but computed again there. With nuclei of a large vocabulary the host waits
    once for all texts together, to see which nuclei are certain; the parts of a text in which one
    is not are scored again.

    Args:
        texts: as sampled.
        head: hidden states (T, D) to logits (T, V); without side effects.
    """
    parts = [
        _TextPart(hidden_ND, ids_N, _TokenSampling(text.temperature, text.top_p))
        for text in texts
        for hidden_ND, ids_N in zip(
            torch.split(text.hidden_TD, SCORED_TOGETHER),
            torch.split(text.ids_T, SCORED_TOGETHER),
            strict=True,
        )
    ]
    scored = [_scored_part(part, head) for part in parts]
    flags = [one.decided_N for one in scored if one.decided_N is not None]
    decided = iter(torch.cat(flags).tolist() if flags else ())
    for number, (part, found) in enumerate(zip(parts, scored, strict=True)):
        if found.decided_N is not None:
            rows = _undecided(list(islice(decided, len(part.ids_N))))
            scored[number] = _scored_part(part, head, rows) if rows else found
    logp_T = torch.cat([one.logp_N for one in scored])
    return tuple(torch.split(logp_T, [len(text.ids_T) for text in texts]))


class _TextPart(NamedTuple):
    hidden_ND: Tensor
    ids_N: Tensor
    sampling: _TokenSampling


class _ScoredPart(NamedTuple):
    logp_N: Tensor
    decided_N: Tensor | None


def _scored_part(
    part: _TextPart, head: Callable[[Tensor], Tensor], undecided: Sequence[int] = ()
) -> _ScoredPart:
    """Log-probabilities of the ids of a part, recomputed in the backward pass."""

    def score(hidden_ND: Tensor, ids_N: Tensor) -> tuple[Tensor, Tensor | None]:
        logp_NV, decided_N = _distribution(
            head(hidden_ND), part.sampling, ids_N, undecided=undecided
        )
        return logp_NV.gather(-1, ids_N[:, None])[:, 0], decided_N

    if not torch.is_grad_enabled():
        return _ScoredPart(*score(part.hidden_ND, part.ids_N))
    return _ScoredPart(
        *checkpoint(
            score, part.hidden_ND, part.ids_N, use_reentrant=False, preserve_rng_state=False
        )
    )
