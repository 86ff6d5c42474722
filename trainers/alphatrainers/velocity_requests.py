"""Which velocities a replay computes for an image, and what a stored step's velocity amounts to.

Two sources: the denoising steps that were stored when the image was sampled, and finished images
that are noised anew. Knows no loss, no algorithm and no policy.

Shapes: B trajectories of a batch; X the axes of one latent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from alphatrainers.algorithms import sde_steps
from alphatrainers.algorithms.losses.image import NoisedLatent
from alphatrainers.algorithms.precision import per_sample
from alphatrainers.algorithms.sde_steps import DenoisingStep
from alphatrainers.protocols import VelocityQuery
from alphatrainers.sampling import denoising_step, generator, noise
from alphatrainers.trajectory import SampledImage, Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class VelocityRequest:
    """One velocity that a replay computes, and what the loss compares it with."""

    query: VelocityQuery
    stored: int | None = None
    """Index among the stored steps; None for a noised image."""
    next_BX: Tensor | None = None
    """The latent after a stored step."""
    noised: NoisedLatent | None = None
    """What a noised latent was made of."""


def stored_step_requests(
    segment: int, batch: Sequence[Trajectory], device: torch.device
) -> list[VelocityRequest]:
    """One request for each stored step of a batch's images, guided as it was sampled.

    Args:
        segment: index of the image among the segments of each trajectory.
        batch: trajectories of one shape.
        device: where the latents of the queries must lie.
    """
    images = [image_at(trajectory, segment) for trajectory in batch]
    spec = images[0].spec
    requests = []
    for stored, step in enumerate(spec.window):
        sigma_B = torch.full((len(images),), spec.sigmas[step], device=device)
        x_BX, next_BX = (
            torch.stack([image.path_NX[index] for image in images]).to(device, non_blocking=True)
            for index in (stored, stored + 1)
        )
        query = VelocityQuery(
            segment=segment, x_BX=x_BX, sigma_B=sigma_B, guided=True, sigma=spec.sigmas[step]
        )
        requests.append(VelocityRequest(query=query, stored=stored, next_BX=next_BX))
    return requests


def noised_image_requests(
    segment: int,
    batch: Sequence[Trajectory],
    device: torch.device,
    *,
    levels: int,
    level_range: tuple[float, float],
) -> list[VelocityRequest]:
    """Finished images noised anew: one request a level, without guidance.

    The range is cut into `levels` equal parts; each level is uniform in its part, for each
    trajectory on its own.

    Args:
        segment: index of the image among the segments of each trajectory.
        batch: trajectories of one shape.
        device: where the latents of the queries must lie.
        levels: number of noise levels, at least 1.
        level_range: the levels lie above the first number and at most at the second.
    """
    low, high = level_range
    # Other random numbers than those of the rollout; the same for all weights and processes.
    generators = [generator(trajectory.program, -1 - segment) for trajectory in batch]
    x0_BX = torch.stack([image_at(trajectory, segment).final_X for trajectory in batch])
    requests = []
    for level in range(levels):
        uniform_B = torch.cat([torch.rand(1, generator=each) for each in generators])
        t_B = high - (high - low) * (level + uniform_B) / levels
        noise_BX = noise(generators, x0_BX.shape[1:])
        t_BX = per_sample(t_B, x0_BX)
        x_BX = (1.0 - t_BX) * x0_BX + t_BX * noise_BX
        x_BX, noise_BX, t_B = (one.to(device, non_blocking=True) for one in (x_BX, noise_BX, t_B))
        query = VelocityQuery(segment=segment, x_BX=x_BX, sigma_B=t_B, guided=False)
        noised = NoisedLatent(x0_BX.to(device, non_blocking=True), noise_BX, t_B)
        requests.append(VelocityRequest(query=query, noised=noised))
    return requests


class StoredStep(NamedTuple):
    """A stored step under the trained weights, beside the same step under those that sampled."""

    step: DenoisingStep
    """Of the trained weights; its mean carries the gradient."""
    logp_B: Tensor
    logp_old_B: Tensor
    mean_old_BX: Tensor


class ScoredStep(NamedTuple):
    """A stored step, and how far its replay is from the sampler's log-probabilities."""

    stored: StoredStep
    gap: Tensor
    """Largest absolute difference over the batch, without dimensions."""


def score_stored_step(
    request: VelocityRequest, images: Sequence[SampledImage], v_BX: Tensor, old_BX: Tensor | None
) -> ScoredStep:
    """Log-probabilities of where a stored step led, under trained and sampling weights.

    Args:
        request: of a stored step.
        images: one a trajectory of the batch.
        v_BX: velocity of the trained weights.
        old_BX: velocity of the weights that sampled, if it was replayed; None takes the sampler's
            own stored velocities and log-probabilities.
    """
    stored, next_BX = request.stored, request.next_BX
    assert stored is not None
    assert next_BX is not None
    density = images[0].spec.density
    step = step_of(request, images[0], v_BX)
    logp_B = sde_steps.log_prob(step, next_BX, density=density)
    device = v_BX.device
    sampled_B = torch.stack([image.logp_S[stored] for image in images])
    sampled_B = sampled_B.to(device, non_blocking=True)
    gap = (logp_B.detach() - sampled_B).abs().max()
    if old_BX is None:
        velocity_BX = torch.stack([image.velocity_SX[stored] for image in images])
        velocity_BX = velocity_BX.to(device, non_blocking=True)
        mean_old_BX = step_of(request, images[0], velocity_BX).mean_BX
        return ScoredStep(StoredStep(step, logp_B, sampled_B, mean_old_BX), gap)
    old = step_of(request, images[0], old_BX)
    logp_old_B = sde_steps.log_prob(old, next_BX, density=density)
    return ScoredStep(StoredStep(step, logp_B, logp_old_B, old.mean_BX), gap)


def step_of(request: VelocityRequest, image: SampledImage, v_BX: Tensor) -> DenoisingStep:
    """The denoising step of a stored request that the velocity `v_BX` predicts."""
    assert request.stored is not None
    index = image.spec.window[request.stored]
    return denoising_step(image.spec, index, request.query.x_BX, v_BX)


def image_at(trajectory: Trajectory, index: int) -> SampledImage:
    """A trajectory's segment of that index, which is a sampled image."""
    segment = trajectory.segments[index]
    assert isinstance(segment, SampledImage)
    return segment
